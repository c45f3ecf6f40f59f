//! The data: in a file of SQLite, or on a server of its kind.

use std::{str::FromStr, time::Duration};

use mongodb::{Client, Database, bson::doc, options::ClientOptions};
use smache::{
    Builder,
    backend::DataSource,
    mongo::MongoSource,
    postgres::{
        PostgresSource,
        sqlx::{self, AssertSqlSafe, PgPool, postgres::PgPoolOptions},
    },
    redis::{Redis, RedisSource},
    sqlite::{
        SqliteSource,
        sqlx::{
            SqlitePool,
            sqlite::{SqliteConnectOptions, SqlitePoolOptions},
        },
    },
};
use smache_testkit::layer::{Layered, SourceLayer};
use tokio::time::timeout;

use crate::world::{CELLS, Cell, FLAGS, Item, NOTES, Note};

/// How long a read or a write may take.
const BOUND: Duration = Duration::from_secs(4);
/// The flags are in the table of the notes, behind them.
const FIRST_FLAG: i64 = 1_000;

/// An error with its causes.
pub(crate) type Trouble = Box<dyn std::error::Error + Send + Sync>;

/// The data of a run, as a process sees it.
#[derive(Clone, Debug)]
pub(crate) enum Data {
    Sqlite(SqlitePool),
    Postgres(PgPool),
    Mongo(Database),
    Redis(Redis),
}

/// A source whose changes only the application reports.
#[derive(Debug)]
struct Quiet<S>(S);

impl<S: DataSource> SourceLayer for Quiet<S> {
    fn inner(&self) -> &dyn DataSource {
        &self.0
    }

    fn has_feed(&self) -> bool {
        false
    }
}

impl Data {
    /// Connects by a URL of one of the four kinds.
    pub(crate) async fn connect(url: &str) -> Result<Self, Trouble> {
        let kind = url.split(':').next().unwrap_or_default();
        Ok(match kind {
            "sqlite" => {
                let file = SqliteConnectOptions::from_str(url)?.create_if_missing(true).busy_timeout(BOUND);
                Self::Sqlite(SqlitePoolOptions::new().max_connections(4).connect_with(file).await?)
            }
            "postgres" => {
                let pool = PgPoolOptions::new().max_connections(4).acquire_timeout(BOUND);
                Self::Postgres(pool.connect(url).await?)
            }
            "mongodb" => {
                let mut options = ClientOptions::parse(url).await?;
                options.server_selection_timeout = Some(BOUND);
                Self::Mongo(Client::with_options(options)?.database("history"))
            }
            "redis" => Self::Redis(Redis::connect(url).await?),
            _ => {
                return Err(
                    format!("there is no data of the kind `{kind}`: use sqlite, postgres, mongodb or redis").into()
                );
            }
        })
    }

    /// Makes all entities, with the number 0.
    pub(crate) async fn create(&self) -> Result<(), Trouble> {
        let cells = (0..CELLS).map(|id| Cell::new(id, 0));
        let ids = (0..NOTES).chain(FIRST_FLAG..FIRST_FLAG + FLAGS);
        let notes = ids.map(|id| Note { id, n: 0 });
        match self {
            Self::Sqlite(_) | Self::Postgres(_) => {
                self.run("CREATE TABLE cells (_id BIGINT PRIMARY KEY, n BIGINT NOT NULL, team BIGINT NOT NULL)")
                    .await?;
                self.run("CREATE TABLE notes (_id BIGINT PRIMARY KEY, n BIGINT NOT NULL)").await?;
                for Cell { id, n, team } in cells {
                    self.run(&format!("INSERT INTO cells VALUES ({id}, {n}, {team})")).await?;
                }
                for Note { id, n } in notes {
                    self.run(&format!("INSERT INTO notes VALUES ({id}, {n})")).await?;
                }
                match self {
                    Self::Sqlite(pool) => {
                        SqliteSource::<Cell>::new(pool, "cells").install().await?;
                        SqliteSource::<Note>::new(pool, "notes").install().await?;
                    }
                    Self::Postgres(pool) => {
                        PostgresSource::<Cell>::new(pool, "cells").install().await?;
                        PostgresSource::<Note>::new(pool, "notes").install().await?;
                    }
                    _ => {}
                }
            }
            Self::Mongo(database) => {
                database.collection("cells").insert_many(cells).await?;
                database.collection("notes").insert_many(notes).await?;
            }
            Self::Redis(redis) => {
                for cell in cells {
                    RedisSource::<Cell>::new(redis).put(&cell).await?;
                }
                for note in notes {
                    RedisSource::<Note>::new(redis).put(&note).await?;
                }
            }
        }
        Ok(())
    }

    /// Both sources: the one with its feed, and the one whose changes are reported.
    pub(crate) fn sources(&self, builder: Builder) -> Builder {
        fn both(builder: Builder, cells: impl DataSource, notes: impl DataSource) -> Builder {
            builder.source(cells).source(Layered::new(Quiet(notes)))
        }
        match self {
            Self::Sqlite(pool) => {
                both(builder, SqliteSource::<Cell>::new(pool, "cells"), SqliteSource::<Note>::new(pool, "notes"))
            }
            Self::Postgres(pool) => {
                both(builder, PostgresSource::<Cell>::new(pool, "cells"), PostgresSource::<Note>::new(pool, "notes"))
            }
            Self::Mongo(database) => both(
                builder,
                MongoSource::<Cell>::new(&database.collection::<Cell>("cells")),
                MongoSource::<Note>::new(&database.collection::<Note>("notes")),
            ),
            Self::Redis(redis) => both(builder, RedisSource::<Cell>::new(redis), RedisSource::<Note>::new(redis)),
        }
    }

    /// Raises the number of an entity. A write that is late, or done twice, changes nothing: no number goes down.
    pub(crate) async fn raise(&self, item: Item, n: i64) -> Result<(), Trouble> {
        timeout(BOUND, self.raise_unbounded(item, n)).await?
    }

    async fn raise_unbounded(&self, item: Item, n: i64) -> Result<(), Trouble> {
        let (table, id) = match item {
            Item::Cell(id) => ("cells", id),
            Item::Note(id) => ("notes", id),
            Item::Flag(id) => ("notes", FIRST_FLAG + id),
        };
        let team = matches!(item, Item::Cell(_)).then(|| Cell::new(id, n).team);
        match self {
            Self::Sqlite(_) | Self::Postgres(_) => {
                let team = team.map(|team| format!(", team = {team}")).unwrap_or_default();
                self.run(&format!("UPDATE {table} SET n = {n}{team} WHERE _id = {id} AND n < {n}")).await?;
            }
            Self::Mongo(database) => {
                let set = team.map_or(doc! { "n": n }, |team| doc! { "n": n, "team": team });
                let filter = doc! { "_id": id, "n": { "$lt": n } };
                database.collection::<Note>(table).update_one(filter, doc! { "$set": set }).await?;
            }
            Self::Redis(redis) => {
                if matches!(item, Item::Cell(_)) {
                    let raised = |cell: &mut Cell| {
                        if cell.n < n {
                            *cell = Cell::new(id, n);
                        }
                    };
                    RedisSource::<Cell>::new(redis).update(&id, raised).await?;
                } else {
                    RedisSource::<Note>::new(redis).update(&id, |note| note.n = note.n.max(n)).await?;
                }
            }
        }
        Ok(())
    }

    /// The number of a flag, past the sources.
    pub(crate) async fn flag(&self, id: i64) -> Result<i64, Trouble> {
        timeout(BOUND, self.flag_unbounded(FIRST_FLAG + id)).await?
    }

    async fn flag_unbounded(&self, id: i64) -> Result<i64, Trouble> {
        let sql = "SELECT n FROM notes WHERE _id = $1";
        let missing = || format!("there is no note {id}");
        Ok(match self {
            Self::Sqlite(pool) => sqlx::query_scalar(sql).bind(id).fetch_one(pool).await?,
            Self::Postgres(pool) => sqlx::query_scalar(sql).bind(id).fetch_one(pool).await?,
            Self::Mongo(database) => {
                database.collection::<Note>("notes").find_one(doc! { "_id": id }).await?.ok_or_else(missing)?.n
            }
            Self::Redis(redis) => RedisSource::<Note>::new(redis).get(&id).await?.ok_or_else(missing)?.n,
        })
    }

    async fn run(&self, statement: &str) -> sqlx::Result<()> {
        let query = AssertSqlSafe(statement);
        match self {
            Self::Sqlite(pool) => sqlx::query(query).execute(pool).await.map(drop),
            Self::Postgres(pool) => sqlx::query(query).execute(pool).await.map(drop),
            Self::Mongo(_) | Self::Redis(_) => Ok(()),
        }
    }

    /// An orderly end, without which the driver of MongoDB panics.
    pub(crate) async fn close(self) {
        if let Self::Mongo(database) = self {
            database.client().clone().shutdown().immediate(true).await;
        }
    }
}
