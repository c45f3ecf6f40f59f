//! A table of SQLite as a source of entities.

mod builder;
mod examine;
mod feed;
mod opened;
mod stream;
mod table;
mod triggers;

use std::{collections::HashMap, fmt, marker::PhantomData, sync::Arc};

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use serde_json::Value;
use smache_core::{
    Capability, ChangeFeed, Comparisons, DataSource, EntityKey, EntityKind, EntityType, ErrorKind, Examination, Filter,
    Image, Result, SourceId, Topic,
};
use sqlx::{Arguments, SqlitePool, sqlite::SqliteArguments};

pub use self::builder::SqliteSourceBuilder;
use self::{
    feed::LiteFeed,
    table::{Column, Description, LiteTable, Wanted},
};
use super::{
    IDS_A_QUERY,
    changes::TopicReader,
    name::quoted,
    needs_no_triggers,
    row::{Shape, image_of, no_such_column, scalars_of, value_of},
};
use crate::error::with_timeout;

/// A table of SQLite as the source of the entities `T`, and the change table of its database as the feed.
///
/// The [guide](crate::guide) says what it needs of the table and what it promises. [`install`](Self::install) makes
/// the triggers that record the changes.
pub struct SqliteSource<T> {
    id: SourceId,
    table: Arc<LiteTable>,
    /// None where every writer reports its changes in its transaction.
    feed: Option<Arc<LiteFeed>>,
    entity: PhantomData<fn() -> T>,
}

impl<T: EntityType + DeserializeOwned> SqliteSource<T> {
    /// The source of the entities of a table. Opens nothing.
    ///
    /// A [`SOURCE`](EntityType::SOURCE) that is not a valid name is an error of the compiler.
    #[must_use]
    pub fn new(pool: &SqlitePool, table: impl Into<String>) -> Self {
        Self::builder(pool, table).build()
    }

    /// A source with options.
    pub fn builder(pool: &SqlitePool, table: impl Into<String>) -> SqliteSourceBuilder<T> {
        SqliteSourceBuilder::new(pool, table.into())
    }

    fn from_builder(builder: SqliteSourceBuilder<T>) -> Self {
        let feed = (!builder.transactional).then(|| Arc::new(LiteFeed::new(&builder)));
        let SqliteSourceBuilder { pool, table, id_columns, timeout, .. } = builder;
        let table = LiteTable::new(pool, table, id_columns, timeout);
        Self { id: SourceId::of::<T>(), table: Arc::new(table), feed, entity: PhantomData }
    }

    /// Makes the triggers on the table, and with the first table of a database the change table; sets the database to
    /// WAL, so that readers and the writer do not wait for one another. Does nothing where the triggers are right.
    /// Where they are not, earlier changes are unknown, so everything of the table goes stale.
    ///
    /// Has to be called again after an upgrade to a release that says so, and after a column or an index was added,
    /// renamed or removed: until then the feed is an error.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when there is no such table, or one that cannot be a source, or an index of the entity
    /// names a column that cannot be compared; also for one that is
    /// [transactional](SqliteSourceBuilder::transactional), which needs no triggers; `Permission`; `Unavailable`.
    pub async fn install(&self) -> Result<()> {
        if self.feed.is_none() {
            return Err(needs_no_triggers(self.id.as_str()));
        }
        self.table.comparisons().await?.check(EntityKind::of::<T>().indexed_fields())?;
        triggers::install(&self.table).await
    }

    /// Removes the triggers from the table, also where it has another name by now, and with the last table of a
    /// database the change table. Does nothing where there are none.
    ///
    /// # Errors
    /// `Permission`; `Unavailable`.
    pub async fn uninstall(&self) -> Result<()> {
        triggers::uninstall(&self.table).await
    }

    /// The entities of rows, and an error that also names the table.
    fn read(&self, rows: &[String], shape: &Shape) -> Result<Vec<(EntityKey, Image)>> {
        let read =
            |row: &String| image_of::<T>(row, shape).map_err(|error| error.with_context("table", &self.table.name));
        rows.iter().map(read).collect()
    }

    async fn query(&self, wanted: &impl Wanted, what: &str) -> Result<Vec<Image>> {
        let (description, rows) = self.table.rows(&self.table.doing(what), wanted).await?;
        Ok(self.read(&rows, &description.shape)?.into_iter().map(|(_, image)| image).collect())
    }
}

#[async_trait]
impl<T: EntityType + DeserializeOwned> DataSource for SqliteSource<T> {
    fn id(&self) -> &SourceId {
        &self.id
    }

    fn kind(&self) -> EntityKind {
        EntityKind::of::<T>()
    }

    async fn load(&self, keys: &[EntityKey]) -> Result<Vec<Option<Image>>> {
        let doing = self.table.doing("loading from");
        let mut answers = Vec::with_capacity(keys.len());
        for keys in keys.chunks(IDS_A_QUERY) {
            let ids = ByIds { keys, scalars: scalars_of::<T> };
            let rows = self.table.rows(&doing, &ids);
            let (description, rows) = with_timeout(self.table.timeout, ErrorKind::Timeout, &doing, rows).await?;
            // By key, because the rows come in any order, and because a collation may find a row with another id than
            // the requested one.
            let found: HashMap<_, _> = self.read(&rows, &description.shape)?.into_iter().collect();
            answers.extend(keys.iter().map(|key| found.get(key).cloned()));
        }
        Ok(answers)
    }

    async fn list(&self) -> Result<Vec<Image>> {
        self.query(&Equal { table: &self.table.name, source: &self.id, values: Vec::new() }, "listing").await
    }

    async fn find(&self, filter: &Filter) -> Result<Vec<Image>> {
        let mut values = Vec::new();
        for condition in filter.conditions() {
            values.push((condition.field(), value_of(condition, self.id.as_str())?));
        }
        self.query(&Equal { table: &self.table.name, source: &self.id, values }, "finding in").await
    }

    async fn comparisons(&self) -> Result<Comparisons> {
        self.table.comparisons().await
    }

    async fn examine(&self) -> Result<Examination> {
        examine::examine(&self.table, self.feed.is_none()).await
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

/// The rows with certain ids.
struct ByIds<'a> {
    keys: &'a [EntityKey],
    /// The values of a key, one per column.
    scalars: fn(&EntityKey, &[String]) -> Result<Vec<Value>>,
}

impl Wanted for ByIds<'_> {
    fn condition(&self, description: &Description) -> Result<(String, SqliteArguments)> {
        let ids = &description.shape.ids;
        let keys = self.keys.iter().map(|key| {
            let mut values = (self.scalars)(key, ids)?;
            Ok(if values.len() == 1 { values.remove(0) } else { Value::Array(values) })
        });
        let keys = keys.collect::<Result<Vec<Value>>>()?;
        let mut arguments = SqliteArguments::default();
        arguments.add(Value::Array(keys).to_string()).map_err(refused)?;
        let value = |(place, id): (usize, &String)| {
            let value = if ids.len() == 1 { "value".to_owned() } else { format!("json_extract(value, '$[{place}]')") };
            description.column(id).map_or_else(|| value.clone(), |column| bound(column, &value))
        };
        let values: Vec<String> = ids.iter().enumerate().map(value).collect();
        let columns: Vec<String> = ids.iter().map(|id| format!("smache_row.{}", quoted(id))).collect();
        let columns = if let [column] = &columns[..] { column.clone() } else { format!("({})", columns.join(", ")) };
        Ok((format!("{columns} IN (SELECT {} FROM json_each(?1))", values.join(", ")), arguments))
    }
}

/// The rows whose columns have certain values, or all.
struct Equal<'a> {
    table: &'a str,
    source: &'a SourceId,
    values: Vec<(&'static str, Value)>,
}

impl Wanted for Equal<'_> {
    fn condition(&self, description: &Description) -> Result<(String, SqliteArguments)> {
        let mut arguments = SqliteArguments::default();
        let mut conditions = vec!["true".to_owned()];
        for (name, value) in &self.values {
            let Some(column) = description.column(name) else {
                return Err(no_such_column(name, self.table, self.source.as_str()));
            };
            let added = match value {
                Value::Null => arguments.add(Option::<i64>::None),
                Value::Bool(value) => arguments.add(*value),
                Value::String(text) if !column.is_json() => arguments.add(text.clone()),
                Value::Number(number) if !column.is_json() && number.is_i64() => arguments.add(number.as_i64()),
                // A float that was rounded on its way is not equal any more, and a value that is not a scalar may be
                // written in any way. The caller looks at every entity again, so it may get more than it asked for.
                _ => continue,
            };
            added.map_err(refused)?;
            let parameter = bound(column, &format!("?{}", arguments.len()));
            conditions.push(format!("smache_row.{} IS {parameter}", quoted(name)));
        }
        Ok((conditions.join(" AND "), arguments))
    }
}

/// A value to compare a column with. Blobs are hexadecimal digits everywhere else, in those of a UUID with dashes.
fn bound(column: &Column, value: &str) -> String {
    if column.is_blob() {
        format!("CASE typeof({value}) WHEN 'text' THEN unhex({value}, '-') ELSE {value} END")
    } else {
        value.to_owned()
    }
}

fn refused(error: sqlx::error::BoxDynError) -> smache_core::Error {
    smache_core::Error::new(ErrorKind::Argument, "a value cannot be bound to a statement of SQLite").with_source(error)
}

impl<T> fmt::Debug for SqliteSource<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteSource")
            .field("id", &self.id)
            .field("table", &self.table)
            .field("feed", &self.feed)
            .finish_non_exhaustive()
    }
}
