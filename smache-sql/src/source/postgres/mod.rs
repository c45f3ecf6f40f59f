//! A table of PostgreSQL as a source of entities.

mod examine;
mod feed;
mod place;
mod snapshot;
mod stream;
mod table;
mod triggers;
mod trim;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::Value;
use smache_core::{
    Comparisons, EntityType, Error, ErrorKind, Examination, Result, SourceId, support::limits::FEED_PATIENCE,
};
use sqlx::PgPool;

use self::{
    feed::PgFeed,
    table::{Equal, PgTable},
};
use super::{
    builder::TableSourceBuilder,
    dialect::{Dialect, Ids, Rows},
    row::no_such_column,
    table_source::TableSource,
};

/// A table of PostgreSQL as a source, and the change table of its schema as the feed.
pub type PostgresSource<T> = TableSource<T, PgTable>;

/// A [`PostgresSource`] in the making.
pub type PostgresSourceBuilder<T> = TableSourceBuilder<T, PgTable>;

impl<T: EntityType> PostgresSourceBuilder<T> {
    /// The schema of the table, which is also that of the change table; `public` by default.
    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = schema.into();
        self
    }
}

#[async_trait]
impl Dialect for PgTable {
    type Pool = PgPool;
    type Feed = PgFeed;

    const SCHEMA: &'static str = "public";
    const POLL_INTERVAL: Duration = FEED_PATIENCE;

    fn of<T>(builder: &PostgresSourceBuilder<T>) -> Self {
        Self::new(builder)
    }

    fn feed_of<T>(builder: &PostgresSourceBuilder<T>) -> PgFeed {
        PgFeed::new(builder)
    }

    fn name(&self) -> &str {
        &self.name
    }

    async fn by_ids(&self, Ids { keys, scalars }: Ids<'_>) -> Result<Rows> {
        let description = self.description().await?;
        let mut ids = Vec::with_capacity(keys.len());
        for key in keys {
            let scalars = scalars(key, &description.shape.ids)?;
            ids.extend(scalars.iter().map(text_of).collect::<Option<Vec<_>>>());
        }
        let rows = self.rows_of(&description, &ids).await?;
        Ok((Arc::clone(&description.shape), rows))
    }

    async fn equal(&self, values: &[(&'static str, Value)], source: &SourceId, what: &str) -> Result<Rows> {
        let description = self.description().await?;
        let shape = Arc::clone(&description.shape);
        let mut conditions = Vec::new();
        for (column, value) in values {
            let Some(kind) = description.types.get(*column) else {
                return Err(no_such_column(column, &self.name, source.as_str()));
            };
            if let Err(reason) = &kind.form {
                return Err(Error::new(ErrorKind::Config, reason.clone()).with_context("source", source));
            }
            let text = match value {
                Value::Null => None,
                // A float that was rounded on its way is not equal any more, and a value that is not a scalar may be
                // written in any way. The caller looks at every entity again, so it may get more than it asked for.
                Value::Number(number) if number.is_f64() => continue,
                Value::Array(_) | Value::Object(_) if !kind.as_json() => continue,
                _ if kind.as_json() => Some(value.to_string()).filter(|_| kind.cast == "json" || !has_zero(value)),
                _ => text_of(value),
            };
            // No text of the server has a zero in it.
            if text.is_none() && !value.is_null() {
                return Ok((shape, Vec::new()));
            }
            let zero = has_zero(value);
            conditions.push(Equal { column: (*column).to_owned(), kind: kind.clone(), value: text, zero });
        }
        let rows = self.matching(&conditions, &self.doing(what)).await?;
        Ok((shape, rows))
    }

    async fn comparisons(&self) -> Result<Comparisons> {
        self.forget();
        self.compared().await
    }

    async fn install(&self) -> Result<()> {
        triggers::install(self).await
    }

    async fn uninstall(&self) -> Result<()> {
        triggers::uninstall(self).await
    }

    async fn examine(&self, feed: Option<&PgFeed>) -> Result<Examination> {
        examine::examine(self, feed).await
    }
}

/// Whether there is a zero in one of the texts of a value.
fn has_zero(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_zero),
        Value::Object(fields) => fields.iter().any(|(name, value)| name.contains('\0') || has_zero(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// A scalar as the server reads it from text; `None` for a text that it cannot have.
fn text_of(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    (!text.contains('\0')).then_some(text)
}
