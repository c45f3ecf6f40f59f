//! The errors of this layer. Errors of the store pass through unchanged.

use smache_core::{Error, ErrorKind};

/// The error of a transaction that another one conflicts with. The step runs again.
#[must_use]
pub fn conflict() -> Error {
    Error::new(ErrorKind::Contended, "another transaction conflicted: the step runs again")
}

pub(crate) fn is_conflict(error: &Error) -> bool {
    error.kind() == ErrorKind::Contended
}

/// Every try of a step conflicted.
pub(crate) fn gave_up(tries: u32, last: Error) -> Error {
    let message = "other transactions conflicted with every try of a step: try again later, or with fewer writers";
    Error::new(ErrorKind::Unavailable, message).with_context("tries", tries).with_source(last)
}

/// The store breaks its contract.
pub(crate) fn broken(message: &'static str) -> Error {
    Error::new(ErrorKind::Internal, message)
}
