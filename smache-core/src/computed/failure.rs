//! How a computed function fails.

use std::{error::Error as StdError, fmt, io};

use serde::{Serialize, de::DeserializeOwned};

use crate::{BoxError, Error, ErrorKind, Retry, error::Verdict};

/// The error of a computed function: any error, by `?`.
///
/// The workers repeat a run that ended with an error by `?`, later and later, and after some attempts its job becomes a
/// dead letter. A function that knows more says so:
///
/// ```
/// use smache_core::Failure;
///
/// fn total(paid: Result<u64, std::io::Error>, limit: u64) -> Result<u64, Failure> {
///     let paid = paid.map_err(Failure::transient)?;
///     if paid > limit {
///         return Err(Failure::permanent(format!("{paid} is more than {limit}")));
///     }
///     Ok(paid)
/// }
/// # assert!(total(Ok(2), 1).is_err());
/// ```
///
/// Errors of the framework, and of connections ([`io::Error`]) anywhere in the chain of causes, are transient. For the
/// errors of another client there is [`Builder::outages`](crate::Builder::outages).
///
/// Like `anyhow::Error` it is not itself a [`std::error::Error`], so that every error converts into it.
pub struct Failure {
    error: BoxError,
    said: Said,
}

/// A function's verdict on its error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Nothing,
    Transient,
    Permanent,
    Gone,
}

/// Says which errors of the application's clients are outages.
pub(crate) type Outages = fn(&(dyn StdError + 'static)) -> bool;

impl<E: Into<BoxError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { error: error.into(), said: Said::Nothing }
    }
}

impl Failure {
    /// A transient error: something that the function needs is away. Its job waits until that is back, for any length
    /// of time; no attempt is counted, and the last good value stays.
    #[must_use]
    pub fn transient(error: impl Into<BoxError>) -> Self {
        Self { error: error.into(), said: Said::Transient }
    }

    /// An error of the domain, to which the same data leads again. There is no further attempt until the data changes,
    /// a reader asks for a fresh value, or the job is requeued. The last good value stays, stale, unless the function
    /// was declared with `on_permanent = "remove"`
    /// ([`Declaration::remove_on_permanent`](crate::Declaration::remove_on_permanent)).
    #[must_use]
    pub fn permanent(error: impl Into<BoxError>) -> Self {
        Self { error: error.into(), said: Said::Permanent }
    }

    /// The entity that the call is about does not exist: the stored value is removed, and readers get an error of kind
    /// [`ErrorKind::Gone`], as when an `Entity` of the call does not exist.
    #[must_use]
    pub fn gone() -> Self {
        let message = "the function reports that the entity of the call does not exist";
        Self { error: Error::new(ErrorKind::Gone, message).into(), said: Said::Nothing }
    }

    /// The framework's error of the failure of a function: its own errors pass through, others become
    /// [`ErrorKind::Function`].
    pub(crate) fn into_error(self, function: &str, outages: Option<Outages>) -> Error {
        let said = match (self.said, self.error.downcast::<Error>()) {
            (Said::Nothing, Ok(error)) => return *error,
            (said, Ok(error)) => (said, error as BoxError),
            (Said::Nothing, Err(error)) => (told_by(&*error, outages), error),
            (said, Err(error)) => (said, error),
        };
        let (said, error) = said;
        let failed =
            Error::new(ErrorKind::Function, format!("the computed function `{function}` failed")).with_source(error);
        match said {
            Said::Nothing => failed,
            Said::Transient => failed.with_retry(Retry::Transient),
            Said::Permanent => failed.with_verdict(Verdict::Permanent),
            Said::Gone => failed.with_verdict(Verdict::Gone),
        }
    }
}

/// The verdict that the causes of an error imply.
fn told_by(error: &(dyn StdError + 'static), outages: Option<Outages>) -> Said {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(ours) = error.downcast_ref::<Error>() {
            if ours.is_gone() {
                return Said::Gone;
            }
            if ours.is_outage() || ours.kind() == ErrorKind::Cancelled {
                return Said::Transient;
            }
            if ours.verdict() == Verdict::Permanent {
                return Said::Permanent;
            }
        }
        let of_a_connection = error.downcast_ref::<io::Error>().is_some_and(|error| is_of_connection(error.kind()));
        if of_a_connection || outages.is_some_and(|is_outage| is_outage(error)) {
            return Said::Transient;
        }
        next = error.source();
    }
    Said::Nothing
}

fn is_of_connection(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable, NetworkDown,
        NetworkUnreachable, NotConnected, TimedOut, UnexpectedEof,
    };
    matches!(
        kind,
        BrokenPipe
            | ConnectionAborted
            | ConnectionRefused
            | ConnectionReset
            | HostUnreachable
            | NetworkDown
            | NetworkUnreachable
            | NotConnected
            | TimedOut
            | UnexpectedEof
    )
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.error, f)
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

/// The text of a panic, where it has one.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&'static str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic that is not text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_framework_pass_through_and_others_are_wrapped() {
        let gone = Failure::from(Error::new(ErrorKind::Gone, "gone")).into_error("f", None);
        assert_eq!(gone.kind(), ErrorKind::Gone);
        let own = Failure::from(io::Error::other("disk")).into_error("f", None);
        assert_eq!(own.kind(), ErrorKind::Function);
        assert_eq!(own.report(), "the computed function `f` failed: disk");
        let source: &dyn StdError = own.function_error::<io::Error>().expect("typed");
        assert_eq!(source.to_string(), "disk");
    }

    #[derive(Debug, thiserror::Error)]
    enum App {
        #[error("the cache")]
        Cache(#[source] Error),
        #[error("the socket")]
        Socket(#[from] io::Error),
        #[error("too much")]
        TooMuch,
    }

    #[test]
    fn causes_say_what_passes_by_itself() {
        let of = |error: App| Failure::from(error).into_error("f", None);
        let timeout = of(App::Cache(Error::new(ErrorKind::Timeout, "no connection became free in time")));
        assert!(timeout.is_outage() && timeout.kind() == ErrorKind::Function, "{timeout:?}");
        assert!(of(io::Error::from(io::ErrorKind::UnexpectedEof).into()).is_outage());
        assert!(of(App::Cache(Error::new(ErrorKind::Gone, "no such user"))).is_gone());
        let own = of(App::TooMuch);
        assert!(!own.is_outage() && own.is_explained());
        let told = Failure::from(App::TooMuch).into_error("f", Some(<dyn std::error::Error>::is::<App>));
        assert!(told.is_outage() && !told.is_explained());
    }

    #[test]
    fn a_function_says_what_its_error_means() {
        let transient = Failure::transient(App::TooMuch).into_error("f", None);
        assert!(transient.is_outage() && transient.function_error::<App>().is_some());
        let permanent = Failure::permanent(App::TooMuch).into_error("f", None);
        assert!(permanent.verdict() == Verdict::Permanent && permanent.function_error::<App>().is_some());
        assert_eq!(Failure::gone().into_error("f", None).kind(), ErrorKind::Gone);
    }
}
