//! Times in what is left to the next rota. An [`Instant`] means nothing outside of its process: what is saved is how many nanoseconds it is
//! after one moment (negative: before), the same for all of them. `#[serde(with = "crate::moment")]`, for an `Option` `moment::option`.

use std::cell::Cell;
use std::time::{Duration, Instant};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

thread_local! {
    static REFERENCE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Whatever is saved or restored in `work`, on this thread, counts from `reference`.
pub fn counted_from<R>(reference: Instant, work: impl FnOnce() -> R) -> R {
    let before = REFERENCE.replace(Some(reference));
    let result = work();
    REFERENCE.set(before);
    result
}

/// Nanoseconds from the reference to `at`.
fn distance(at: Instant) -> Option<i64> {
    let from = REFERENCE.get()?;
    let after = at.saturating_duration_since(from).as_nanos();
    let before = from.saturating_duration_since(at).as_nanos();
    i64::try_from(after).ok()?.checked_sub(i64::try_from(before).ok()?)
}

fn at(distance: i64) -> Option<Instant> {
    let (from, by) = (REFERENCE.get()?, Duration::from_nanos(distance.unsigned_abs()));
    if distance < 0 { from.checked_sub(by) } else { from.checked_add(by) }
}

pub fn serialize<S: Serializer>(at: &Instant, serializer: S) -> Result<S::Ok, S::Error> {
    distance(*at).ok_or_else(|| serde::ser::Error::custom("a time without a reference"))?.serialize(serializer)
}

pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Instant, D::Error> {
    let distance = i64::deserialize(deserializer)?;
    at(distance).ok_or_else(|| serde::de::Error::custom(format!("a time {distance} ns from the reference cannot be told")))
}

/// What the next rota has of it, by the way that everything goes.
#[cfg(test)]
pub fn left<T: Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
    static REFERENCE: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    counted_from(*REFERENCE, || serde_json::from_str(&serde_json::to_string(value).unwrap()).unwrap())
}

pub mod option {
    use super::{Deserialize, Deserializer, Instant, Serialize, Serializer, at, distance};

    pub fn serialize<S: Serializer>(value: &Option<Instant>, serializer: S) -> Result<S::Ok, S::Error> {
        let saved = value.map(|at| distance(at).ok_or_else(|| serde::ser::Error::custom("a time without a reference"))).transpose()?;
        saved.serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Instant>, D::Error> {
        let told = |distance| at(distance).ok_or_else(|| serde::de::Error::custom(format!("a time {distance} ns from the reference")));
        Option::<i64>::deserialize(deserializer)?.map(told).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Times {
        #[serde(with = "super")]
        one: Instant,
        #[serde(with = "super::option")]
        other: Option<Instant>,
    }

    #[test]
    fn a_time_is_as_far_from_the_new_reference_as_it_was_from_the_old_one() {
        let now = Instant::now();
        let times = |from: Instant| Times { one: from - Duration::from_millis(1500), other: Some(from + Duration::from_secs(3)) };
        let saved = counted_from(now, || serde_json::to_string(&times(now)).unwrap());
        assert_eq!(saved, r#"{"one":-1500000000,"other":3000000000}"#);
        let later = now + Duration::from_secs(60);
        assert_eq!(counted_from(later, || serde_json::from_str::<Times>(&saved).unwrap()), times(later));
    }

    #[test]
    fn without_a_reference_nothing_is_saved_and_nothing_told() {
        let times = Times { one: Instant::now(), other: None };
        assert!(serde_json::to_string(&times).is_err());
        assert!(serde_json::from_str::<Times>(r#"{"one":1,"other":null}"#).is_err());
    }
}
