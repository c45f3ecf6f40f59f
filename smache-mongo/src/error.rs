//! What the errors of the driver mean.

use std::{borrow::Cow, future::Future, time::Duration};

use mongodb::error::{Error as DriverError, ErrorKind as Driver};
use smache_core::{Error, ErrorKind, Result};

/// Labels by which a server itself says that the same command may succeed later.
const TRANSIENT_LABELS: [&str; 3] = ["ResumableChangeStreamError", "RetryableError", "SystemOverloadedError"];

/// An error of the driver as one of the framework, saying what was done.
pub(crate) fn classify(error: DriverError, doing: &str) -> Error {
    let labelled = TRANSIENT_LABELS.iter().any(|label| error.contains_label(label));
    let kind = match kind_of(&error.kind) {
        ErrorKind::WrongServer if labelled => ErrorKind::Unavailable,
        kind => kind,
    };
    Error::new(kind, message(kind, &error.kind, doing)).with_source(error)
}

/// The error codes of a change stream that cannot go on from where it was: the history is gone or the position is not of
/// it, the event cannot be delivered, or the server does not understand the position.
///
/// `FailedToParse` 9, `CappedPositionLost` 136, `InvalidResumeToken` 260, `ChangeStreamFatalError` 280,
/// `ChangeStreamHistoryLost` 286, `BSONObjectTooLarge` 10334 (the event itself: every retry ends there again), and two
/// without a name of a token that the server cannot read.
const SPENT: [i32; 8] = [9, 136, 260, 280, 286, 10334, 40647, 40649];

fn kind_of(kind: &Driver) -> ErrorKind {
    match kind {
        Driver::Command(command) => match command.code {
            code if SPENT.contains(&code) => ErrorKind::HistoryLost,
            // Unauthorized, AuthenticationFailed, Atlas' own name for both, ReauthenticationRequired.
            13 | 18 | 8000 | 391 => ErrorKind::Permission,
            // MaxTimeMSExpired, NetworkInterfaceExceededTimeLimit, ExceededTimeLimit.
            50 | 202 | 262 => ErrorKind::Timeout,
            // The host or the network: HostUnreachable, HostNotFound, NetworkTimeout, SocketException.
            6 | 7 | 89 | 9001
            // The role: no primary, stepping down, shutting down, recovering, or no majority yet.
            | 91 | 133 | 134 | 189 | 10058 | 10107 | 11600 | 11602 | 13435 | 13436
            // The cursor: not found (a restart), killed, interrupted, or to be opened again.
            | 43 | 175 | 234 | 237 | 11601
            // The routing of a sharded cluster: StaleShardVersion, StaleEpoch, StaleConfig.
            | 63 | 150 | 13388 => ErrorKind::Unavailable,
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
    let code = if let Driver::Command(command) = cause { command.code } else { 0 };
    let why: Cow<'static, str> = match (kind, code) {
        (ErrorKind::HistoryLost, 10334) => "a change is larger than the 16 MiB that an event may have, and blocks the stream".into(),
        (ErrorKind::HistoryLost, _) => "the history after the saved position is not there any more; a larger oplog keeps it longer".into(),
        (ErrorKind::Permission, _) => {
            "the server refused the credentials, or the user lacks `find` and `changeStream` on the database (role `read`)".into()
        }
        (ErrorKind::WrongServer, 40573) => standalone().into(),
        (ErrorKind::WrongServer, 0) => "the server does not support it; MongoDB 6.0 or newer is needed".into(),
        (ErrorKind::WrongServer, code) => format!("the server refused it with code {code}; MongoDB 6.0 or newer is needed").into(),
        (ErrorKind::Unavailable, _) => "the server cannot be reached, or is not the primary at the moment".into(),
        (ErrorKind::Timeout, _) => "the server gave up within its bound".into(),
        (ErrorKind::Config, _) => "the client is not set up in a valid way".into(),
        _ => "the driver failed".into(),
    };
    format!("{doing}: {why}")
}

/// Why a server without a replica set is refused, and what to do.
pub(crate) fn standalone() -> &'static str {
    "the server is not a member of a replica set, and only those tell of changes: start it with `--replSet` and run `rs.initiate()`"
}

/// Bounds an operation of the driver, which has no bound of its own while it looks for a server for 30 s or waits for an
/// answer on an open connection.
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

#[cfg(test)]
mod tests;
