//! A table as a source of entities, in any dialect.

use std::{collections::HashMap, fmt, marker::PhantomData, sync::Arc};

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use serde_json::Value;
use smache_core::{
    Capability, ChangeFeed, Comparisons, Condition, DataSource, EntityKey, EntityKind, EntityType, Error, ErrorKind,
    Examination, Filter, Image, Result, SourceId, Topic,
};

use super::{
    builder::TableSourceBuilder,
    changes::TopicReader,
    dialect::{Dialect, Ids, Rows},
    row::{image_of, scalars_of, value_of},
};

/// How many ids one query asks for.
const IDS_A_QUERY: usize = 1_000;

/// A table as the source of the entities `T`, and the change table beside it as the feed.
///
/// Programs write `PostgresSource<T>` or `SqliteSource<T>`, which name the kind of database, `D`. The [guide](crate::guide) says what it needs of the table and what it promises. [`install`](Self::install) makes
/// the triggers that record the changes.
pub struct TableSource<T, D: Dialect> {
    id: SourceId,
    table: Arc<D>,
    /// None where every writer reports its changes in its transaction.
    feed: Option<Arc<D::Feed>>,
    entity: PhantomData<fn() -> T>,
}

impl<T: EntityType + DeserializeOwned, D: Dialect> TableSource<T, D> {
    /// The source of the entities of a table. Opens nothing. In PostgreSQL the table is in the schema `public`.
    ///
    /// A pool of PostgreSQL must lead to the primary: the source refuses the answers of a standby. A
    /// [`SOURCE`](EntityType::SOURCE) that is not a valid name is an error of the compiler.
    #[must_use]
    pub fn new(pool: &D::Pool, table: impl Into<String>) -> Self {
        Self::builder(pool, table).build()
    }

    /// A source with options.
    pub fn builder(pool: &D::Pool, table: impl Into<String>) -> TableSourceBuilder<T, D> {
        TableSourceBuilder::new(pool, table.into())
    }

    pub(super) fn from_builder(builder: &TableSourceBuilder<T, D>) -> Self {
        let feed = (!builder.transactional).then(|| Arc::new(D::feed_of(builder)));
        Self { id: SourceId::of::<T>(), table: Arc::new(D::of(builder)), feed, entity: PhantomData }
    }

    /// Makes the triggers on the table, and with the first table of a SQLite file or of a schema the change table. Does
    /// nothing where the triggers are right. Where they are not, earlier changes are unknown, so everything of the table
    /// goes stale.
    ///
    /// Has to be called again after an upgrade to a release that says so, and in SQLite also after a column or an index
    /// was added, renamed or removed: until then the feed is an error.
    ///
    /// A SQLite file is set to WAL, so that readers and the writer do not wait for one another. In PostgreSQL it waits
    /// for the transactions that are writing to the table, and needs the right to create tables and functions in the
    /// schema, and the right `TRIGGER` on the table.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when there is no such table, or one that cannot be a source, or an index of the entity
    /// names a column that cannot be compared; also for one that is
    /// [transactional](TableSourceBuilder::transactional), which needs no triggers; `Permission`; `Unavailable`;
    /// `WrongServer`.
    pub async fn install(&self) -> Result<()> {
        if self.feed.is_none() {
            return Err(self.needs_no_triggers());
        }
        self.table.comparisons().await?.check(EntityKind::of::<T>().indexed_fields())?;
        self.table.install().await
    }

    /// Removes the triggers from the table, also where it has another name by now, and with the last table of a SQLite
    /// file or of a schema the change table. Does nothing where there are none.
    ///
    /// # Errors
    /// `Permission`; `Unavailable`.
    pub async fn uninstall(&self) -> Result<()> {
        self.table.uninstall().await
    }

    /// Without a feed that reads them, triggers are of no use.
    fn needs_no_triggers(&self) -> Error {
        let fix = "leave `install` out, or build it without `transactional`";
        let message = format!("the source `{}` is transactional and needs no triggers: {fix}", self.id);
        Error::new(ErrorKind::Config, message)
    }

    /// The entities of rows, and an error that also names the table.
    fn read(&self, (shape, rows): &Rows) -> Result<Vec<(EntityKey, Image)>> {
        let read =
            |row: &String| image_of::<T>(row, shape).map_err(|error| error.with_context("table", self.table.name()));
        rows.iter().map(read).collect()
    }

    async fn query(&self, values: &[(&'static str, Value)], what: &str) -> Result<Vec<Image>> {
        let rows = self.table.equal(values, &self.id, what).await?;
        Ok(self.read(&rows)?.into_iter().map(|(_, image)| image).collect())
    }
}

#[async_trait]
impl<T: EntityType + DeserializeOwned, D: Dialect> DataSource for TableSource<T, D> {
    fn id(&self) -> &SourceId {
        &self.id
    }

    fn kind(&self) -> EntityKind {
        EntityKind::of::<T>()
    }

    async fn load(&self, keys: &[EntityKey]) -> Result<Vec<Option<Image>>> {
        let mut answers = Vec::with_capacity(keys.len());
        for keys in keys.chunks(IDS_A_QUERY) {
            let rows = self.table.by_ids(Ids { keys, scalars: scalars_of::<T> }).await?;
            // By key, because the rows come in any order, and because a collation may find a row with another id than
            // the requested one.
            let found: HashMap<_, _> = self.read(&rows)?.into_iter().collect();
            answers.extend(keys.iter().map(|key| found.get(key).cloned()));
        }
        Ok(answers)
    }

    async fn list(&self) -> Result<Vec<Image>> {
        self.query(&[], "listing").await
    }

    async fn find(&self, filter: &Filter) -> Result<Vec<Image>> {
        let value = |condition: &Condition| Ok((condition.field(), value_of(condition, self.id.as_str())?));
        let values = filter.conditions().iter().map(value).collect::<Result<Vec<_>>>()?;
        self.query(&values, "finding in").await
    }

    async fn comparisons(&self) -> Result<Comparisons> {
        self.table.comparisons().await
    }

    async fn examine(&self) -> Result<Examination> {
        self.table.examine(self.feed.as_deref()).await
    }

    fn capabilities(&self) -> &[Capability] {
        &[Capability::List, Capability::Find, Capability::BeforeImages]
    }

    fn feed(&self) -> Option<(Arc<dyn ChangeFeed>, Topic)> {
        let feed = self.feed.clone()?;
        let reader = TopicReader::new::<T>(Arc::clone(&self.table));
        let topic = Topic::new(self.id.clone(), self.table.name()).with_reader(Arc::new(reader));
        Some((feed as _, topic))
    }
}

impl<T, D: Dialect> fmt::Debug for TableSource<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableSource")
            .field("id", &self.id)
            .field("table", &self.table)
            .field("feed", &self.feed)
            .finish_non_exhaustive()
    }
}
