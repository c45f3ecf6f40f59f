//! The change table of a schema as a feed.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use smache_core::{
    ChangeFeed, ChangeStream, Error, ErrorKind, FeedId, Position, Result, Start, Topic,
    support::limits::CHANGES_A_BATCH,
};
use sqlx::{AssertSqlSafe, PgPool};

use super::{
    PostgresSourceBuilder,
    place::{Place, Reading},
    snapshot::Snapshot,
    stream::PgStream,
    table::{PgTable, STANDBY},
    triggers::{change_table, missing, present_triggers},
};
use crate::{
    error::{bounded, of_source, with_timeout},
    source::{
        changes::{Recorded, Watched},
        name::{escaped, feed_id, filled, quoted},
        version::{VERSION, check},
    },
};

/// The change table of a schema, shared by all sources in it.
///
/// Sources make their own handle of it; handles of the same name are interchangeable, because a source hands over in
/// its topic how its rows are read.
#[derive(Clone)]
pub struct PgFeed {
    id: FeedId,
    pub(super) pool: PgPool,
    schema: String,
    timeout: Duration,
    pub(super) poll_interval: Duration,
    pub(super) retention: Duration,
}

/// The result of one read.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) recorded: Vec<Recorded>,
    /// Where the reader stands after it.
    pub(super) place: Place,
    /// Whether that is in the log of the server for certain.
    pub(super) flushed: bool,
}

type Row = (
    String,
    String,
    bool,
    bool,
    bool,
    Option<String>,
    Vec<i64>,
    i64,
    Option<i64>,
    Option<String>,
    Option<String>,
    Option<String>,
);

impl PgFeed {
    pub(super) fn new<T>(builder: &PostgresSourceBuilder<T>) -> Self {
        let id = builder.feed.clone().unwrap_or_else(|| {
            let options = builder.pool.connect_options();
            let database = options.get_database().unwrap_or_else(|| options.get_username());
            match builder.schema.as_str() {
                "public" => feed_id("postgres", database),
                schema => feed_id("postgres", &format!("{database}/{schema}")),
            }
        });
        Self {
            id,
            pool: builder.pool.clone(),
            schema: builder.schema.clone(),
            timeout: builder.timeout,
            poll_interval: builder.poll_interval,
            retention: builder.retention,
        }
    }

    fn doing(&self, what: &str) -> String {
        format!("{what} the changes in the schema `{}`", self.schema)
    }

    /// All sources must be in the schema of this feed, on its server: those of another one would go unwatched.
    async fn check(&self, own: &str, topics: &[Topic], tables: &[Arc<PgTable>]) -> Result<()> {
        for (topic, table) in topics.iter().zip(tables) {
            // Most share the pool, which needs no question.
            let same_pool = Arc::ptr_eq(&table.pool.connect_options(), &self.pool.connect_options());
            if table.schema != self.schema || !same_pool && self.server(&table.pool).await? != own {
                let message = format!(
                    "the feed `{}` has sources of different schemas or databases, `{}` among them: give each schema a feed of \
                     its own with `PostgresSourceBuilder::feed`",
                    self.id, topic.source
                );
                return Err(Error::new(ErrorKind::Config, message));
            }
        }
        Ok(())
    }

    /// The database and its server. An ordinary role may not see the identity of the server itself.
    async fn server(&self, pool: &PgPool) -> Result<String> {
        let doing = self.doing("opening");
        let allowed = "SELECT has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')";
        let named =
            "SELECT concat_ws('/', system_identifier, (SELECT oid FROM pg_database WHERE datname = current_database()))
                     FROM pg_control_system()";
        let unnamed = "SELECT concat_ws('/', '-', oid) FROM pg_database WHERE datname = current_database()";
        bounded(self.timeout, ErrorKind::Unavailable, &doing, async {
            let allowed: bool = sqlx::query_scalar(allowed).fetch_one(pool).await?;
            sqlx::query_scalar(if allowed { named } else { unnamed }).fetch_one(pool).await
        })
        .await
    }

    /// The name of the history: the server's part and the change table's.
    pub(super) fn history(server: &str, table: &str) -> String {
        format!("{server}/{table}")
    }

    /// A subquery for the columns of tables.
    fn present_columns(&self, names: &str) -> String {
        let parts = [("names", names), ("schema_name", &*escaped(&self.schema))];
        filled(include_str!("../queries/postgres_columns.sql"), &parts)
    }

    /// The parts of the statements.
    fn parts(&self) -> [(&'static str, String); 2] {
        [("schema", quoted(&self.schema)), ("changes", change_table(&self.schema))]
    }

    /// Fills the table that a crash of the server has emptied.
    async fn revive(&self) -> Result<()> {
        let doing = self.doing("opening");
        let sql = format!("SELECT {}.smache_revive()::text", quoted(&self.schema));
        let revive = async {
            let outcome = sqlx::query(AssertSqlSafe(sql)).execute(&self.pool).await;
            match outcome {
                Ok(_) => Ok(()),
                Err(error) => Err(self.failed(error, &doing).await),
            }
        };
        with_timeout(self.timeout, ErrorKind::Unavailable, &doing, revive).await
    }

    /// Where the history ends.
    async fn present(&self, server: &str, tables: &[String]) -> Result<Place> {
        let sql = format!(
            "SELECT pg_current_snapshot()::text,
                    {},
                    {}
             FROM {}.smache_feed f",
            filled(include_str!("../queries/postgres_history.sql"), &self.parts()),
            self.present_columns("$1"),
            quoted(&self.schema)
        );
        let query = sqlx::query_as(AssertSqlSafe(sql)).bind(tables);
        let doing = self.doing("opening");
        let read = async {
            let row: Option<(String, String, Vec<i64>)> = match query.fetch_optional(&self.pool).await {
                Ok(row) => row,
                Err(error) => return Err(self.failed(error, &doing).await),
            };
            let (seen, history, columns) = row.ok_or_else(|| missing(&self.schema, "smache_feed"))?;
            let seen = Snapshot::parse(&seen)?;
            let history = Self::history(server, &history);
            Ok(Place { history, seen, columns: tables.iter().cloned().zip(columns).collect(), reading: None })
        };
        with_timeout(self.timeout, ErrorKind::Unavailable, &doing, read).await
    }

    /// Whether a feed of a table can be opened now.
    pub(super) async fn look(&self, table: &str) -> Result<()> {
        let server = self.server(&self.pool).await?;
        let tables = [table.to_owned()];
        let place = self.present(&server, &tables).await?;
        self.read(&server, &place, &tables).await.map(drop)
    }

    /// The meaning of an error of a statement: a missing table or column may mean that an older release has made the
    /// rest.
    async fn failed(&self, error: sqlx::Error, doing: &str) -> Error {
        match &error {
            // A table that is not logged is not there on a standby.
            sqlx::Error::Database(database) if database.code().as_deref() == Some("0A000") => {
                Error::new(ErrorKind::WrongServer, format!("{doing}: {STANDBY}")).with_source(error)
            }
            sqlx::Error::Database(database)
                if matches!(database.code().as_deref(), Some("42P01" | "42883" | "3F000")) =>
            {
                let sql = format!(
                    "SELECT coalesce((to_jsonb(f) ->> 'version')::bigint, 1) FROM {}.smache_feed f",
                    quoted(&self.schema)
                );
                let version = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_optional(&self.pool).await;
                if version.is_ok_and(|version: Option<i64>| version.is_some_and(|version| version < VERSION))
                    && let Err(older) = check(-1, &format!("the schema `{}`", self.schema))
                {
                    return older.with_source(error);
                }
                missing(&self.schema, "all tables").with_source(error)
            }
            _ => of_source(error, doing),
        }
    }

    /// Reads on from a place.
    pub(super) async fn read(&self, server: &str, place: &Place, tables: &[String]) -> Result<Found> {
        let doing = self.doing("reading");
        let [schema, changes] = self.parts();
        let parts = [
            ("history", filled(include_str!("../queries/postgres_history.sql"), &self.parts())),
            ("guarded", filled(include_str!("../queries/postgres_guarded.sql"), &self.parts())),
            ("triggers", present_triggers(&self.schema, "w.name")),
            ("columns", self.present_columns("$4")),
            schema,
            changes,
        ];
        let sql = filled(include_str!("../queries/postgres_read.sql"), &parts);
        let query = sqlx::query_as(AssertSqlSafe(sql))
            .bind(place.seen.to_string())
            .bind(place.reading.as_ref().map(|reading| reading.target.to_string()))
            .bind(place.reading.as_ref().map_or(0, |reading| reading.row))
            .bind(tables)
            .bind(CHANGES_A_BATCH as i64)
            .bind(place.seen.running().map(|xid| xid.to_string()).collect::<Vec<_>>());
        let read = async {
            match query.fetch_all(&self.pool).await {
                Ok(rows) => Ok(rows),
                Err(error) => Err(self.failed(error, &doing).await),
            }
        };
        let rows: Vec<Row> = with_timeout(self.timeout, ErrorKind::Unavailable, &doing, read).await?;
        let Some((target, history, lost, elsewhere, flushed, broken, columns, fits, ..)) = rows.first() else {
            return Err(missing(&self.schema, "all tables"));
        };
        // Otherwise every position would be lost, also one of this moment.
        if *elsewhere {
            let message = format!(
                "the change table in the schema `{}` is from another server: call `install` of the source",
                self.schema
            );
            return Err(Error::new(ErrorKind::Config, message));
        }
        // Before the triggers: a change table that was dropped and made again may still be without them.
        if *lost || place.history != Self::history(server, history) {
            return Err(Error::new(ErrorKind::HistoryLost, lost_message(&self.schema, *lost)));
        }
        check(*fits, &format!("the schema `{}`", self.schema))?;
        if let Some(broken) = broken {
            return Err(missing(&self.schema, broken));
        }
        let target = Snapshot::parse(target)?;
        let flushed = *flushed;
        let columns = tables.iter().cloned().zip(columns.iter().copied()).collect::<BTreeMap<_, _>>();
        let last = rows.last().and_then(|row| row.8);
        let recorded = rows.into_iter().filter_map(|(.., seq, source, before, after)| {
            seq.map(|_| Recorded { table: source.unwrap_or_default(), before, after })
        });
        let mut recorded: Vec<Recorded> = recorded.collect();
        let history = place.history.clone();
        let last = last.filter(|_| recorded.len() >= CHANGES_A_BATCH);
        // Columns are as this statement sees them. A read that goes on reads up to an older snapshot, and would come to
        // the position of another reader that has not seen the columns so.
        let columns = if place.reading.is_none() {
            recorded.extend(altered(&place.columns, &columns, &recorded));
            columns
        } else {
            place.columns.clone()
        };
        let place = match last {
            Some(row) => Place { history, seen: place.seen.clone(), columns, reading: Some(Reading { target, row }) },
            None => Place { history, seen: target, columns, reading: None },
        };
        Ok(Found { recorded, place, flushed })
    }

    /// Makes the server write its log.
    ///
    /// A transaction is seen before its commit is in the log, if it asked for no flush or has changed nothing, and one
    /// that is rolled back never waits. A crash then takes it back, and the server gives its number to another one, and
    /// a position that has seen the number would pass over the changes of that one. So the feed hands out a position
    /// only after everything that it has seen is in the log.
    pub(super) async fn flush(&self) -> Result<()> {
        // The commit waits for the log by itself once there is something in it.
        let sql =
            "SELECT set_config('synchronous_commit', 'local', true), pg_logical_emit_message(true, 'smache', '')::text";
        let doing = self.doing("flushing");
        let flush = sqlx::query(sql).execute(&self.pool);
        bounded(self.timeout, ErrorKind::Unavailable, &doing, flush).await.map(drop)
    }

    /// Removes delivered changes that are older than the retention, up to a bound. Returns how many there were.
    pub(super) async fn trim(&self, place: &Place, most: i64) -> Result<i64> {
        let sql = filled(include_str!("../queries/postgres_trim.sql"), &self.parts());
        let doing = self.doing("trimming");
        let trim = sqlx::query_scalar(AssertSqlSafe(sql));
        let trim = trim.bind(self.retention.as_secs_f64()).bind(place.seen.to_string()).bind(most);
        bounded(self.timeout, ErrorKind::Unavailable, &doing, trim.fetch_one(&self.pool)).await
    }
}

/// Resets of the tables whose columns have changed, except for tables that this batch resets anyway.
fn altered(before: &BTreeMap<String, i64>, now: &BTreeMap<String, i64>, recorded: &[Recorded]) -> Vec<Recorded> {
    let differs = |table: &&String| before.get(*table).is_some_and(|columns| now.get(*table) != Some(columns));
    let is_told = |table: &String| recorded.iter().any(|one| one.table == *table && one.is_reset());
    let tables = now.keys().filter(differs).filter(|table| !is_told(table));
    tables.map(|table| Recorded { table: table.clone(), ..Recorded::default() }).collect()
}

fn lost_message(schema: &str, trimmed: bool) -> String {
    let why = if trimmed {
        "was trimmed or removed, or the server has lost it; a longer `retention` keeps it longer"
    } else {
        "is that of another server, database or change table, or of one that was emptied, or of the server before it crashed"
    };
    format!("the history of the changes in the schema `{schema}` after the saved position {why}")
}

#[async_trait]
impl ChangeFeed for PgFeed {
    fn id(&self) -> &FeedId {
        &self.id
    }

    async fn open(&self, topics: &[Topic], start: Start) -> Result<Box<dyn ChangeStream>> {
        let readers = Watched::<PgTable>::readers(topics)?;
        let tables: Vec<Arc<PgTable>> = readers.iter().map(|reader| Arc::clone(&reader.table)).collect();
        let server = self.server(&self.pool).await?;
        self.check(&server, topics, &tables).await?;
        let mut shapes = Vec::with_capacity(tables.len());
        for table in &tables {
            table.forget();
            shapes.push(table.description().await?.shape.clone());
        }
        let watched = Watched::new(topics, readers, shapes);
        let place = match start {
            Start::After(position) => Place::restore(&position)?,
            Start::Now => {
                self.revive().await?;
                let place = self.present(&server, &watched.names()).await?;
                self.flush().await?;
                place
            }
        };
        Ok(Box::new(PgStream::open(self.clone(), server, watched, place).await?))
    }

    async fn head(&self) -> Result<Option<Position>> {
        let server = self.server(&self.pool).await?;
        let place = self.present(&server, &[]).await?;
        // The reader waits until the feed is there, so it looks at once.
        let wake = sqlx::query("SELECT pg_notify('smache_changes', '')::text").execute(&self.pool);
        bounded(self.timeout, ErrorKind::Unavailable, &self.doing("opening"), wake).await?;
        place.position().map(Some)
    }
}

impl fmt::Debug for PgFeed {
    // By hand, because a pool shows the options of its connections.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgFeed").field("id", &self.id).field("schema", &self.schema).finish_non_exhaustive()
    }
}
