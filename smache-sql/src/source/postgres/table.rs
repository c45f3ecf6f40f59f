//! A table of PostgreSQL: how it is described and read.

use std::{collections::HashMap, fmt, time::Duration};

use smache_core::{Error, ErrorKind, Result};
use sqlx::{AssertSqlSafe, PgConnection, PgPool, Postgres, postgres::PgArguments, query::QueryAs};
use tokio::sync::OnceCell;

use crate::{
    error::{bounded, is_no_such_value, of_source, within},
    source::name::quoted,
};

/// The oldest server with all that the triggers and the feed use.
const OLDEST: i32 = 130_000;

/// A table of a database.
pub(crate) struct PgTable {
    pub(super) pool: PgPool,
    pub(super) schema: String,
    pub(super) name: String,
    pub(super) timeout: Duration,
    id_column: Option<String>,
    described: OnceCell<Description>,
}

/// What has to be known of a table to read it.
#[derive(Debug, Clone)]
pub(super) struct Description {
    /// The column that names its rows.
    pub(super) id: String,
    /// The types of its columns.
    pub(super) types: HashMap<String, ColumnType>,
}

/// The type of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ColumnType {
    /// As a cast names it, without length or precision: a cast to those would cut the value off.
    pub(super) cast: String,
    /// Whether its values are compared as JSON: `json` itself has no equality, and others are not written as a scalar.
    pub(super) as_json: bool,
}

impl PgTable {
    pub(super) fn new(
        pool: PgPool,
        schema: String,
        name: String,
        id_column: Option<String>,
        timeout: Duration,
    ) -> Self {
        Self { pool, schema, name, timeout, id_column, described: OnceCell::new() }
    }

    /// For statements.
    pub(super) fn qualified(&self) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&self.name))
    }

    pub(super) fn doing(&self, what: &str) -> String {
        format!("{what} the table `{}.{}`", self.schema, self.name)
    }

    /// What has to be known of the table, asked for once.
    pub(super) async fn description(&self) -> Result<&Description> {
        self.described
            .get_or_try_init(|| async {
                let doing = self.doing("describing");
                let mut connection = bounded(self.timeout, ErrorKind::Unavailable, &doing, self.pool.acquire()).await?;
                self.describe(&mut connection).await
            })
            .await
    }

    pub(super) async fn describe(&self, connection: &mut PgConnection) -> Result<Description> {
        let doing = self.doing("describing");
        let query =
            sqlx::query_as(include_str!("../queries/postgres_describe.sql")).bind(&self.schema).bind(&self.name);
        let rows: Vec<(String, bool, String, String, bool, bool, i32)> =
            bounded(self.timeout, ErrorKind::Timeout, &doing, query.fetch_all(connection)).await?;
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
        let primary: Vec<&str> = rows.iter().filter(|row| row.4).map(|(_, _, column, ..)| column.as_str()).collect();
        let id = match (&self.id_column, &primary[..]) {
            (Some(column), _) => match rows.iter().find(|row| row.2 == *column) {
                Some((.., true, _)) => column.clone(),
                Some(_) => {
                    return config(format!(
                        "the id column `{column}` of the table `{}` has no unique index of its own",
                        self.name
                    ));
                }
                None => return config(format!("the table `{}` has no column `{column}` for its ids", self.name)),
            },
            (None, [column]) => (*column).to_owned(),
            (None, []) => {
                return config(format!(
                    "the table `{}` has no primary key: name a unique column with `id_column`",
                    self.name
                ));
            }
            (None, columns) => {
                return config(format!(
                    "the primary key of the table `{}` has {} columns (`{}`): name one unique column with `id_column`",
                    self.name,
                    columns.len(),
                    columns.join("`, `")
                ));
            }
        };
        is_new_enough(rows.first().map_or(0, |row| row.6))?;
        let types = rows.into_iter().map(|(_, _, column, cast, ..)| {
            let as_json = cast == "json" || cast == "jsonb" || cast.ends_with("[]");
            (column, ColumnType { cast, as_json })
        });
        Ok(Description { id, types: types.collect() })
    }

    /// The rows with certain ids, which are written as text.
    pub(super) async fn by_ids(&self, ids: &[String]) -> Result<Vec<String>> {
        let Description { id, types } = self.description().await?;
        let (table, column) = (self.qualified(), quoted(id));
        let cast = types.get(id).map_or("text", |kind| &kind.cast);
        let doing = self.doing("loading from");
        let typed = selecting(&table, &format!("WHERE smache_row.{column} = ANY ($1::text[]::{cast}[])"));
        let (mut rows, mut parts) = (Vec::new(), vec![ids]);
        while let Some(part) = parts.pop() {
            match self.strings(&typed, part, &doing).await? {
                Some(found) => rows.extend(found),
                // One of them is not of the column's type, so there is no such row, but there may be of the others. To compare
                // them as text would read the whole table.
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
    async fn strings(&self, sql: &str, ids: &[String], doing: &str) -> Result<Option<Vec<String>>> {
        let query = sqlx::query_as(AssertSqlSafe(sql.to_owned())).bind(ids);
        within(self.timeout, ErrorKind::Timeout, doing, self.answered(query, doing)).await
    }

    /// The rows of a primary, or `None` where a value that was asked for is not of its column's type.
    async fn answered(&self, query: Rows<'_>, doing: &str) -> Result<Option<Vec<String>>> {
        let failed = |error| of_source(error, doing);
        let mut connection = self.pool.acquire().await.map_err(failed)?;
        let (standby, rows) = match query.fetch_all(&mut *connection).await {
            Ok(rows) => (rows.iter().any(|(standby, _)| *standby), Some(rows)),
            // An error answers nothing else, and a standby may have an older type.
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
        for (index, Equal { column, kind, value }) in conditions.iter().enumerate() {
            let (joint, column, number) = (if index == 0 { "WHERE" } else { "AND" }, quoted(column), index + 1);
            // Not `IS NOT DISTINCT FROM`, which no index serves.
            let condition = match value {
                // A parameter that nothing uses has no type.
                None => format!("smache_row.{column} IS NULL AND ${number}::text IS NULL"),
                Some(_) if kind.as_json => format!("to_jsonb(smache_row.{column}) = ${number}::text::jsonb"),
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

/// Rows with whether the server is a standby; a row of its own, without any other, where there are none.
type Rows<'q> = QueryAs<'q, Postgres, (bool, Option<String>), PgArguments>;

pub(super) const STANDBY: &str = "the server is a standby, which is behind, and results of old data would be called fresh: give the pool \
     a URL that leads to the primary";

/// Rows of a table, and which kind of server has answered. In the same statement, so that it costs no round trip, and each time:
/// a pool may be led to a server that was demoted meanwhile. That there is no row is an answer, too.
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
    let (major, needed) = (version / 10_000, OLDEST / 10_000);
    let message = format!("the server of the source is PostgreSQL {major}: use {needed} or newer");
    Err(Error::new(ErrorKind::WrongServer, message))
}

/// A column has a value, written as text, or as JSON where the column is compared as such.
#[derive(Debug)]
pub(super) struct Equal {
    pub(super) column: String,
    pub(super) kind: ColumnType,
    pub(super) value: Option<String>,
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
