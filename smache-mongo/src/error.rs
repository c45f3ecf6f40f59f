//! The driver's errors as errors of SMache.

use std::{borrow::Cow, future::Future, time::Duration};

use mongodb::error::{Error as DriverError, ErrorKind as Driver, WriteFailure};
use smache_core::{Error, ErrorKind, Result};

/// Labels by which a server says that the same command may succeed later.
const TRANSIENT_LABELS: [&str; 3] = ["ResumableChangeStreamError", "RetryableError", "SystemOverloadedError"];

/// Turns an error of the driver into an [`Error`] that names the operation.
pub(crate) fn classify(error: DriverError, doing: &str) -> Error {
    let labelled = TRANSIENT_LABELS.iter().any(|label| error.contains_label(label));
    let kind = match kind_of(&error.kind) {
        ErrorKind::WrongServer if labelled => ErrorKind::Unavailable,
        kind => kind,
    };
    Error::new(kind, message(kind, &error.kind, doing)).with_source(error)
}

/// Whether an error of the driver is an outage: it passes by itself, or when an operator repairs the server. For
/// [`Builder::outages`](smache_core::Builder::outages), where functions use their own client.
pub fn is_outage(error: &(dyn std::error::Error + 'static)) -> bool {
    let Some(error) = error.downcast_ref::<DriverError>() else { return false };
    let error = classify(error.clone(), "");
    error.is_transient() || matches!(error.kind(), ErrorKind::Permission | ErrorKind::WrongServer)
}

/// The error codes of a change stream that cannot go on from its position: the history is gone or another one, the
/// event cannot be delivered, or the server does not understand the position.
///
/// `FailedToParse` 9, `CappedPositionLost` 136, `InvalidResumeToken` 260, `ChangeStreamFatalError` 280,
/// `ChangeStreamHistoryLost` 286, `BSONObjectTooLarge` 10334 (the event is too large: every retry fails again), and two
/// unnamed codes of a token that the server cannot read.
const SPENT: [i32; 8] = [9, 136, 260, 280, 286, 10334, 40647, 40649];

/// The server's error code, if the server failed.
pub(crate) fn code_of(kind: &Driver) -> Option<i32> {
    match kind {
        Driver::Command(command) => Some(command.code),
        Driver::Write(WriteFailure::WriteError(error)) => Some(error.code),
        Driver::Write(WriteFailure::WriteConcernError(error)) => Some(error.code),
        _ => None,
    }
}

fn kind_of(kind: &Driver) -> ErrorKind {
    match kind {
        Driver::Command(_) | Driver::Write(_) => match code_of(kind).unwrap_or(0) {
            code if SPENT.contains(&code) => ErrorKind::HistoryLost,
            // A document that is too large, before or after an update.
            17419 | 17420 => ErrorKind::TooLarge,
            // Unauthorized, AuthenticationFailed, Atlas' own name for both, ReauthenticationRequired.
            13 | 18 | 8000 | 391 => ErrorKind::Permission,
            // MaxTimeMSExpired, NetworkInterfaceExceededTimeLimit, ExceededTimeLimit; LockTimeout; WriteConcernFailed:
            // the majority did not answer in time.
            50 | 202 | 262 | 24 | 64 => ErrorKind::Timeout,
            // The host or the network: HostUnreachable, HostNotFound, NetworkTimeout, SocketException.
            6 | 7 | 89 | 9001
            // The role: no primary, stepping down, shutting down, recovering, or no majority yet. KeyNotFound: a set
            // that has just begun has no key yet to sign its time.
            | 211 | 91 | 133 | 134 | 189 | 10058 | 10107 | 11600 | 11602 | 13435 | 13436
            // The cursor: not found (a restart), killed, interrupted, or to be reopened.
            | 43 | 175 | 234 | 237 | 11601
            // The routing of a sharded cluster: StaleShardVersion, StaleEpoch, StaleConfig.
            | 63 | 150 | 13388
            // Another write to the same document: WriteConflict, DuplicateKey. TemporarilyUnavailable: the cache is
            // full. OutOfDiskSpace.
            | 112 | 11000 | 365 | 14031 => ErrorKind::Unavailable,
            _ => ErrorKind::WrongServer,
        },
        Driver::Authentication { .. } => ErrorKind::Permission,
        Driver::Io(_)
        | Driver::ServerSelection { .. }
        | Driver::ConnectionPoolCleared { .. }
        | Driver::DnsResolve { .. }
        | Driver::Shutdown => ErrorKind::Unavailable,
        Driver::InvalidArgument { .. } | Driver::InvalidTlsConfig { .. } => ErrorKind::Config,
        Driver::BsonDeserialization(_) | Driver::InvalidResponse { .. } | Driver::MissingResumeToken => {
            ErrorKind::Corrupt
        }
        Driver::BsonSerialization(_) => ErrorKind::Argument,
        Driver::IncompatibleServer { .. } | Driver::SessionsNotSupported => ErrorKind::WrongServer,
        _ => ErrorKind::Internal,
    }
}

fn message(kind: ErrorKind, cause: &Driver, doing: &str) -> String {
    let code = code_of(cause).unwrap_or(0);
    let why: Cow<'static, str> = match (kind, code) {
        (ErrorKind::HistoryLost, 10334) => {
            "a change is larger than the 16 MiB that an event may have, and blocks the stream".into()
        }
        (ErrorKind::HistoryLost, _) => {
            "the history after the saved position is not there any more; a larger oplog keeps it longer".into()
        }
        (ErrorKind::Permission, _) => {
            "the server refused the credentials, or the user lacks a right on the database: a source needs `find` and \
             `changeStream` (role `read`), a store and a queue need role `readWrite`"
                .into()
        }
        (ErrorKind::WrongServer, 40573) => standalone().into(),
        (ErrorKind::WrongServer, 85 | 86) => {
            "an index of that name is there and is another one: drop it, or use another database".into()
        }
        (ErrorKind::WrongServer, 0) => "the server does not support it; MongoDB 6.0 or newer is needed".into(),
        (ErrorKind::WrongServer, code) => {
            format!("the server refused it with code {code}; MongoDB 6.0 or newer is needed").into()
        }
        (ErrorKind::TooLarge, _) => TOO_LARGE.into(),
        (ErrorKind::Unavailable, 112 | 11000) => "other steps came first at every try: try again later".into(),
        (ErrorKind::Unavailable, 14031) => "the server's disk is full: free some space".into(),
        (ErrorKind::Unavailable, _) => "the server cannot be reached, or is not the primary at the moment".into(),
        (ErrorKind::Timeout, _) => "the server gave up within its bound".into(),
        (ErrorKind::Config, _) => "the client is not set up in a valid way".into(),
        _ => "the driver failed".into(),
    };
    format!("{doing}: {why}")
}

/// Why SMache refuses a server without a replica set, and the fix.
pub(crate) fn standalone() -> &'static str {
    "the server is not a member of a replica set, and only members have change streams: start it with `--replSet` and run `rs.initiate()`"
}

/// Bounds an operation of the driver, which looks for a server for 30 s and waits for an answer on an open connection
/// without a bound.
pub(crate) async fn bounded<T>(
    limit: Duration,
    elapsed: ErrorKind,
    doing: &str,
    operation: impl Future<Output = mongodb::error::Result<T>>,
) -> Result<T> {
    match tokio::time::timeout(limit, operation).await {
        Ok(outcome) => outcome.map_err(|error| classify(error, doing)),
        Err(_) => {
            let why = "check that it runs, can be reached and has a primary";
            Err(Error::new(elapsed, format!("{doing}: no answer from the server within {limit:?}; {why}")))
        }
    }
}

/// Bounds a command of a step of the store or the queue.
pub(crate) async fn timed<T>(
    limit: Duration,
    step: &'static str,
    server: &str,
    command: impl Future<Output = mongodb::error::Result<T>>,
) -> Result<T> {
    let mut code = None;
    let command = async { command.await.inspect_err(|error| code = code_of(&error.kind)) };
    let outcome = bounded(limit, ErrorKind::Timeout, step, command).await;
    outcome.map_err(|error| {
        // A code that means a lost position in a stream has no such meaning here.
        let error = if error.kind() == ErrorKind::HistoryLost { refused(error, code, step) } else { error };
        error.with_context("server", server)
    })
}

/// A command that the server refuses.
fn refused(error: Error, code: Option<i32>, step: &str) -> Error {
    let (kind, why) = match code {
        Some(10334) => (ErrorKind::TooLarge, TOO_LARGE),
        _ => (ErrorKind::WrongServer, "the server refused the command; MongoDB 6.0 or newer is needed"),
    };
    Error::new(kind, format!("{step}: {why}")).with_source(error)
}

const TOO_LARGE: &str =
    "a document would be larger than the 16 MiB that it may have, of which a value may be half: store less";

/// Whether another write has just created the same document.
pub(crate) fn is_duplicate(error: &DriverError) -> bool {
    code_of(&error.kind) == Some(11000)
}

/// The database cannot be used.
pub(crate) fn wrong_server(message: impl Into<Cow<'static, str>>, server: &str) -> Error {
    Error::new(ErrorKind::WrongServer, message).with_context("server", server)
}

/// Stored bookkeeping that cannot be read.
pub(crate) fn corrupt(what: &'static str) -> Error {
    Error::new(ErrorKind::Corrupt, what)
}

/// Every try of a step met a document that another step had changed.
pub(crate) fn overtaken(step: &'static str) -> Error {
    let message = "other steps came first at every try: try again later";
    Error::new(ErrorKind::Unavailable, format!("{step}: {message}"))
}

#[cfg(test)]
mod tests;
