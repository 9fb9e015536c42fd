//! A value that is saved where it lies, and is one's own when it is restored.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Debug)]
pub enum Lent<'a, T> {
    Lent(&'a T),
    Own(Box<T>),
}

impl<T> Lent<'_, T> {
    /// What was read back.
    pub fn own(self) -> Result<Box<T>, String> {
        match self {
            Lent::Own(value) => Ok(value),
            Lent::Lent(_) => Err(format!("{} is still somebody's", std::any::type_name::<T>())),
        }
    }
}

impl<T: Serialize> Serialize for Lent<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Lent::Lent(value) => value.serialize(serializer),
            Lent::Own(value) => value.serialize(serializer),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Lent<'_, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(|value| Lent::Own(Box::new(value)))
    }
}
