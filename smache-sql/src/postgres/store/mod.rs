//! The store: one call of a function per step.

mod commit;
mod feeds;
mod invalidate;
mod lookup;
mod maintain;
mod programs;
mod runs;
mod waits;

use std::sync::Arc;

use smache_core::{EntryId, JobWrites, Namespace, Notifier, Result};
use sqlx::{Row, postgres::PgRow};

pub(super) use self::invalidate::Marks;
use super::link::{Link, Statement};
use crate::error::{failed, unexpected};

/// A cache store on PostgreSQL.
pub struct PostgresStore {
    link: Arc<Link>,
    name: String,
    jobs: JobWrites,
    notifier: Notifier,
}

impl PostgresStore {
    pub(super) fn new(link: Arc<Link>, namespace: &Namespace, jobs: JobWrites, notifier: Notifier) -> Self {
        Self { link, name: namespace.as_str().to_owned(), jobs, notifier }
    }

    /// A step with one row as its answer. Its first argument is the namespace.
    async fn step(
        &self,
        operation: &'static str,
        sql: &'static str,
        bind: impl Fn(Statement) -> Statement + Send + Sync,
    ) -> Result<Answer> {
        let bind = |query: Statement| bind(query.bind(self.name.clone()));
        let mut rows = match operation {
            "invalidate" | "maintain" => self.link.long_step(operation, sql, bind).await?,
            _ => self.link.step(operation, sql, bind).await?,
        };
        let row = rows.pop().ok_or_else(|| unexpected(operation))?;
        Ok(Answer { row, database: self.link.server.clone() })
    }
}

/// The one row that a step returned.
pub(super) struct Answer {
    pub(super) row: PgRow,
    pub(super) database: Arc<str>,
}

impl Answer {
    pub(super) fn get<T>(&self, column: &str) -> Result<T>
    where
        T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
    {
        self.row.try_get(column).map_err(|error| failed(error, &self.database))
    }

    pub(super) fn number(&self, column: &str) -> Result<u64> {
        self.get::<i64>(column).map(crate::cells::count)
    }

    pub(super) fn ids(&self, column: &str) -> Result<Vec<EntryId>> {
        let ids: Option<Vec<Vec<u8>>> = self.get(column)?;
        ids.unwrap_or_default().iter().map(|id| EntryId::from_slice(id)).collect()
    }
}

crate::contract::cache_store!(PostgresStore);
