//! A table of PostgreSQL as a source of entities.

mod builder;
mod examine;
mod feed;
mod place;
mod snapshot;
mod stream;
mod table;
mod triggers;
mod trim;

use std::{collections::HashMap, fmt, marker::PhantomData, sync::Arc};

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use serde_json::Value;
use smache_core::{
    Capability, ChangeFeed, Comparisons, DataSource, EntityKey, EntityKind, EntityType, Error, ErrorKind, Examination,
    Filter, Image, Result, SourceId, Topic,
};
use sqlx::PgPool;

pub use self::builder::PostgresSourceBuilder;
use self::{
    feed::PgFeed,
    table::{Equal, PgTable},
};
use super::{
    IDS_A_QUERY,
    changes::TopicReader,
    needs_no_triggers,
    row::{Shape, image_of, no_such_column, scalars_of, value_of},
};

/// A table of PostgreSQL as the source of the entities `T`, and the change table of its schema as the feed.
///
/// The [guide](crate::guide) says what it needs of the table and what it promises. [`install`](Self::install) makes
/// the triggers that record the changes.
pub struct PostgresSource<T> {
    id: SourceId,
    table: Arc<PgTable>,
    /// None where every writer reports its changes in its transaction.
    feed: Option<Arc<PgFeed>>,
    entity: PhantomData<fn() -> T>,
}

impl<T: EntityType + DeserializeOwned> PostgresSource<T> {
    /// The source of the entities of a table in the schema `public`. Connects to nothing.
    ///
    /// The pool must lead to the primary: the source refuses the answers of a standby. A [`SOURCE`](EntityType::SOURCE)
    /// that is not a valid name is an error of the compiler.
    #[must_use]
    pub fn new(pool: &PgPool, table: impl Into<String>) -> Self {
        Self::builder(pool, table).build()
    }

    /// A source with options.
    pub fn builder(pool: &PgPool, table: impl Into<String>) -> PostgresSourceBuilder<T> {
        PostgresSourceBuilder::new(pool, table.into())
    }

    fn from_builder(builder: PostgresSourceBuilder<T>) -> Self {
        let feed = (!builder.transactional).then(|| Arc::new(PgFeed::new(&builder)));
        let PostgresSourceBuilder { pool, schema, table, id_columns, timeout, .. } = builder;
        let table = PgTable::new(pool, schema, table, id_columns, timeout);
        Self { id: SourceId::of::<T>(), table: Arc::new(table), feed, entity: PhantomData }
    }

    /// Makes the triggers on the table, and with the first table of a schema the change table. Does nothing where the
    /// triggers are right. Where they are not, earlier changes are unknown, so everything of the table goes stale.
    ///
    /// Has to be called again after an upgrade to a release that says so: until then the feed is an error.
    ///
    /// Waits for the transactions that are writing to the table. Needs the right to create tables and functions in the
    /// schema, and the right `TRIGGER` on the table.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](smache_core::ErrorKind::Config) when there is no such table, or one that cannot be a
    /// source, or an index of the entity names a column that cannot be compared; also for one that is
    /// [transactional](PostgresSourceBuilder::transactional), which needs no triggers; `Permission`; `Unavailable`;
    /// `WrongServer`.
    pub async fn install(&self) -> Result<()> {
        if self.feed.is_none() {
            return Err(needs_no_triggers(self.id.as_str()));
        }
        self.table.forget();
        self.table.comparisons().await?.check(EntityKind::of::<T>().indexed_fields())?;
        triggers::install(&self.table).await
    }

    /// Removes the triggers from the table, also where it has another name by now, and with the last table of a schema
    /// the change table. Does nothing where there are none.
    ///
    /// # Errors
    /// `Permission`; `Unavailable`.
    pub async fn uninstall(&self) -> Result<()> {
        triggers::uninstall(&self.table).await
    }

    /// The entity of a row, and an error that also names the table.
    fn read(&self, row: &str, shape: &Shape) -> Result<(EntityKey, Image)> {
        image_of::<T>(row, shape).map_err(|error| error.with_context("table", &self.table.name))
    }

    async fn query(&self, conditions: &[Equal], what: &str) -> Result<Vec<Image>> {
        let description = self.table.description().await?;
        let rows = self.table.matching(conditions, &self.table.doing(what)).await?;
        rows.iter().map(|row| Ok(self.read(row, &description.shape)?.1)).collect()
    }
}

#[async_trait]
impl<T: EntityType + DeserializeOwned> DataSource for PostgresSource<T> {
    fn id(&self) -> &SourceId {
        &self.id
    }

    fn kind(&self) -> EntityKind {
        EntityKind::of::<T>()
    }

    async fn load(&self, keys: &[EntityKey]) -> Result<Vec<Option<Image>>> {
        let description = self.table.description().await?;
        let shape = &description.shape;
        let mut answers = Vec::with_capacity(keys.len());
        for keys in keys.chunks(IDS_A_QUERY) {
            let mut ids = Vec::with_capacity(keys.len());
            for key in keys {
                ids.extend(scalars_of::<T>(key, &shape.ids)?.iter().map(text_of).collect::<Option<Vec<_>>>());
            }
            let rows = self.table.by_ids(&description, &ids).await?;
            // By key, because the server answers in any order, and because a collation may find a row with another id
            // than the requested one.
            let found = rows.iter().map(|row| self.read(row, shape)).collect::<Result<HashMap<_, _>>>()?;
            answers.extend(keys.iter().map(|key| found.get(key).cloned()));
        }
        Ok(answers)
    }

    async fn list(&self) -> Result<Vec<Image>> {
        self.query(&[], "listing").await
    }

    async fn find(&self, filter: &Filter) -> Result<Vec<Image>> {
        let description = self.table.description().await?;
        let mut conditions = Vec::new();
        for condition in filter.conditions() {
            let column = condition.field();
            let Some(kind) = description.types.get(column) else {
                return Err(no_such_column(column, &self.table.name, self.id.as_str()));
            };
            if let Err(reason) = &kind.form {
                return Err(Error::new(ErrorKind::Config, reason.clone()).with_context("source", &self.id));
            }
            let value = value_of(condition, self.id.as_str())?;
            let text = match &value {
                Value::Null => None,
                // A float that was rounded on its way is not equal any more, and a value that is not a scalar may be
                // written in any way. The caller looks at every entity again, so it may get more than it asked for.
                Value::Number(number) if number.is_f64() => continue,
                Value::Array(_) | Value::Object(_) if !kind.as_json() => continue,
                _ if kind.as_json() => Some(value.to_string()).filter(|_| kind.cast == "json" || !has_zero(&value)),
                _ => text_of(&value),
            };
            // No text of the server has a zero in it.
            if text.is_none() && !value.is_null() {
                return Ok(Vec::new());
            }
            let zero = has_zero(&value);
            conditions.push(Equal { column: column.to_owned(), kind: kind.clone(), value: text, zero });
        }
        self.query(&conditions, "finding in").await
    }

    async fn comparisons(&self) -> Result<Comparisons> {
        self.table.comparisons().await
    }

    async fn examine(&self) -> Result<Examination> {
        examine::examine(&self.table, self.feed.as_deref()).await
    }

    fn capabilities(&self) -> &[Capability] {
        &[Capability::List, Capability::Find, Capability::BeforeImages]
    }

    fn feed(&self) -> Option<(Arc<dyn ChangeFeed>, Topic)> {
        let feed = self.feed.clone()?;
        let reader = TopicReader::new::<T>(Arc::clone(&self.table));
        let topic = Topic::new(self.id.clone(), &self.table.name).with_reader(Arc::new(reader));
        Some((feed as _, topic))
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

impl<T> fmt::Debug for PostgresSource<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresSource")
            .field("id", &self.id)
            .field("table", &self.table)
            .field("feed", &self.feed)
            .finish_non_exhaustive()
    }
}
