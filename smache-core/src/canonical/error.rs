//! The errors of encoding values and decoding bytes.

use std::fmt;

use super::MAX_DEPTH;

/// Why a value has no canonical encoding.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// A float is NaN. It does not even equal itself, so an entry under it could never be found again.
    #[error("a float is not a number (NaN), which equals nothing and cannot be part of a key: pass None instead")]
    NotANumber,

    /// The encoding needs more bytes than are allowed.
    #[error("the encoding is longer than {limit} bytes: pass an id and load the data by it, or raise the limit")]
    TooLong {
        /// How many bytes were allowed.
        limit: usize,
    },

    /// The value is nested deeper than [`MAX_DEPTH`].
    #[error("the value is nested deeper than {MAX_DEPTH} levels: flatten it")]
    TooDeep,

    /// A map or a struct holds one key twice, so that readers may disagree on its content.
    #[error("a map has the same key twice: keep one of the entries")]
    DuplicateKey,

    /// The value's own `Serialize` failed.
    #[error("{0}")]
    Custom(String),
}

impl serde::ser::Error for EncodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Custom(message.to_string())
    }
}

/// Why bytes do not decode, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeError {
    reason: DecodeReason,
    offset: Option<usize>,
}

impl DecodeError {
    pub(super) fn new(reason: DecodeReason, offset: usize) -> Self {
        Self { reason, offset: Some(offset) }
    }

    /// Adds the place of the error, unless it has one, which is nearer.
    pub(super) fn or_at(mut self, offset: usize) -> Self {
        self.offset.get_or_insert(offset);
        self
    }

    /// The reason.
    #[must_use]
    pub fn reason(&self) -> &DecodeReason {
        &self.reason
    }

    /// The offset of the byte at fault, or of the value around it. Errors of [`from_slice`](super::from_slice) always
    /// have one.
    #[must_use]
    pub fn offset(&self) -> Option<usize> {
        self.offset
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.offset {
            Some(offset) => write!(f, "{} at byte {offset}", self.reason),
            None => self.reason.fmt(f),
        }
    }
}

impl std::error::Error for DecodeError {}

impl serde::de::Error for DecodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { reason: DecodeReason::Mismatch(message.to_string()), offset: None }
    }
}

/// The reason why bytes do not decode.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeReason {
    /// The input ends inside a value.
    Truncated,
    /// The input goes on after the value.
    Trailing,
    /// No value starts with this byte: the bytes are damaged or of another format.
    Tag(u8),
    /// A string or a name is not UTF-8.
    NotUtf8,
    /// A `char` is not a Unicode scalar value.
    NotAChar(u32),
    /// A value is well-formed but not in the one form that is canonical.
    NotCanonical(&'static str),
    /// The value is nested deeper than [`MAX_DEPTH`].
    TooDeep,
    /// The container holds more values than the type takes.
    Unread,
    /// The value is not of the requested type, according to the type's `Deserialize`.
    Mismatch(String),
}

impl fmt::Display for DecodeReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("the input ends inside a value"),
            Self::Trailing => f.write_str("the input goes on after the value"),
            Self::Tag(tag) => write!(f, "no value starts with {tag:#04x}"),
            Self::NotUtf8 => f.write_str("a string is not UTF-8"),
            Self::NotAChar(code) => write!(f, "{code:#x} is not a character"),
            Self::NotCanonical(what) => write!(f, "not the canonical form: {what}"),
            Self::TooDeep => write!(f, "the value is nested deeper than {MAX_DEPTH} levels"),
            Self::Unread => f.write_str("a value holds more than its type takes"),
            Self::Mismatch(message) => f.write_str(message),
        }
    }
}
