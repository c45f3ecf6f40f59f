//! How errors of a database become errors of this crate.

use std::{error::Error as StdError, future::Future, io, time::Duration};

use smache_core::{Error, ErrorKind, Result};

#[cfg(any(feature = "postgres", test))]
use crate::version::MIGRATED;

#[cfg(test)]
mod tests;

/// The owner of the tables that a statement uses; error messages depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tables {
    /// Those of the store and the queue, which this crate makes.
    Own,
    /// One of the application that is a source, and the tables that `install` makes beside it.
    Source,
}

impl Tables {
    fn choose<T>(self, own: T, source: T) -> T {
        match self {
            Self::Own => own,
            Self::Source => source,
        }
    }
}

/// The one classification: what failed, in the words of the framework, and what to do about it.
pub(crate) fn classify(error: &sqlx::Error, tables: Tables) -> (ErrorKind, &'static str) {
    match error {
        sqlx::Error::Database(database) => {
            #[cfg(feature = "postgres")]
            if let Some(postgres) = database.try_downcast_ref::<sqlx::postgres::PgDatabaseError>() {
                return sqlstate(postgres.code(), tables);
            }
            sqlite_code(database.code().and_then(|code| code.parse().ok()).unwrap_or(0), tables)
        }
        sqlx::Error::Io(error) => io_error(error.kind()),
        // A balancer that accepts and closes cuts the handshake: nothing is wrong with the certificate.
        sqlx::Error::Tls(cause) => cut(cause.as_ref()).map_or(
            (ErrorKind::WrongServer, "the TLS connection cannot be made: check the certificate and `sslmode`"),
            io_error,
        ),
        // A balancer without a server behind it accepts and closes, which the driver takes for an answer.
        sqlx::Error::Protocol(_) => (
            ErrorKind::Unavailable,
            "the server closes the connection, or does not answer like a PostgreSQL: try again, and check host and port and \
             what stands in between",
        ),
        sqlx::Error::Configuration(_) | sqlx::Error::InvalidArgument(_) => {
            (ErrorKind::Config, "the address of the database is not valid: check the URL or the path")
        }
        sqlx::Error::PoolTimedOut => {
            (ErrorKind::Timeout, "no connection became free in time: give the pool more connections")
        }
        sqlx::Error::PoolClosed => (ErrorKind::Unavailable, "the pool of connections was closed: open it again"),
        sqlx::Error::WorkerCrashed => {
            (ErrorKind::Unavailable, "the connection to the database has ended: open the pool again")
        }
        sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::Decode(_)
        | sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::ColumnIndexOutOfBounds { .. } => {
            let own = "a table has another shape than this crate gave it: use a schema of its own";
            (ErrorKind::Corrupt, tables.choose(own, "the answer cannot be read: has the table changed?"))
        }
        _ => (ErrorKind::Internal, "the database reports an unexpected error"),
    }
}

/// Whether an error of the driver is an outage: one that passes by itself, or when an operator repairs the server or
/// the network. For [`Builder::outages`](smache_core::Builder::outages), where functions use their own client.
pub fn is_outage(error: &(dyn std::error::Error + 'static)) -> bool {
    let Some(error) = error.downcast_ref::<sqlx::Error>() else { return false };
    let (kind, _) = classify(error, Tables::Source);
    Error::new(kind, "").is_transient() || matches!(kind, ErrorKind::Permission | ErrorKind::WrongServer)
}

/// The meaning of a SQLSTATE of PostgreSQL.
#[cfg(any(feature = "postgres", test))]
fn sqlstate(code: &str, tables: Tables) -> (ErrorKind, &'static str) {
    match code {
        "40001" | "40P01" => (ErrorKind::Unavailable, "the step lost against others again and again: try again later"),
        "57014" | "55P03" | "25P04" => {
            (ErrorKind::Timeout, "the server gave the statement up: raise the timeout or look for what blocks it")
        }
        "57P01" | "57P02" | "57P03" | "57P05" => (ErrorKind::Unavailable, "the server is starting or shutting down: try again later"),
        "53300" => (ErrorKind::Unavailable, "the server has too many connections: raise its `max_connections`"),
        // Space may come back without a change to the program, and every step is whole: the engine repeats the step, as
        // for a Redis whose memory is full.
        "53100" => (ErrorKind::Unavailable, "the server's disk is full: free some space"),
        "53200" => (ErrorKind::Unavailable, "the server's memory is full: try again later"),
        "25006" => (
            ErrorKind::WrongServer,
            "the server is read-only: connect to the primary, or check `default_transaction_read_only`",
        ),
        "42501" => (
            ErrorKind::Permission,
            tables.choose(
                "the role lacks a permission: grant it `CREATE` and `USAGE` on the schema, and the tables and functions \
                 `smache_*`",
                "the role lacks a permission: grant it `USAGE` on the schema and `SELECT` on the table and on `smache_*`, \
                 and to the role that calls `install` also `CREATE` and `TRIGGER`",
            ),
        ),
        "3D000" => (ErrorKind::WrongServer, "there is no such database: create it or check the URL"),
        "3F000" => tables.choose(
            (ErrorKind::WrongServer, "there is no schema to create tables in: check `search_path`"),
            (ErrorKind::Config, NOT_THERE),
        ),
        "55000" => (ErrorKind::WrongServer, "the server is a standby: connect to the primary"),
        "42P01" | "42883" | "42704" | "42703" => tables.choose(
            (
                ErrorKind::WrongServer,
                "the tables and functions `smache_*` are not there: connect again, which creates them, with the same \
                 `search_path`",
            ),
            (ErrorKind::Config, NOT_THERE),
        ),
        // Raised by the functions themselves.
        "SM001" => (ErrorKind::WrongServer, MIGRATED),
        "XX001" | "XX002" => (ErrorKind::Corrupt, "the server found its data corrupted: restore it from a backup"),
        "26000" | "08P01" => (
            ErrorKind::WrongServer,
            "prepared statements are lost between transactions: connect past the pooler, or have it keep a client on one connection",
        ),
        _ if code.starts_with("28") => {
            (ErrorKind::Permission, "the server refuses the user or the password: check the URL and `pg_hba.conf`")
        }
        _ if code.starts_with("08") => (ErrorKind::Unavailable, LOST),
        _ if code.starts_with("53") => (ErrorKind::Unavailable, "the server has run out of a resource: check its log"),
        _ if code.starts_with("58") => (ErrorKind::Unavailable, "the server cannot use its disk: check its log"),
        _ => (ErrorKind::Internal, "the server reports an unexpected error"),
    }
}

/// The meaning of a result code of SQLite; the lowest byte is the primary one.
fn sqlite_code(code: i64, tables: Tables) -> (ErrorKind, &'static str) {
    match code & 0xff {
        // 517: another connection wrote past the snapshot; SQLite refuses such a step as a whole.
        5 | 6 => (ErrorKind::Timeout, "other processes keep the database file locked: raise the busy timeout"),
        13 => (
            ErrorKind::Unavailable,
            "the disk is full, or the file is as large as its `max_bytes`: free some space, or raise the bound",
        ),
        7 => (ErrorKind::Unavailable, "the memory is full: try again later"),
        8 => (
            ErrorKind::WrongServer,
            "the database file is read-only: make it, the files `-wal` and `-shm` beside it and its folder writable",
        ),
        3 | 23 => (ErrorKind::Permission, "the database file may not be used: check its permissions"),
        14 => (ErrorKind::Unavailable, "the database file cannot be opened: check the path and its permissions"),
        11 => (ErrorKind::Corrupt, "the database file is damaged: restore it, or remove it and start with a new one"),
        26 => (ErrorKind::WrongServer, "the file is no SQLite database: check the path"),
        10 => (ErrorKind::Unavailable, "the disk cannot be read or written: check it"),
        1 => tables.choose(
            (
                ErrorKind::WrongServer,
                "the tables `smache_*` are not as this version made them: open the file again, or use another one",
            ),
            (ErrorKind::Config, NOT_THERE),
        ),
        _ => (ErrorKind::Internal, "the database reports an unexpected error"),
    }
}

/// The message for a missing table of a source.
const NOT_THERE: &str =
    "a table or a column is not there: check the names, and call `install` of the source for what it needs beside them";

/// The message for a connection that ended without a reason.
pub(crate) const LOST: &str = "the connection to the server was lost: try again, and see its log for why";

/// The kind of the error of a connection that is behind one of TLS.
fn cut(error: &(dyn StdError + 'static)) -> Option<io::ErrorKind> {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, TimedOut, UnexpectedEof};
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<io::Error>()
            && matches!(
                error.kind(),
                BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | TimedOut | UnexpectedEof
            )
        {
            return Some(error.kind());
        }
        next = error.source();
    }
    None
}

fn io_error(kind: io::ErrorKind) -> (ErrorKind, &'static str) {
    match kind {
        io::ErrorKind::TimedOut => {
            (ErrorKind::Timeout, "the server does not answer in time: check that it runs and can be reached")
        }
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => {
            (ErrorKind::Unavailable, "nothing listens at the address: start the server or check the URL")
        }
        io::ErrorKind::PermissionDenied => {
            (ErrorKind::Permission, "the socket or file may not be opened: check its permissions")
        }
        _ => (ErrorKind::Unavailable, LOST),
    }
}

/// Whether the connection behind an error must not be used any more.
#[cfg(feature = "postgres")]
pub(crate) fn ends_connection(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::Tls(_) | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(error) => {
            let code = error.code().unwrap_or_default();
            // Also a server that became read-only: it was demoted.
            code.starts_with("57P") || code.starts_with("08") || code == "25006"
        }
        _ => false,
    }
}

/// Whether the same step may go through on a second try: it lost against another one, and changed nothing.
#[cfg(feature = "postgres")]
pub(crate) fn lost_against_others(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if matches!(error.code().as_deref(), Some("40001" | "40P01")))
}

/// Whether the server ended a wait for a lock, and the step that waited has changed nothing.
#[cfg(feature = "postgres")]
pub(crate) fn waited_too_long(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if error.code().as_deref() == Some("55P03"))
}

/// An error of a database as one of the framework.
pub(crate) fn failed(error: sqlx::Error, database: &str) -> Error {
    let (kind, message) = classify(&error, Tables::Own);
    Error::new(kind, message).with_context("database", database).with_source(error)
}

/// An error about a source that names the operation.
pub(crate) fn of_source(error: sqlx::Error, doing: &str) -> Error {
    let (kind, why) = classify(&error, Tables::Source);
    Error::new(kind, format!("{doing}: {why}")).with_source(error)
}

/// Bounds a step of a source: the driver has no time limit for an answer on an open connection.
pub(crate) async fn bounded<T>(
    limit: Duration,
    elapsed: ErrorKind,
    doing: &str,
    operation: impl Future<Output = sqlx::Result<T>>,
) -> Result<T> {
    with_timeout(limit, elapsed, doing, async { operation.await.map_err(|error| of_source(error, doing)) }).await
}

/// Bounds a step of a source that interprets its errors itself.
pub(crate) async fn with_timeout<T>(
    limit: Duration,
    elapsed: ErrorKind,
    doing: &str,
    operation: impl Future<Output = Result<T>>,
) -> Result<T> {
    tokio::time::timeout(limit, operation).await.unwrap_or_else(|_| {
        let why = "check that it runs, can be reached and is not locked";
        Err(Error::new(elapsed, format!("{doing}: no answer from the database within {limit:?}; {why}")))
    })
}

/// Whether the server says that a text is not a value of the column's type: then no row can have that value.
#[cfg(feature = "postgres")]
pub(crate) fn is_no_such_value(error: &sqlx::Error) -> bool {
    let code = match error {
        sqlx::Error::Database(database) => database.code(),
        _ => None,
    };
    // Text that is not of the type, numbers, times and intervals out of its range, and the check of a domain.
    matches!(code.as_deref(), Some("22P02" | "22003" | "22007" | "22008" | "22015" | "22009" | "23514"))
}

#[cfg(feature = "postgres")]
/// Whether another program makes the same at the same time: it is there by then, or its row in a catalog is.
pub(crate) fn made_by_another(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    matches!(error.code().as_deref(), Some("23505" | "42P07" | "42710" | "42723" | "42P06" | "XX000"))
}

/// The database is not one that can be used.
pub(crate) fn wrong_server(message: impl Into<std::borrow::Cow<'static, str>>, database: &str) -> Error {
    Error::new(ErrorKind::WrongServer, message).with_context("database", database)
}

/// Stored bookkeeping that cannot be read.
pub(crate) fn corrupt(what: &'static str) -> Error {
    Error::new(ErrorKind::Corrupt, what)
}

/// The error for a result that no statement of this version returns.
pub(crate) fn unexpected(operation: &'static str) -> Error {
    let message = "a statement answered something unexpected: does another version of this crate use the tables?";
    Error::new(ErrorKind::Internal, message).with_context("operation", operation)
}
