//! How a computed function fails.

use std::fmt;

use serde::{Serialize, de::DeserializeOwned};

use crate::{BoxError, Error, ErrorKind};

/// What a computed function returns instead of a value: any error, by `?`.
///
/// Like `anyhow::Error` it is not itself a [`std::error::Error`], which is what lets every error convert into it.
pub struct Failure(BoxError);

impl<E: Into<BoxError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl Failure {
    /// The framework's error of the failure of a function: its own errors pass through, others become
    /// [`ErrorKind::Function`].
    pub(crate) fn into_error(self, function: &str) -> Error {
        match self.0.downcast::<Error>() {
            Ok(error) => *error,
            Err(error) => {
                Error::new(ErrorKind::Function, format!("the computed function `{function}` failed")).with_source(error)
            }
        }
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Implemented for `Result`, so that the macro can see through an alias such as `io::Result<T>`.
#[diagnostic::on_unimplemented(
    message = "a computed function that returns a type called `…Result` must return a `Result` of a serializable value",
    note = "the error must implement `std::error::Error` (or convert into `Box<dyn Error + Send + Sync>`)"
)]
pub trait FunctionResult {
    /// The value.
    type Output: Serialize + DeserializeOwned + Send + Sync + 'static;

    /// The result with any error as a failure.
    ///
    /// # Errors
    /// The function's own.
    fn into_outcome(self) -> Result<Self::Output, Failure>;
}

impl<T, E> FunctionResult for Result<T, E>
where
    T: Serialize + DeserializeOwned + Send + Sync + 'static,
    E: Into<BoxError>,
{
    type Output = T;

    fn into_outcome(self) -> Result<T, Failure> {
        self.map_err(Failure::from)
    }
}

/// Text of a panic, as far as it is text.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&'static str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic that is not text")
}

#[cfg(test)]
mod tests {
    use std::error::Error as StdError;

    use super::*;

    #[test]
    fn errors_of_the_framework_pass_through_and_others_are_wrapped() {
        let gone = Failure::from(Error::new(ErrorKind::Gone, "gone")).into_error("f");
        assert_eq!(gone.kind(), ErrorKind::Gone);
        let own = Failure::from(std::io::Error::other("disk")).into_error("f");
        assert_eq!(own.kind(), ErrorKind::Function);
        assert_eq!(own.report(), "the computed function `f` failed: disk");
        let source: &dyn StdError = own.function_error::<std::io::Error>().expect("typed");
        assert_eq!(source.to_string(), "disk");
    }
}
