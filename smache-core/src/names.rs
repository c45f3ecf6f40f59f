//! Names that are persisted: of namespaces, sources, feeds, functions and tags.
//!
//! A name is an explicit string, never a type name or a path, and this module alone checks it.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{EntityType, Error, ErrorKind, Result};

/// Checks a name: 1 to 128 bytes of letters, digits, `_`, `-`, `.`, `:` and `/`.
fn check(what: &str, name: &str) -> Result<()> {
    let fix = "use 1 to 128 letters, digits, `_`, `-`, `.`, `:` or `/`";
    if name.is_empty() {
        return Err(Error::new(ErrorKind::Config, format!("the {what} is empty: {fix}")));
    }
    if name.len() > 128 {
        return Err(Error::new(ErrorKind::Config, format!("the {what} has {} bytes: {fix}", name.len())));
    }
    match name.chars().find(|c| !(c.is_ascii_alphanumeric() || "_-.:/".contains(*c))) {
        Some(bad) => {
            Err(Error::new(ErrorKind::Config, format!("the {what} `{}` contains {bad:?}: {fix}", name.escape_debug())))
        }
        None => Ok(()),
    }
}

/// The same check for the compiler.
const fn is_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let mut good = 0;
    while good < bytes.len()
        && matches!(bytes[good], b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'_' | b'-' | b'.' | b':' | b'/')
    {
        good += 1;
    }
    good == bytes.len() && 1 <= good && good <= 128
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// A checked name.
            ///
            /// # Errors
            /// [`ErrorKind::Config`] when it is empty, longer than 128 bytes or has other characters than letters,
            /// digits, `_`, `-`, `.`, `:` and `/`.
            pub fn new(name: impl AsRef<str>) -> Result<Self> {
                check($what, name.as_ref())?;
                Ok(Self(Arc::from(name.as_ref())))
            }

            /// The name.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;

            fn try_from(name: String) -> Result<Self> {
                Self::new(name)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().to_owned()
            }
        }
    };
}

name! {
    /// Separates two applications (or two test cases) on one server.
    Namespace, "namespace"
}

name! {
    /// A source of entities, for example a collection or a table.
    SourceId, "source id"
}

name! {
    /// A stream of changes, which several sources may share, for example the change stream of a database.
    FeedId, "feed id"
}

name! {
    /// A computed function.
    FunctionId, "function id"
}

impl SourceId {
    /// The source of an entity type. A name that is not valid is an error of the compiler.
    #[must_use]
    pub fn of<T: EntityType>() -> Self {
        const { assert!(is_name(T::SOURCE), "the name of a source is 1 to 128 letters, digits, `_`, `-`, `.`, `:` or `/`") };
        Self(Arc::from(T::SOURCE))
    }

    /// The name of a pseudo-source that is made of sources and functions: a hash of its parts. The builder refuses
    /// sources with such names.
    pub(crate) fn derived(kind: &str, parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Self(format!("smache:{kind}:{}", &hasher.finalize().to_hex()[..16]).into())
    }

    /// Whether it is one of the names that only this crate makes.
    pub(crate) fn is_reserved(&self) -> bool {
        self.as_str().starts_with("smache:")
    }

    /// The pseudo-source of everything that only the application changes: tags, and calls without any source.
    #[must_use]
    pub fn application() -> Self {
        Self(Arc::from("smache:application"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiler_accepts_the_names_that_a_program_may_use() {
        let longest = "x".repeat(128);
        let too_long = "x".repeat(129);
        for name in ["users", "users.v2/eu:1", "A-z_0", "", "a b", "ä", "a\0", "{x}", &longest, &too_long] {
            assert_eq!(is_name(name), SourceId::new(name).is_ok(), "{name:?}");
        }
    }

    #[test]
    fn bad_names_are_refused_with_the_name_and_the_fix() {
        for bad in ["", "a b", "ä", "a\0", "{x}", &"x".repeat(129)] {
            let error = Namespace::new(bad).expect_err("a bad name");
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains("namespace") && error.to_string().contains("letters"), "{error}");
        }
        assert_eq!(SourceId::new("users.v2/eu:1").expect("a good name").as_str(), "users.v2/eu:1");
    }
}
