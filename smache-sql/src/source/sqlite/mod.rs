//! A table of SQLite as a source of entities.

mod examine;
mod feed;
mod opened;
mod stream;
mod table;
mod triggers;

use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use smache_core::{Comparisons, ErrorKind, Examination, Result, SourceId};
use sqlx::{Arguments, SqlitePool, sqlite::SqliteArguments};

use self::{
    feed::LiteFeed,
    table::{Column, Description, LiteTable, Wanted},
};
use super::{
    builder::TableSourceBuilder,
    dialect::{Dialect, Ids, Rows},
    name::quoted,
    row::no_such_column,
    table_source::TableSource,
};
use crate::error::with_timeout;

/// A table of SQLite as a source, and the change table of its file as the feed.
pub type SqliteSource<T> = TableSource<T, LiteTable>;

/// A [`SqliteSource`] in the making.
pub type SqliteSourceBuilder<T> = TableSourceBuilder<T, LiteTable>;

#[async_trait]
impl Dialect for LiteTable {
    type Pool = SqlitePool;
    type Feed = LiteFeed;

    const SCHEMA: &'static str = "main";
    const POLL_INTERVAL: Duration = Duration::from_millis(20);

    fn of<T>(builder: &SqliteSourceBuilder<T>) -> Self {
        Self::new(builder)
    }

    fn feed_of<T>(builder: &SqliteSourceBuilder<T>) -> LiteFeed {
        LiteFeed::new(builder)
    }

    fn name(&self) -> &str {
        &self.name
    }

    async fn by_ids(&self, ids: Ids<'_>) -> Result<Rows> {
        let doing = self.doing("loading from");
        with_timeout(self.timeout, ErrorKind::Timeout, &doing, self.rows(&doing, &ids)).await
    }

    async fn equal(&self, values: &[(&'static str, Value)], source: &SourceId, what: &str) -> Result<Rows> {
        self.rows(&self.doing(what), &Equal { table: &self.name, source, values }).await
    }

    async fn comparisons(&self) -> Result<Comparisons> {
        self.compared().await
    }

    async fn install(&self) -> Result<()> {
        triggers::install(self).await
    }

    async fn uninstall(&self) -> Result<()> {
        triggers::uninstall(self).await
    }

    async fn examine(&self, feed: Option<&LiteFeed>) -> Result<Examination> {
        examine::examine(self, feed.is_none()).await
    }
}

/// The rows with certain ids.
impl Wanted for Ids<'_> {
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
    values: &'a [(&'static str, Value)],
}

impl Wanted for Equal<'_> {
    fn condition(&self, description: &Description) -> Result<(String, SqliteArguments)> {
        let mut arguments = SqliteArguments::default();
        let mut conditions = vec!["true".to_owned()];
        for (name, value) in self.values {
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
