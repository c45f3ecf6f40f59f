//! A transaction of the application that takes its invalidation along.

use std::fmt;

use async_trait::async_trait;
use smache_core::{
    Error, ErrorKind, InTransactionOutcome, InvalidateInTransaction, Invalidated, JobWrites, Result, WriterTransaction,
};
use sqlx::{Connection, PgConnection};

use super::store::{Answer, Marks};
use crate::{
    cells::millis,
    error::{failed, unexpected},
};

const INVALIDATE: &str =
    concat!("SELECT * FROM smache_invalidate_in_transaction($2, $3, ", name!(), ", $4, $5, $6, $7, $8)");

/// Refused by the server outside of a transaction block.
const PROBE: &str = "LOCK TABLE smache_meta IN ACCESS SHARE MODE";

/// Stands in errors for the address of the database, which a connection of the application does not know.
const DATABASE: &str = "the one of the transaction";

/// An open transaction of PostgreSQL, for [`Smache::in_transaction`](smache_core::Smache::in_transaction).
///
/// The tables `smache_*` of the store must be in the `search_path` of the transaction, and its role may use them. The
/// isolation level is `READ COMMITTED`, the usual one: with a snapshot for the whole transaction it could not see the
/// results that others compute meanwhile, so a report refuses any other level.
///
/// A report waits for the lock of the namespace, at most as long as the `lock_timeout` of the transaction if it has
/// one, else four fifths of `store_timeout`. A transaction that notifies cannot be prepared for a commit in two phases.
///
/// ```no_run
/// # use smache_core::{EntityType, Smache};
/// # use smache_sql::{PostgresTransaction, sqlx};
/// # async fn rename<User: EntityType<Id = i64>>(smache: Smache, pool: sqlx::PgPool) -> Result<(), Box<dyn std::error::Error>> {
/// let mut tx = pool.begin().await?;
/// sqlx::query("UPDATE users SET name = 'Johnny' WHERE id = 1").execute(&mut *tx).await?;
/// let report = smache.in_transaction(PostgresTransaction::new(&mut tx)).changed::<User>(&1).await?; // last
/// tx.commit().await?;
/// let token = report.committed().await; // for a read that must see this write: `call.at_least(token)`
/// # let _ = token;
/// # Ok(())
/// # }
/// ```
pub struct PostgresTransaction<'a> {
    connection: &'a mut PgConnection,
}

impl<'a> PostgresTransaction<'a> {
    /// The transaction that is open on a connection: a `&mut` of `sqlx`'s `Transaction`, or a connection on which a
    /// `BEGIN` was sent, which costs one round trip more. A report on a connection without one is refused.
    #[must_use]
    pub fn new(connection: &'a mut PgConnection) -> Self {
        Self { connection }
    }
}

#[async_trait]
impl WriterTransaction for PostgresTransaction<'_> {
    async fn invalidate(&mut self, request: InvalidateInTransaction) -> Result<InTransactionOutcome> {
        if !self.connection.is_in_transaction() {
            // The driver only knows of transactions that it has begun itself.
            sqlx::raw_sql(PROBE).execute(&mut *self.connection).await.map_err(refused)?;
        }
        let InvalidateInTransaction { namespace, incarnation, jobs, patience, invalidation } = &request;
        let query = sqlx::query(INVALIDATE).bind(namespace.as_str().to_owned()).bind(incarnation.as_str().to_owned());
        let query = query.bind(millis(*patience).max(1)).bind(*jobs == JobWrites::SameStep);
        let row = Marks::of(invalidation).bind(query).fetch_one(&mut *self.connection).await.map_err(refused)?;
        let answer = Answer { row, database: DATABASE.into() };
        match answer.number("outcome")? {
            0 => {
                let jobs = match jobs {
                    JobWrites::SameStep => Vec::new(),
                    JobWrites::Reported => answer.ids("needy")?,
                };
                let revision = answer.number("revision")?;
                let marked = answer.number("marked")?;
                Ok(InTransactionOutcome::Invalidated(Invalidated { revision, marked, jobs }))
            }
            1 => Ok(InTransactionOutcome::OtherStore),
            2 => Err(Error::new(
                ErrorKind::Config,
                "a transaction that is `REPEATABLE READ` or `SERIALIZABLE` does not see what was computed since it began: \
                 make the change in one that is `READ COMMITTED`, or call `changed` after the commit",
            )),
            _ => Err(unexpected("invalidate within a transaction")),
        }
    }
}

/// The meaning of an error for a transaction that has more to lose than this step.
fn refused(error: sqlx::Error) -> Error {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code).unwrap_or_default();
    let (kind, message) = match &*code {
        "40001" | "40P01" => (
            ErrorKind::Unavailable,
            "the transaction lost against another one that waited for it: roll it back and begin again, and report \
             last, right before the commit, so that no two wait for each other",
        ),
        "55P03" | "57014" => (
            ErrorKind::Timeout,
            "another transaction has reported changes and does not end: roll back and begin again, and let \
             transactions report last, right before the commit",
        ),
        "42883" | "42P01" | "3F000" => (
            ErrorKind::WrongServer,
            "there is no store in the database of the transaction: begin it where the tables `smache_*` are and have their \
             schema in its `search_path`, or call `changed` after the commit",
        ),
        "25P01" => (
            ErrorKind::Config,
            "no transaction is open on the connection, so that the change and its report are not one step: `BEGIN` before \
             the change, or call `changed` after it",
        ),
        "25P02" => (ErrorKind::Config, "a statement of the transaction has failed before: roll it back"),
        _ => return failed(error, DATABASE),
    };
    Error::new(kind, message).with_source(error)
}

impl fmt::Debug for PostgresTransaction<'_> {
    // By hand, because the derived text of a connection is long.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresTransaction").finish_non_exhaustive()
    }
}
