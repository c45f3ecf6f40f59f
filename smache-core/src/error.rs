//! The one error type: the kind of failure ([`ErrorKind`]) apart from the advice to repeat or not ([`Retry`]).
//!
//! The split follows `opendal` and `redis`: callers match on the kind, loops look at the retry advice, people read the
//! message. A source stays a source, and never becomes text.

use std::{any::Any, borrow::Cow, error::Error as StdError, fmt, sync::Arc};

/// A boxed error of any origin.
pub type BoxError = Box<dyn StdError + Send + Sync + 'static>;

/// The result of every fallible operation of the framework.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A setting, name or declaration is not valid.
    Config,
    /// A function, source or state that a call needs is not registered in this program.
    Unregistered,
    /// An argument cannot be part of a key: not a number, too long, too deep, or it does not survive serialization.
    Argument,
    /// A backend cannot be reached or the connection was lost.
    Unavailable,
    /// An operation did not finish within its bound.
    Timeout,
    /// The server refused the credentials or the permission.
    Permission,
    /// The server is not of the kind, version, role or setting that the backend needs.
    WrongServer,
    /// Stored bytes cannot be decoded.
    Corrupt,
    /// A value is above the configured size.
    TooLarge,
    /// The computed function returned an error; [`Error::function_error`] gives it back.
    Function,
    /// The computed function panicked.
    Panicked,
    /// The run was given up: its lease was lost or the system shuts down.
    Cancelled,
    /// An entity that the call names does not exist (any more); the entry was removed.
    Gone,
    /// Another process computes the value and did not finish within the bound.
    Busy,
    /// The data changes faster than the function computes: no fresh value within the tries.
    Contended,
    /// A computed function calls itself through its nested calls, or nests too deeply.
    Cycle,
    /// A computed function reads a source that it does not declare, and the system is strict.
    Undeclared,
    /// A newer leader of the feed exists.
    Fenced,
    /// The store behind the connection has another incarnation than before: restarted, failed over, restored.
    IncarnationChanged,
    /// The history of a source is lost: its feed cannot continue where it was.
    HistoryLost,
    /// The backend does not have that capability.
    Unsupported,
    /// A bug in the framework or a backend that breaks its contract.
    Internal,
}

/// Whether to repeat a call that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Retry {
    /// The same call may succeed later, without any action of a person.
    Transient,
    /// A person has to change something first.
    Never,
}

/// The error of the framework. Cheap to clone: all readers that waited for one run get the same error.
#[derive(Clone)]
pub struct Error(Arc<Details>);

#[derive(Clone)]
struct Details {
    kind: ErrorKind,
    retry: Retry,
    message: Cow<'static, str>,
    context: Vec<(&'static str, String)>,
    source: Option<Arc<dyn StdError + Send + Sync + 'static>>,
    backend: bool,
    /// The function's verdict on its error.
    verdict: Verdict,
    /// A note of the engine: the reads of the failed run.
    note: Option<Arc<dyn Any + Send + Sync>>,
}

/// A function's verdict on its error, beyond whether it is transient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Verdict {
    /// None: the error may be a mistake that a deploy mends, and the call is tried again some times.
    #[default]
    Open,
    /// The same data leads to the same error.
    Permanent,
    /// The entity that the call is about does not exist.
    Gone,
    /// The function was too slow, which is no outage of the sources that it reads.
    Slow,
}

impl Error {
    /// An error of a kind. The message is lower case, without a full stop, and names the thing and the fix.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        let retry = match kind {
            ErrorKind::Unavailable
            | ErrorKind::Timeout
            | ErrorKind::Busy
            | ErrorKind::Contended
            | ErrorKind::Fenced
            | ErrorKind::Cancelled
            | ErrorKind::IncarnationChanged => Retry::Transient,
            _ => Retry::Never,
        };
        Self(Arc::new(Details {
            kind,
            retry,
            message: message.into(),
            context: Vec::new(),
            source: None,
            backend: false,
            verdict: Verdict::default(),
            note: None,
        }))
    }

    /// Adds the error that caused it.
    #[must_use]
    pub fn with_source(self, source: impl Into<BoxError>) -> Self {
        let source: BoxError = source.into();
        self.edit(|details| details.source = Some(Arc::from(source)))
    }

    /// Adds a fact about where it happened, for example the function or the server.
    #[must_use]
    pub fn with_context(self, key: &'static str, value: impl fmt::Display) -> Self {
        self.edit(|details| details.context.push((key, value.to_string())))
    }

    /// Adds a fact, unless one of that name is there: the innermost of nested calls is the one to know.
    #[must_use]
    pub(crate) fn with_first_context(self, key: &'static str, value: impl fmt::Display) -> Self {
        if self.0.context.iter().any(|(known, _)| *known == key) { self } else { self.with_context(key, value) }
    }

    /// Replaces the retry advice that its kind has by default.
    #[must_use]
    pub fn with_retry(self, retry: Retry) -> Self {
        self.edit(|details| details.retry = retry)
    }

    /// Notes that the error comes from a step of the store or the queue and not from the function or its sources.
    pub(crate) fn of_backend(self, step: &'static str) -> Self {
        self.with_context("step", step).edit(|details| details.backend = true)
    }

    /// Adds the function's verdict.
    pub(crate) fn with_verdict(self, verdict: Verdict) -> Self {
        self.edit(|details| details.verdict = verdict)
    }

    pub(crate) fn verdict(&self) -> Verdict {
        self.0.verdict
    }

    /// Whether the entry has no value any more: the entity that its call is about does not exist.
    pub(crate) fn is_gone(&self) -> bool {
        self.0.kind == ErrorKind::Gone || self.0.verdict == Verdict::Gone
    }

    /// Whether the run failed because of its surroundings: a source, a store or another run. Such an error passes by
    /// itself, or when an operator mends the part that is away, and says nothing about the call.
    pub(crate) fn is_outage(&self) -> bool {
        use ErrorKind::{Cancelled, Function, Permission, WrongServer};
        match self.0.kind {
            Function => self.is_transient() && self.0.verdict == Verdict::Open,
            Permission | WrongServer => true,
            Cancelled => false,
            _ => self.is_transient() && self.0.verdict != Verdict::Slow,
        }
    }

    /// The error with a note, which its clones share. A later note replaces an earlier one.
    pub(crate) fn with_note<T: Any + Send + Sync>(self, note: T) -> Self {
        self.edit(|details| details.note = Some(Arc::new(note)))
    }

    /// The note, if it is of this type.
    pub(crate) fn note<T: Any>(&self) -> Option<&T> {
        self.0.note.as_deref()?.downcast_ref()
    }

    /// Whether the reads of the run explain the error: the same data leads to it again.
    pub(crate) fn is_explained(&self) -> bool {
        use ErrorKind::{Argument, Function, Gone, TooLarge};
        matches!(self.0.kind, Argument | Function | Gone | TooLarge) && !self.is_transient()
    }

    pub(crate) fn is_of_backend(&self) -> bool {
        self.0.backend
    }

    fn edit(self, change: impl FnOnce(&mut Details)) -> Self {
        let mut details = Arc::unwrap_or_clone(self.0);
        change(&mut details);
        Self(Arc::new(details))
    }

    /// The kind of failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The retry advice.
    #[must_use]
    pub fn retry(&self) -> Retry {
        self.0.retry
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.0.retry == Retry::Transient
    }

    /// The message without context and source.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The error that the computed function itself returned, if that is its type.
    ///
    /// Works on errors of kind [`ErrorKind::Function`].
    #[must_use]
    pub fn function_error<E: StdError + 'static>(&self) -> Option<&E> {
        match (self.0.kind, &self.0.source) {
            (ErrorKind::Function, Some(source)) => source.downcast_ref(),
            _ => None,
        }
    }

    /// The whole chain of causes in one line, in the form that is recorded on an entry or a dead letter.
    #[must_use]
    pub fn report(&self) -> String {
        let mut text = self.to_string();
        let mut next = self.source();
        while let Some(error) = next {
            let cause = error.to_string();
            // Some drivers print their source in their own text.
            if !text.ends_with(&cause) {
                text.push_str(": ");
                text.push_str(&cause);
            }
            next = error.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        for (index, (key, value)) in self.0.context.iter().enumerate() {
            let open = if index == 0 { " (" } else { ", " };
            write!(f, "{open}{key}: {value}")?;
        }
        if !self.0.context.is_empty() {
            f.write_str(")")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Error");
        debug.field("kind", &self.0.kind).field("retry", &self.0.retry).field("message", &self.0.message);
        for (key, value) in &self.0.context {
            debug.field(key, value);
        }
        debug.field("source", &self.0.source).finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error, PartialEq)]
    #[error("out of paper")]
    struct Paper;

    #[test]
    fn display_never_repeats_the_source() {
        let error =
            Error::new(ErrorKind::Function, "function `print` failed").with_source(Paper).with_context("call", 7);
        assert_eq!(error.to_string(), "function `print` failed (call: 7)");
        assert_eq!(error.report(), "function `print` failed (call: 7): out of paper");
    }

    #[test]
    fn the_functions_own_error_comes_back_typed() {
        let error = Error::new(ErrorKind::Function, "failed").with_source(Paper);
        assert_eq!(error.clone().function_error::<Paper>(), Some(&Paper));
        assert!(error.function_error::<std::io::Error>().is_none());
    }

    #[test]
    fn only_known_transient_kinds_are_retryable() {
        assert!(Error::new(ErrorKind::Unavailable, "x").is_transient());
        assert!(!Error::new(ErrorKind::Permission, "x").is_transient());
        assert!(!Error::new(ErrorKind::Internal, "x").is_transient());
    }
}
