//! What the errors of the driver mean.

use std::{future::Future, time::Duration};

use smache_core::{Error, ErrorKind, Result};

/// An error of the driver as one of the framework, saying what was done.
pub(crate) fn classify(error: sqlx::Error, doing: &str) -> Error {
    let kind = kind_of(&error);
    let why = match kind {
        ErrorKind::Unavailable => "the database cannot be reached or is busy at the moment",
        ErrorKind::Timeout => "the database gave up within its bound",
        ErrorKind::Permission => "the database refused the credentials or the permission",
        ErrorKind::WrongServer => "the server is not a primary, or not PostgreSQL 13 or newer",
        ErrorKind::Config => {
            "a table, a column or a setting is not there; check the names, and run `install` for the triggers"
        }
        ErrorKind::Corrupt => "the answer cannot be read",
        _ => "the driver failed",
    };
    Error::new(kind, format!("{doing}: {why}")).with_source(error)
}

fn kind_of(error: &sqlx::Error) -> ErrorKind {
    match error {
        sqlx::Error::Database(database) => database
            .code()
            .map_or(ErrorKind::Internal, |code| if code.len() == 5 { of_state(&code) } else { of_number(&code) }),
        sqlx::Error::Io(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => ErrorKind::Unavailable,
        sqlx::Error::Configuration(_) | sqlx::Error::Tls(_) => ErrorKind::Config,
        sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => ErrorKind::Corrupt,
        _ => ErrorKind::Internal,
    }
}

/// By the SQLSTATE of PostgreSQL.
fn of_state(state: &str) -> ErrorKind {
    match state {
        // query_canceled
        "57014" => ErrorKind::Timeout,
        // read_only_sql_transaction, object_not_in_prerequisite_state (recovery is in progress), undefined_function
        "25006" | "55000" | "42883" => ErrorKind::WrongServer,
        // insufficient_privilege
        "42501" => ErrorKind::Permission,
        // undefined_table, undefined_column, undefined_object, invalid_schema_name, invalid_catalog_name
        "42P01" | "42703" | "42704" | "3F000" | "3D000" => ErrorKind::Config,
        // lock_not_available
        "55P03" => ErrorKind::Unavailable,
        _ => match &state[..2] {
            // connection, resources, operator intervention, rolled back for the sake of another transaction
            "08" | "53" | "57" | "40" => ErrorKind::Unavailable,
            "28" => ErrorKind::Permission,
            _ => ErrorKind::Internal,
        },
    }
}

/// By the result code of SQLite, whose low byte is the primary one.
fn of_number(code: &str) -> ErrorKind {
    match code.parse::<u32>().map(|code| code & 0xff) {
        // BUSY, LOCKED, IOERR, FULL, CANTOPEN
        Ok(5 | 6 | 10 | 13 | 14) => ErrorKind::Unavailable,
        // PERM, READONLY, AUTH
        Ok(3 | 8 | 23) => ErrorKind::Permission,
        // ERROR: of the statements of this crate, only a table or a column can be wrong
        Ok(1) => ErrorKind::Config,
        // CORRUPT, NOTADB
        Ok(11 | 26) => ErrorKind::Corrupt,
        _ => ErrorKind::Internal,
    }
}

/// Whether the server says that a text is not a value of the column's type: then no row can have that value.
#[cfg(feature = "postgres")]
pub(crate) fn is_no_such_value(error: &sqlx::Error) -> bool {
    let code = match error {
        sqlx::Error::Database(database) => database.code(),
        _ => None,
    };
    // Text that is not of the type, and numbers, times and intervals out of its range.
    matches!(code.as_deref(), Some("22P02" | "22003" | "22007" | "22008" | "22015" | "22009"))
}

/// Triggers that nobody reads are of no use.
pub(crate) fn needs_no_triggers(source: &str) -> Error {
    let fix = "leave `install` out, or build it without `transactional`";
    Error::new(ErrorKind::Config, format!("the source `{source}` is transactional and needs no triggers: {fix}"))
}

/// Bounds an operation of the driver, which has no bound of its own for an answer on an open connection.
pub(crate) async fn bounded<T>(
    limit: Duration,
    elapsed: ErrorKind,
    doing: &str,
    operation: impl Future<Output = sqlx::Result<T>>,
) -> Result<T> {
    within(limit, elapsed, doing, async { operation.await.map_err(|error| classify(error, doing)) }).await
}

/// Bounds an operation that says itself what its errors mean.
pub(crate) async fn within<T>(
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_known_to_pass_is_transient() {
        let of_postgres = [
            ("08006", ErrorKind::Unavailable),
            ("57P01", ErrorKind::Unavailable),
            ("53300", ErrorKind::Unavailable),
            ("40001", ErrorKind::Unavailable),
            ("57014", ErrorKind::Timeout),
            ("28P01", ErrorKind::Permission),
            ("42501", ErrorKind::Permission),
            ("25006", ErrorKind::WrongServer),
            ("42P01", ErrorKind::Config),
            ("42601", ErrorKind::Internal),
            ("22P02", ErrorKind::Internal),
        ];
        for (state, kind) in of_postgres {
            assert_eq!(of_state(state), kind, "{state}");
        }
        let of_sqlite = [
            ("5", ErrorKind::Unavailable),
            ("517", ErrorKind::Unavailable),
            ("8", ErrorKind::Permission),
            ("1", ErrorKind::Config),
            ("26", ErrorKind::Corrupt),
            ("19", ErrorKind::Internal),
        ];
        for (code, kind) in of_sqlite {
            assert_eq!(of_number(code), kind, "{code}");
        }
        assert!(classify(sqlx::Error::PoolTimedOut, "reading").is_transient());
        assert!(!classify(sqlx::Error::RowNotFound, "reading").is_transient());
    }
}
