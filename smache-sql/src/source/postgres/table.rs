//! A table of PostgreSQL: how it is described and read.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use smache_core::{Comparisons, Error, ErrorKind, Result};
use sqlx::{AssertSqlSafe, PgConnection, PgPool, Postgres, postgres::PgArguments, query::QueryAs};

use super::PostgresSourceBuilder;
use crate::{
    error::{bounded, is_no_such_value, of_source, with_timeout},
    source::{
        cell::Numbers,
        comparison::PgForm,
        dialect::{no_id_column, no_primary_key, unique_ids},
        name::quoted,
        row::Shape,
    },
};

/// The oldest server with all that the triggers and the feed use.
const OLDEST: i32 = 130_000;

/// A table of a database.
pub struct PgTable {
    pub(super) pool: PgPool,
    pub(super) schema: String,
    pub(super) name: String,
    pub(super) timeout: Duration,
    id_columns: Option<Vec<String>>,
    described: Mutex<Option<Arc<Description>>>,
}

/// The facts about a table that reading it needs.
#[derive(Debug, Clone)]
pub(super) struct Description {
    pub(super) shape: Arc<Shape>,
    /// The types of its columns.
    pub(super) types: HashMap<String, ColumnType>,
}

/// The type of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ColumnType {
    /// As a cast names it, beneath domains, without length or precision: a cast to those would cut the value off.
    pub(super) cast: String,
    /// How its values are compared, or why they cannot be.
    pub(super) form: std::result::Result<PgForm, String>,
}

/// A column as the catalog has it.
type Row = (String, bool, String, String, String, Option<String>, bool, Option<i64>, Vec<i64>, i32);

impl ColumnType {
    fn of(table: &str, (_, _, column, cast, name, element, deterministic, ..): &Row) -> Self {
        let refused = |what: &str, fix: &str| {
            format!("the column `{column}` of the table `{table}` {what}, and cannot be compared: {fix}")
        };
        let form = match element {
            Some(element) => PgForm::of_array(element),
            None => PgForm::of_type(name),
        };
        let form = match form {
            Some(_) if !deterministic => Err(refused(
                "has a collation that takes different texts for equal",
                "use a deterministic collation, or a generated column such as `lower(…)` of one",
            )),
            Some(form) => Ok(form),
            None if name == "citext" || element.as_deref() == Some("citext") => Err(refused(
                "is a `citext`, which takes different texts for equal",
                "use a generated column such as `lower(…)` of the type `text`",
            )),
            None => Err(refused(
                &format!("is of the type `{cast}`, whose values can be written in several ways"),
                "use a column of a plain type, for example a generated one with a `bigint` or `text` of it",
            )),
        };
        Self { cast: cast.clone(), form }
    }

    /// Whether its values are compared as JSON: `json` itself has no equality, and arrays are not written as a scalar.
    pub(super) fn as_json(&self) -> bool {
        matches!(self.form, Ok(PgForm::Json | PgForm::List(_)))
    }
}

/// The kind of the numbers of a column, by its type.
fn numbers_of(name: &str) -> Option<Numbers> {
    match name {
        "numeric" => Some(Numbers::Decimal),
        "float4" | "float8" => Some(Numbers::Float),
        _ => None,
    }
}

impl PgTable {
    pub(super) fn new<T>(builder: &PostgresSourceBuilder<T>) -> Self {
        Self {
            pool: builder.pool.clone(),
            schema: builder.schema.clone(),
            name: builder.table.clone(),
            timeout: builder.timeout,
            id_columns: builder.id_columns.clone(),
            described: Mutex::default(),
        }
    }

    /// For statements.
    pub(super) fn qualified(&self) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&self.name))
    }

    pub(super) fn doing(&self, what: &str) -> String {
        format!("{what} the table `{}.{}`", self.schema, self.name)
    }

    /// The description of the table, read once.
    pub(super) async fn description(&self) -> Result<Arc<Description>> {
        let known = self.described.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(known) = known {
            return Ok(known);
        }
        let doing = self.doing("describing");
        let mut connection = bounded(self.timeout, ErrorKind::Unavailable, &doing, self.pool.acquire()).await?;
        let description = Arc::new(self.describe(&mut connection).await?);
        *self.described.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&description));
        Ok(description)
    }

    /// Asks again the next time: its columns may be others by now.
    pub(super) fn forget(&self) {
        *self.described.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// How the values of its columns are compared.
    pub(super) async fn compared(&self) -> Result<Comparisons> {
        let description = self.description().await?;
        Ok(description.types.iter().fold(Comparisons::as_written(), |comparisons, (column, kind)| match &kind.form {
            Ok(form) => comparisons.by(column, Arc::new(form.clone())),
            Err(reason) => comparisons.refused(column, reason.as_str()),
        }))
    }

    pub(super) async fn describe(&self, connection: &mut PgConnection) -> Result<Description> {
        let doing = self.doing("describing");
        let query =
            sqlx::query_as(include_str!("../queries/postgres_describe.sql")).bind(&self.schema).bind(&self.name);
        let rows: Vec<Row> = bounded(self.timeout, ErrorKind::Timeout, &doing, query.fetch_all(connection)).await?;
        let config = |message: String| Err(Error::new(ErrorKind::Config, message));
        let Some((kind, logged, ..)) = rows.first() else {
            return config(format!(
                "there is no table `{}.{}` with columns: create it, or check the name and the `schema` of the source",
                self.schema, self.name
            ));
        };
        if kind != "r" || !logged {
            return config(format!(
                "`{}.{}` is not an ordinary table: views, foreign, partitioned, temporary and unlogged tables do not tell of \
                 all their changes; name the ordinary tables that its rows come from",
                self.schema, self.name
            ));
        }
        let ids = self.ids(&rows)?;
        is_new_enough(rows.first().map_or(0, |row| row.9))?;
        let numbers = rows.iter().filter_map(|row| Some((row.2.clone(), numbers_of(&row.4)?))).collect();
        let types = rows.iter().map(|row| (row.2.clone(), ColumnType::of(&self.name, row))).collect();
        Ok(Description { shape: Arc::new(Shape { ids, numbers }), types })
    }

    /// The columns that name its rows.
    fn ids(&self, rows: &[Row]) -> Result<Vec<String>> {
        let Some(named) = &self.id_columns else {
            let mut primary: Vec<(i64, &str)> = rows.iter().filter_map(|row| Some((row.7?, row.2.as_str()))).collect();
            primary.sort_unstable();
            if primary.is_empty() {
                return Err(no_primary_key(&self.name));
            }
            return Ok(primary.into_iter().map(|(_, column)| column.to_owned()).collect());
        };
        let mut shared: Option<Vec<i64>> = None;
        for column in named {
            let Some(row) = rows.iter().find(|row| row.2 == *column) else {
                return Err(no_id_column(&self.name, column));
            };
            let indexes =
                row.8.iter().copied().filter(|index| shared.as_ref().is_none_or(|known| known.contains(index)));
            shared = Some(indexes.collect());
        }
        // The last two digits are the number of columns.
        let unique = shared.is_some_and(|indexes| indexes.iter().any(|index| index % 100 == named.len() as i64));
        unique_ids(&self.name, named, unique)
    }

    /// The rows with certain ids, each with one text per column.
    pub(super) async fn rows_of(&self, description: &Description, ids: &[Vec<String>]) -> Result<Vec<String>> {
        let table = self.qualified();
        let doing = self.doing("loading from");
        let columns = &description.shape.ids;
        let cast = |column: &String| description.types.get(column).map_or("text", |kind| &kind.cast);
        let wanted = match &columns[..] {
            [column] => format!("smache_row.{} = ANY ($1::text[]::{}[])", quoted(column), cast(column)),
            columns => {
                let names: Vec<String> =
                    columns.iter().map(|column| format!("smache_row.{}", quoted(column))).collect();
                let arrays =
                    columns.iter().zip(1..).map(|(column, number)| format!("${number}::text[]::{}[]", cast(column)));
                let arrays: Vec<String> = arrays.collect();
                format!("({}) IN (SELECT * FROM unnest({}))", names.join(", "), arrays.join(", "))
            }
        };
        let typed = selecting(&table, &format!("WHERE {wanted}"));
        let mut rows = Vec::new();
        let mut parts = vec![ids];
        while let Some(part) = parts.pop() {
            match self.strings(&typed, columns.len(), part, &doing).await? {
                Some(found) => rows.extend(found),
                // One of them is not of the column's type, so there is no such row, but there may be of the others. To
                // compare them as text would read the whole table.
                None if part.len() > 1 => {
                    let (one, other) = part.split_at(part.len() / 2);
                    parts.extend([one, other]);
                }
                None => {}
            }
        }
        Ok(rows)
    }

    /// `None` where the ids are not of the type.
    async fn strings(
        &self,
        sql: &str,
        columns: usize,
        ids: &[Vec<String>],
        doing: &str,
    ) -> Result<Option<Vec<String>>> {
        let mut query = sqlx::query_as(AssertSqlSafe(sql.to_owned()));
        for column in 0..columns {
            query = query.bind(ids.iter().filter_map(|id| id.get(column).cloned()).collect::<Vec<_>>());
        }
        with_timeout(self.timeout, ErrorKind::Timeout, doing, self.answered(query, doing)).await
    }

    /// The rows of a primary, or `None` where a value that was asked for is not of its column's type.
    async fn answered(&self, query: Rows<'_>, doing: &str) -> Result<Option<Vec<String>>> {
        let failed = |error| of_source(error, doing);
        let mut connection = self.pool.acquire().await.map_err(failed)?;
        let (standby, rows) = match query.fetch_all(&mut *connection).await {
            Ok(rows) => (rows.iter().any(|(standby, _)| *standby), Some(rows)),
            // The error does not tell whether the server is a standby, which may have an older type.
            Err(error) if is_no_such_value(&error) => {
                let asked = sqlx::query_scalar("SELECT pg_is_in_recovery()").fetch_one(&mut *connection).await;
                (asked.map_err(failed)?, None)
            }
            Err(error) => return Err(failed(error)),
        };
        if standby {
            return Err(Error::new(ErrorKind::WrongServer, format!("{doing}: {STANDBY}")));
        }
        Ok(rows.map(|rows| rows.into_iter().filter_map(|(_, row)| row).collect()))
    }

    /// All rows that fulfil conditions; `None` as value is the absence of one.
    pub(super) async fn matching(&self, conditions: &[Equal], doing: &str) -> Result<Vec<String>> {
        let mut wanted = String::new();
        for (index, Equal { column, kind, value, zero }) in conditions.iter().enumerate() {
            let joint = if index == 0 { "WHERE" } else { "AND" };
            let column = quoted(column);
            let number = index + 1;
            // Not `IS NOT DISTINCT FROM`, which no index serves.
            let condition = match value {
                // A parameter that nothing uses has no type.
                None if kind.cast.starts_with("json") => format!(
                    "(smache_row.{column} IS NULL OR smache_row.{column}::text = 'null') AND ${number}::text IS NULL"
                ),
                None => format!("smache_row.{column} IS NULL AND ${number}::text IS NULL"),
                // The type `json` keeps texts that `jsonb` refuses with an error for all rows. The caller checks the
                // rows anyway.
                Some(_) if kind.cast == "json" && *zero => {
                    format!("strpos(smache_row.{column}::text, '\\u0000') > 0 AND ${number}::text IS NOT NULL")
                }
                Some(_) if kind.cast == "json" => format!(
                    "CASE WHEN strpos(smache_row.{column}::text, '\\u0000') > 0 THEN true \
                     ELSE to_jsonb(smache_row.{column}) = ${number}::text::jsonb END"
                ),
                Some(_) if kind.as_json() => format!("to_jsonb(smache_row.{column}) = ${number}::text::jsonb"),
                Some(_) => format!("smache_row.{column} = ${number}::text::{}", kind.cast),
            };
            wanted.push_str(&format!(" {joint} {condition}"));
        }
        let mut query = sqlx::query_as(AssertSqlSafe(selecting(&self.qualified(), &wanted)));
        for condition in conditions {
            query = query.bind(condition.value.as_deref());
        }
        // Without a bound: how long the whole takes is the application's own choice of a table.
        Ok(self.answered(query, doing).await?.unwrap_or_default())
    }
}

/// Rows with whether the server is a standby; one row with nothing else where there are none.
type Rows<'q> = QueryAs<'q, Postgres, (bool, Option<String>), PgArguments>;

pub(super) const STANDBY: &str = "the server is a standby, which is behind, and results of old data would be called fresh: give the pool \
     a URL that leads to the primary";

/// Rows of a table, and which kind of server has answered. In the same statement, so that it costs no round trip, and
/// each time: a pool may be led to a server that was demoted meanwhile. No row is an answer, too.
fn selecting(table: &str, wanted: &str) -> String {
    format!(
        "SELECT server.standby, found.json FROM (SELECT pg_is_in_recovery() AS standby) AS server
         LEFT JOIN (SELECT row_to_json(smache_row.*)::text AS json FROM ONLY {table} AS smache_row {wanted}) AS found ON true"
    )
}

/// Looks at a version as the server numbers it: 150003 for 15.3.
fn is_new_enough(version: i32) -> Result<()> {
    if version >= OLDEST {
        return Ok(());
    }
    let major = version / 10_000;
    let needed = OLDEST / 10_000;
    let message = format!("the server of the source is PostgreSQL {major}: use {needed} or newer");
    Err(Error::new(ErrorKind::WrongServer, message))
}

/// A column has a value, written as text, or as JSON where the column is compared as such.
#[derive(Debug)]
pub(super) struct Equal {
    pub(super) column: String,
    pub(super) kind: ColumnType,
    pub(super) value: Option<String>,
    /// Whether a text in the value has a zero, as only a column of the type `json` can have.
    pub(super) zero: bool,
}

impl fmt::Debug for PgTable {
    // By hand, because a pool shows the options of its connections.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgTable").field("schema", &self.schema).field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_too_old_is_named_as_people_name_it() {
        assert!(is_new_enough(130_000).is_ok() && is_new_enough(150_003).is_ok());
        let error = is_new_enough(120_010).expect_err("too old");
        assert_eq!(error.kind(), ErrorKind::WrongServer);
        assert_eq!(error.message(), "the server of the source is PostgreSQL 12: use 13 or newer");
    }
}
