//! A table of SQLite: how it is described and read.

use std::{
    fmt::{self, Write},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use smache_core::{Comparisons, Error, ErrorKind, Result};
use sqlx::{AssertSqlSafe, Row, SqliteConnection, SqlitePool, sqlite::SqliteArguments};

use super::SqliteSourceBuilder;
use crate::{
    error::{bounded, of_source},
    source::{
        cell::Numbers,
        comparison::{Affinity, Collation, LiteForm},
        dialect::{Rows, no_id_column, no_primary_key, unique_ids},
        name::{literal, quoted},
        row::Shape,
    },
};

/// A table of a database.
pub struct LiteTable {
    pub(super) pool: SqlitePool,
    pub(super) name: String,
    pub(super) timeout: Duration,
    id_columns: Option<Vec<String>>,
    described: Mutex<Option<Arc<Description>>>,
}

/// The facts about a table that reading it needs.
#[derive(Debug)]
pub(super) struct Description {
    /// The version of the schema that it is of.
    pub(super) version: i64,
    pub(super) shape: Arc<Shape>,
    pub(super) columns: Vec<Column>,
    /// The unique keys, each a list of columns and collations: the primary key and the unique indexes.
    pub(super) keys: Vec<Vec<(String, String)>>,
}

/// A column.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) name: String,
    /// The declared type, in capitals.
    kind: String,
}

impl Column {
    pub(super) fn is_blob(&self) -> bool {
        self.kind.contains("BLOB")
    }

    /// Whether its values are those of JSON, which can be written in many ways.
    pub(super) fn is_json(&self) -> bool {
        self.kind == "JSON"
    }

    /// The kind of its numbers, where they are decimals. SQLite keeps them as integers and floats.
    fn numbers(&self) -> Option<Numbers> {
        let decimal = ["DEC", "NUMERIC"].iter().any(|word| self.kind.contains(word));
        (decimal && Affinity::of(&self.kind) == Affinity::Number).then_some(Numbers::DecimalFloat)
    }

    /// Its value as JSON. SQLite itself has neither truth nor JSON, but the declaration says what the values are. A
    /// float is written with all of its digits, which the functions for JSON do not.
    fn json(&self, row: &str) -> String {
        let value = format!("{row}.{}", quoted(&self.name));
        let plain = format!(
            "CASE typeof({value}) WHEN 'real' THEN printf('%!.17g', {value}) WHEN 'blob' THEN json_quote(hex({value})) \
             ELSE json_quote({value}) END"
        );
        if self.kind.starts_with("BOOL") {
            format!("CASE {value} WHEN 0 THEN 'false' WHEN 1 THEN 'true' ELSE {plain} END")
        } else if self.is_json() {
            format!("CASE WHEN json_valid({value}) THEN json({value}) ELSE {plain} END")
        } else {
            plain
        }
    }
}

impl Description {
    /// A row as JSON. By hand, because `json_object` takes few arguments.
    pub(super) fn json(&self, row: &str) -> String {
        let mut json = String::from("'{'");
        for (index, column) in self.columns.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let name = serde_json::Value::from(column.name.as_str());
            let value = column.json(row);
            write!(json, " || {} || {value}", literal(&format!("{comma}{name}:"))).expect("a string takes everything");
        }
        json.push_str(" || '}'");
        json
    }

    /// The SQL for the id of a row: the id column, or a text of those of several.
    pub(super) fn id(&self, row: &str) -> String {
        match &self.shape.ids[..] {
            [id] => format!("{row}.{}", quoted(id)),
            ids => {
                let parts: Vec<String> = ids.iter().map(|id| format!("quote({row}.{})", quoted(id))).collect();
                format!("({})", parts.join(" || ',' || "))
            }
        }
    }

    pub(super) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }
}

impl LiteTable {
    pub(super) fn new<T>(builder: &SqliteSourceBuilder<T>) -> Self {
        Self {
            pool: builder.pool.clone(),
            name: builder.table.clone(),
            timeout: builder.timeout,
            id_columns: builder.id_columns.clone(),
            described: Mutex::default(),
        }
    }

    pub(super) fn doing(&self, what: &str) -> String {
        format!("{what} the table `{}`", self.name)
    }

    /// The description of the table, as it was last seen.
    pub(super) async fn description(&self) -> Result<Arc<Description>> {
        let known = self.described.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match known {
            Some(known) => Ok(known),
            None => self.describe_again().await,
        }
    }

    async fn describe_again(&self) -> Result<Arc<Description>> {
        let doing = self.doing("describing");
        // In one snapshot, so that the version is that of the columns.
        let mut transaction = bounded(self.timeout, ErrorKind::Unavailable, &doing, self.pool.begin()).await?;
        let description = Arc::new(self.describe(&mut transaction).await?);
        *self.described.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&description));
        Ok(description)
    }

    /// Describes the table as a transaction sees it.
    pub(super) async fn describe(&self, connection: &mut SqliteConnection) -> Result<Description> {
        let doing = self.doing("describing");
        let failed = |error| of_source(error, &doing);
        let config = |message: String| Err(Error::new(ErrorKind::Config, message));
        let found: Option<(String, String)> = sqlx::query_as(
            "SELECT name, type FROM pragma_table_list WHERE schema = 'main' AND lower(name) = lower(?1)",
        )
        .bind(&self.name)
        .fetch_optional(&mut *connection)
        .await
        .map_err(failed)?;
        match found {
            None => {
                return config(format!(
                    "there is no table `{}`: create it, or check the name and the file of the pool",
                    self.name
                ));
            }
            Some((name, _)) if name != self.name => {
                return config(format!("the table `{}` is called `{name}`: write its name so", self.name));
            }
            Some((_, kind)) if kind != "table" => {
                return config(format!(
                    "`{}` is a {kind}, and only tables have triggers that tell of all changes: name the tables that its rows \
                     come from",
                    self.name
                ));
            }
            Some(_) => {}
        }
        let version: i64 =
            sqlx::query_scalar("PRAGMA schema_version").fetch_one(&mut *connection).await.map_err(failed)?;
        let rows: Vec<(String, String, i64)> =
            sqlx::query_as("SELECT name, upper(type), pk FROM pragma_table_xinfo(?1) WHERE hidden <> 1 ORDER BY cid")
                .bind(&self.name)
                .fetch_all(&mut *connection)
                .await
                .map_err(failed)?;
        let mut primary: Vec<(i64, String)> =
            rows.iter().filter(|(.., key)| *key > 0).map(|(name, _, key)| (*key, name.clone())).collect();
        primary.sort();
        let primary: Vec<String> = primary.into_iter().map(|(_, name)| name).collect();
        let mut keys = self.unique(connection).await.map_err(failed)?;
        if keys.iter().flatten().any(|(column, _)| column.is_empty()) {
            return config(format!(
                "the table `{}` has a unique index over an expression: no trigger records the rows that a `REPLACE` removes for it",
                self.name
            ));
        }
        let columns: Vec<Column> = rows.into_iter().map(|(name, kind, _)| Column { name, kind }).collect();
        let ids = self.ids_of(&columns, &primary, &keys)?;
        let numbers = columns.iter().filter_map(|column| Some((column.name.clone(), column.numbers()?))).collect();
        if !primary.is_empty() {
            // The number of a row has no index; any other key has one with the collations.
            let key: Vec<String> = primary;
            if !keys.iter().any(|known| known.iter().map(|(column, _)| column).eq(&key)) {
                keys.push(key.into_iter().map(|column| (column, "BINARY".to_owned())).collect());
            }
        }
        Ok(Description { version, shape: Arc::new(Shape { ids, numbers }), columns, keys })
    }

    /// The columns of the unique indexes; an expression has an empty name.
    async fn unique(&self, connection: &mut SqliteConnection) -> sqlx::Result<Vec<Vec<(String, String)>>> {
        let rows: Vec<(i64, String, String)> = sqlx::query_as(
            "SELECT l.seq, coalesce(x.name, ''), x.coll FROM pragma_index_list(?1) l
             JOIN pragma_index_xinfo(l.name) x WHERE l.\"unique\" = 1 AND x.\"key\" = 1 ORDER BY l.seq, x.seqno",
        )
        .bind(&self.name)
        .fetch_all(connection)
        .await?;
        let mut keys: Vec<Vec<(String, String)>> = Vec::new();
        let mut last = None;
        for (index, column, collation) in rows {
            if last != Some(index) {
                keys.push(Vec::new());
                last = Some(index);
            }
            keys.last_mut().expect("there is one since the first row").push((column, collation));
        }
        Ok(keys)
    }

    fn ids_of(&self, columns: &[Column], primary: &[String], keys: &[Vec<(String, String)>]) -> Result<Vec<String>> {
        let table = &self.name;
        let Some(named) = &self.id_columns else {
            if primary.is_empty() {
                return Err(no_primary_key(table));
            }
            return Ok(primary.to_vec());
        };
        if let Some(missing) = named.iter().find(|name| columns.iter().all(|column| column.name != **name)) {
            return Err(no_id_column(table, missing));
        }
        let same = |key: &[&String]| key.len() == named.len() && key.iter().all(|column| named.contains(column));
        let unique = keys.iter().any(|key| same(&key.iter().map(|(column, _)| column).collect::<Vec<_>>()))
            || same(&primary.iter().collect::<Vec<_>>());
        unique_ids(table, named, unique)
    }

    /// How the values of its columns are compared: by the affinity and the collation.
    pub(super) async fn compared(&self) -> Result<Comparisons> {
        let doing = self.doing("describing");
        let mut transaction = bounded(self.timeout, ErrorKind::Unavailable, &doing, self.pool.begin()).await?;
        let description = self.describe(&mut transaction).await?;
        let mut comparisons = Comparisons::as_written();
        for column in &description.columns {
            let collation = match self.collation(&mut transaction, &column.name).await? {
                Ok(collation) => collation,
                Err(name) => {
                    let reason = format!(
                        "the column `{}` of the table `{}` has the collation `{name}`, which is not one of SQLite, and cannot be \
                         compared: use `BINARY`, `NOCASE` or `RTRIM`",
                        column.name, self.name
                    );
                    comparisons = comparisons.refused(&column.name, reason);
                    continue;
                }
            };
            let affinity = Affinity::of(&column.kind);
            let blob = column.is_blob();
            let json = column.is_json();
            comparisons = comparisons.by(&column.name, Arc::new(LiteForm { affinity, collation, blob, json }));
        }
        Ok(comparisons)
    }

    /// The collation of a column, or the name of one that is not SQLite's. No table holds it: a statement that compares
    /// the column shows it.
    async fn collation(
        &self,
        connection: &mut SqliteConnection,
        column: &str,
    ) -> Result<std::result::Result<Collation, String>> {
        let column = quoted(column);
        let table = quoted(&self.name);
        let sql = format!("EXPLAIN SELECT +smache_row.{column} = ?1 FROM {table} AS smache_row");
        // Not kept: a prepared `EXPLAIN` does not follow a changed schema.
        let steps = sqlx::query(AssertSqlSafe(sql)).persistent(false).fetch_all(connection).await;
        let steps = match steps {
            Ok(steps) => steps,
            // A function of the application, which this connection has not.
            Err(sqlx::Error::Database(error)) if error.message().contains("no such collation") => {
                return Ok(Err(error.message().rsplit(' ').next().unwrap_or_default().to_owned()));
            }
            Err(error) => return Err(of_source(error, &self.doing("describing"))),
        };
        let compares = steps.iter().find_map(|step| {
            let operation: String = step.try_get("opcode").ok()?;
            matches!(&*operation, "Eq" | "Ne").then(|| step.try_get::<Option<String>, _>("p4").ok().flatten())
        });
        let name = match &compares {
            // With the encoding of the texts behind it.
            Some(Some(name)) => name.rsplit_once('-').map_or(name.as_str(), |(name, _)| name),
            // The number of a row is never a text.
            Some(None) => "BINARY",
            None => "unknown",
        };
        Ok(Collation::of(name).ok_or_else(|| name.to_owned()))
    }

    /// Reads rows in one statement, whose condition fits the present columns. The schema's version, in the snapshot of
    /// the rows, tells whether the schema has changed.
    pub(super) async fn rows(&self, doing: &str, wanted: &impl Wanted) -> Result<Rows> {
        let mut description = self.description().await?;
        loop {
            let (condition, arguments) = wanted.condition(&description)?;
            let sql = format!(
                "SELECT v.schema_version, r.json FROM pragma_schema_version v LEFT JOIN
                 (SELECT {} AS json FROM {} AS smache_row WHERE {condition}) r ON true",
                description.json("smache_row"),
                quoted(&self.name)
            );
            let query = sqlx::query_as_with(AssertSqlSafe(sql), arguments).fetch_all(&self.pool);
            let rows: sqlx::Result<Vec<(i64, Option<String>)>> = query.await;
            let outdated = match &rows {
                Ok(rows) => rows.first().is_none_or(|(version, _)| *version != description.version),
                // A column may have gone, or the whole table.
                Err(sqlx::Error::Database(_)) => true,
                Err(_) => false,
            };
            if outdated {
                let present = self.describe_again().await?;
                if present.version != description.version {
                    description = present;
                    continue;
                }
            }
            let rows = rows.map_err(|error| of_source(error, doing))?;
            return Ok((Arc::clone(&description.shape), rows.into_iter().filter_map(|(_, row)| row).collect()));
        }
    }
}

/// Which rows are read.
pub(super) trait Wanted: Sync {
    /// A condition on `smache_row`, and what is bound to it.
    fn condition(&self, description: &Description) -> Result<(String, SqliteArguments)>;
}

impl fmt::Debug for LiteTable {
    // By hand, because a pool shows the options of its connections.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiteTable").field("name", &self.name).finish_non_exhaustive()
    }
}
