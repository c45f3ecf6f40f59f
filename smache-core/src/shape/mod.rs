//! The shape of a type: the form that serde writes, found without a value of the type.
//!
//! A type tells its shape while it is deserialized: it asks for a struct with these fields, for a `u32`, for one of
//! these variants. So the trace deserializes the type from nothing, as often as it has variants, and records the
//! requests: names of fields and variants and the kinds of their values, at every depth. It leaves out names of types,
//! since serde writes none either. A type that hides its shape (an untagged or an internally tagged enum, a flattened
//! field, a `Deserialize` that refuses every sample) makes the shape incomplete.

mod recorder;
mod trace;

use std::fmt;

use serde::de::DeserializeOwned;

use self::trace::{Integers, Trace};

/// The form that serde writes of a type.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Shape {
    /// One line per place in the type, sorted: so the order of fields and variants does not matter.
    lines: Vec<String>,
    complete: bool,
}

impl Shape {
    /// The stored shape of a type: the width of integers belongs to it.
    pub(crate) fn of<T: DeserializeOwned>() -> Self {
        Self::find::<T>(Integers::AsTyped)
    }

    /// The shape of a type of ids or of fields that predicates compare: integers are one kind, since integers of any
    /// width make one key.
    pub(crate) fn of_key<T: DeserializeOwned>() -> Self {
        Self::find::<T>(Integers::ByValue)
    }

    fn find<T: DeserializeOwned>(integers: Integers) -> Self {
        let mut trace = Trace::new(integers);
        let complete = trace.run::<T>();
        Self { lines: trace.into_lines(), complete }
    }

    /// Whether it covers the whole type. Two types with one incomplete shape may be stored differently.
    pub(crate) fn is_complete(&self) -> bool {
        self.complete
    }

    /// Its hash.
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
