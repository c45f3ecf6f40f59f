//! The driver's errors as errors of SMache.

use std::{error::Error as StdError, io, sync::Arc};

use redis::{ErrorKind as Theirs, RedisError, ServerErrorKind};
use smache_core::{Error, ErrorKind, Retry};

use crate::keys::Role;

#[cfg(test)]
mod tests;

/// The kind of an error, and a message with the fix.
pub(crate) fn classify(error: &RedisError) -> (ErrorKind, &'static str) {
    match error.kind() {
        Theirs::Io => io_error(error),
        Theirs::Parse => (ErrorKind::WrongServer, "the server does not answer like a Redis: check host and port"),
        Theirs::RESP3NotSupported => (ErrorKind::WrongServer, "the server is older than Redis 6.2: use a newer one"),
        Theirs::Client => (ErrorKind::WrongServer, "the TLS connection cannot be made: check the certificate"),
        Theirs::InvalidClientConfig => (ErrorKind::Config, "the address of the server is not valid: check the URL"),
        Theirs::AuthenticationFailed => (ErrorKind::Permission, "the server refuses the user or the password"),
        Theirs::Server(ServerErrorKind::ResponseError) => code(hidden_code(error.detail().unwrap_or_default())),
        Theirs::Server(_) | Theirs::Extension => code(error.code().unwrap_or_default()),
        _ => code(""),
    }
}

/// Whether an error of the driver is an outage: it passes by itself, or when an operator repairs the server. For
/// [`Builder::outages`](smache_core::Builder::outages), where functions use their own client.
pub fn is_outage(error: &(dyn std::error::Error + 'static)) -> bool {
    let Some(error) = error.downcast_ref::<RedisError>() else { return false };
    let (kind, _) = classify(error);
    Error::new(kind, "").is_transient() || matches!(kind, ErrorKind::Permission | ErrorKind::WrongServer)
}

/// The meaning of the code at the start of a server's error.
fn code(code: &str) -> (ErrorKind, &'static str) {
    match code {
        "LOADING" => (ErrorKind::Unavailable, "the server is still loading its data: try again later"),
        "BUSY" => (ErrorKind::Unavailable, "the server is busy with a script: try again later"),
        "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN" => {
            (ErrorKind::Unavailable, "the server has lost its primary or its cluster: try again later")
        }
        // Calls that wait at that moment get the second.
        "READONLY" | "UNBLOCKED" => (ErrorKind::Unavailable, BECAME_REPLICA),
        "NOREPLICAS" => {
            (ErrorKind::Unavailable, "the server misses replicas and refuses writes: check `min-replicas-to-write`")
        }
        "MISCONF" => (ErrorKind::Unavailable, "the server cannot save to its disk and refuses writes: check its log"),
        "OOM" => (ErrorKind::Unavailable, "the server's memory is full: raise its `maxmemory`"),
        "MAXCLIENTS" => (ErrorKind::Unavailable, "the server has too many connections: raise its `maxclients`"),
        "NOAUTH" => (ErrorKind::Permission, "the server asks for a password: put it into the URL"),
        "WRONGPASS" => (ErrorKind::Permission, "the server refuses the user or the password: check the URL"),
        "NOPERM" => (ErrorKind::Permission, "the user may not do that: grant it the right by `ACL SETUSER`"),
        "DENIED" => (ErrorKind::Permission, "the server is in protected mode: give it a password"),
        "MOVED" | "ASK" | "CROSSSLOT" => {
            (ErrorKind::WrongServer, "the server is in cluster mode, which is not supported: use a single primary")
        }
        "UNKNOWN" => (ErrorKind::WrongServer, "the server does not know a command: use Redis 6.2 or newer"),
        "WRONGTYPE" => (ErrorKind::Corrupt, "a key holds something else than this crate stores there: remove it"),
        _ => (ErrorKind::Internal, "the server reports an unexpected error"),
    }
}

/// The message for a server that no longer accepts writes.
pub(crate) const BECAME_REPLICA: &str = "the server has become a replica: a failover is under way";

/// Finds the code of an error that is plain `ERR`: Redis 6.2 wraps the errors of a script, and some have no code.
fn hidden_code(detail: &str) -> &str {
    if detail.starts_with("max number of clients") {
        return "MAXCLIENTS";
    }
    if detail.starts_with("unknown command") {
        return "UNKNOWN";
    }
    // Redis 7.0 has a code for it outside of scripts only.
    if detail.starts_with("The user executing the script") {
        return "NOPERM";
    }
    let inner = detail.strip_prefix("Error running script").and_then(|detail| detail.splitn(5, ": ").last());
    inner.and_then(|inner| inner.trim_start_matches('-').split(' ').next()).unwrap_or_default()
}

/// The message for a connection that ended without a reason.
pub(crate) const LOST: &str = "the connection to the server was lost: try again, and it is opened again";

fn io_error(error: &RedisError) -> (ErrorKind, &'static str) {
    if error.is_timeout() {
        return (
            ErrorKind::Timeout,
            "the server does not answer in time: check its load, or raise the timeouts of the builder",
        );
    }
    if error.is_connection_refusal() {
        return (ErrorKind::Unavailable, "nothing listens at the address: start the server or check the URL");
    }
    // `redis` returns the cause inside of the pointer that shares it.
    let shared = error.source().and_then(|source| source.downcast_ref::<Arc<dyn StdError + Send + Sync>>());
    let cause = shared.and_then(|shared| shared.downcast_ref::<io::Error>());
    match cause.map(io::Error::kind) {
        // A TLS handshake with a server that does not speak it, or a certificate that cannot be verified.
        Some(io::ErrorKind::InvalidData) => {
            (ErrorKind::WrongServer, "the TLS connection cannot be made: check the certificate, or use `redis://`")
        }
        Some(io::ErrorKind::PermissionDenied) => {
            (ErrorKind::Permission, "the socket may not be opened: check its permissions")
        }
        _ => (ErrorKind::Unavailable, LOST),
    }
}

/// Whether the connection behind an error must not be used any more: it is lost, its answers are out of order, or the
/// server does not accept writes.
pub(crate) fn ends_connection(error: &RedisError) -> bool {
    error.is_io_error()
        || error.is_unrecoverable_error()
        || error.code() == Some("READONLY")
        || matches!(error.kind(), Theirs::Server(ServerErrorKind::ResponseError))
            && hidden_code(error.detail().unwrap_or_default()) == "READONLY"
}

/// Turns an error of Redis into an [`Error`].
pub(crate) fn failed(error: RedisError, server: &str) -> Error {
    let (kind, message) = classify(&error);
    Error::new(kind, message).with_context("server", server).with_source(error)
}

/// Adds the rights to grant to an error about keys, if it is about rights.
pub(crate) fn with_rights(error: Error, role: Role, prefix: &str) -> Error {
    if error.kind() == ErrorKind::Permission { error.with_context("grant", role.rights(prefix)) } else { error }
}

/// The server cannot be used.
pub(crate) fn wrong_server(message: String, server: &str) -> Error {
    Error::new(ErrorKind::WrongServer, message).with_context("server", server)
}

/// Stored bookkeeping that cannot be read.
pub(crate) fn corrupt(what: &'static str, key: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Corrupt, what).with_context("key", key)
}

/// A script returned an answer of another form.
pub(crate) fn unexpected(operation: &'static str) -> Error {
    let message = "a script answered something unexpected: does another version of this crate use the namespace?";
    Error::new(ErrorKind::Internal, message).with_context("operation", operation).with_retry(Retry::Never)
}
