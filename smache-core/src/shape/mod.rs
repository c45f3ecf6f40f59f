//! The shape of a type: what serde writes of it, found without a value of it.
//!
//! A type tells its shape while it is deserialized: it asks for a struct with these fields, for a `u32`, for one of these
//! variants. So a type is deserialized from nothing, as often as it has variants, and what it asks for is written down:
//! names of fields and variants and the kinds of what is in them, at every depth. Names of types are left out, since serde
//! writes none either. What hides its shape (an untagged or an internally tagged enum, a flattened field, a `Deserialize`
//! that refuses every sample) makes it an incomplete one.

mod recorder;
mod trace;

use std::fmt;

use serde::de::DeserializeOwned;

use self::trace::{Integers, Trace};

/// What serde writes of a type.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Shape {
    /// One line a place in the type, sorted: so the order of fields and variants does not matter.
    lines: Vec<String>,
    complete: bool,
}

impl Shape {
    /// The shape of a type as it is stored: the width of integers belongs to it.
    pub(crate) fn of<T: DeserializeOwned>() -> Self {
        Self::find::<T>(Integers::AsTyped)
    }

    /// The shape of a type of ids or of fields that predicates compare: integers are one kind, since they are one key
    /// whatever their width.
    pub(crate) fn of_key<T: DeserializeOwned>() -> Self {
        Self::find::<T>(Integers::ByValue)
    }

    fn find<T: DeserializeOwned>(integers: Integers) -> Self {
        let mut trace = Trace::new(integers);
        let complete = trace.run::<T>();
        Self { lines: trace.into_lines(), complete }
    }

    /// Whether everything of the type is in it. Two types with one incomplete shape may be stored differently.
    pub(crate) fn is_complete(&self) -> bool {
        self.complete
    }

    /// The hash of it.
    pub(crate) fn hash(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        for line in &self.lines {
            hasher.update(&(line.len() as u64).to_le_bytes());
            hasher.update(line.as_bytes());
        }
        hasher.update(&[u8::from(self.complete)]);
        *hasher.finalize().as_bytes()
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shape").field("lines", &self.lines).field("complete", &self.complete).finish()
    }
}

#[cfg(test)]
mod tests;
