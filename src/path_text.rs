//! Paths in what is saved: text, and where they are none, as a path need not be UTF-8, the list of their bytes.
//! `#[serde(with = "crate::path_text")]`, also for an `Option` and a `Vec`.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::{DeserializeOwned, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What has paths.
pub trait Paths: Sized {
    type Saved: Serialize + DeserializeOwned;
    fn save(&self) -> Self::Saved;
    fn restore(saved: Self::Saved) -> Self;
}

pub fn serialize<P: Paths, S: Serializer>(paths: &P, serializer: S) -> Result<S::Ok, S::Error> {
    paths.save().serialize(serializer)
}

pub fn deserialize<'de, P: Paths, D: Deserializer<'de>>(deserializer: D) -> Result<P, D::Error> {
    P::Saved::deserialize(deserializer).map(P::restore)
}

/// A path in its saved form.
#[derive(Clone, Debug)]
pub struct Saved(PathBuf);

impl Serialize for Saved {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.to_str() {
            Some(text) => serializer.serialize_str(text),
            None => serializer.collect_seq(self.0.as_os_str().as_bytes()),
        }
    }
}

impl<'de> Deserialize<'de> for Saved {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrBytes;
        impl<'de> Visitor<'de> for TextOrBytes {
            type Value = PathBuf;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("path string")
            }

            fn visit_str<E>(self, text: &str) -> Result<PathBuf, E> {
                Ok(PathBuf::from(text))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<PathBuf, A::Error> {
                let mut bytes = Vec::new();
                while let Some(byte) = list.next_element()? {
                    bytes.push(byte);
                }
                Ok(PathBuf::from(OsString::from_vec(bytes)))
            }
        }
        deserializer.deserialize_any(TextOrBytes).map(Self)
    }
}

impl Paths for PathBuf {
    type Saved = Saved;

    fn save(&self) -> Saved {
        Saved(self.clone())
    }

    fn restore(saved: Saved) -> Self {
        saved.0
    }
}

impl Paths for Arc<Path> {
    type Saved = Saved;

    fn save(&self) -> Saved {
        Saved(self.to_path_buf())
    }

    fn restore(saved: Saved) -> Self {
        saved.0.into()
    }
}

impl<P: Paths> Paths for Option<P> {
    type Saved = Option<P::Saved>;

    fn save(&self) -> Self::Saved {
        self.as_ref().map(P::save)
    }

    fn restore(saved: Self::Saved) -> Self {
        saved.map(P::restore)
    }
}

impl<P: Paths> Paths for Vec<P> {
    type Saved = Vec<P::Saved>;

    fn save(&self) -> Self::Saved {
        self.iter().map(P::save).collect()
    }

    fn restore(saved: Self::Saved) -> Self {
        saved.into_iter().map(P::restore).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Named {
        #[serde(with = "super")]
        one: PathBuf,
        #[serde(with = "super")]
        shared: Arc<Path>,
        #[serde(default, with = "super")]
        none: Option<PathBuf>,
        #[serde(with = "super")]
        many: Vec<PathBuf>,
    }

    #[test]
    fn a_path_that_is_text_is_saved_as_such_and_any_other_comes_back_too() {
        let latin = PathBuf::from(OsString::from_vec(b"/srv/caf\xe9".to_vec()));
        let named = Named { one: "/srv/blog".into(), shared: latin.clone().into(), none: None, many: vec![latin, "/tmp".into()] };
        let saved = serde_json::to_string(&named).unwrap();
        let bytes = "[47,115,114,118,47,99,97,102,233]";
        assert_eq!(saved, format!(r#"{{"one":"/srv/blog","shared":{bytes},"none":null,"many":[{bytes},"/tmp"]}}"#));
        assert_eq!(serde_json::from_str::<Named>(&saved).unwrap(), named);
    }

    #[test]
    fn what_is_no_path_is_told() {
        let wrong = |text: &str| serde_json::from_str::<Named>(text).unwrap_err().to_string();
        assert!(wrong(r#"{"one":5}"#).contains("expected path string"));
        assert!(wrong(r#"{"one":[256]}"#).contains("256"));
        assert!(wrong(r#"{"one":"/","shared":"/","none":null}"#).contains("many"));
    }
}
