//! A separate database for each test, of either kind.

use std::{collections::HashMap, fmt, sync::Arc, time::Instant};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use smache_core::{
    Batch, Change, ChangeFeed, ChangeStream, DataSource, EntityKey, EntityType, Image, Result, Snapshot, Start, Token,
    Topic,
};
use smache_sql::{PostgresSource, PostgresSourceBuilder, SqliteSource, SqliteSourceBuilder};
use smache_testkit::servers::shared_postgres_url;
use sqlx::{
    AssertSqlSafe, PgPool, SqlitePool,
    postgres::PgPoolOptions,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};
use tempfile::TempDir;

/// Runs a case on both kinds of databases.
macro_rules! on_both {
    ($($case:ident),* $(,)?) => {
        mod postgres {
            $(#[test]
            fn $case() {
                smache_testkit::run(async { super::$case($crate::world::World::postgres().await).await });
            })*
        }

        mod sqlite {
            $(#[test]
            fn $case() {
                smache_testkit::run(async { super::$case($crate::world::World::sqlite().await).await });
            })*
        }
    };
}
pub(crate) use on_both;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Person {
    pub(crate) id: i64,
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) note: Option<String>,
}

impl EntityType for Person {
    type Id = i64;
    const SOURCE: &'static str = "people";

    fn id(&self) -> &i64 {
        &self.id
    }
}

pub(crate) fn key(id: i64) -> EntityKey {
    EntityKey::encode(&id).expect("a number is a key")
}

/// A database.
#[derive(Clone)]
pub(crate) enum World {
    Postgres { pool: PgPool, schema: String },
    Sqlite { pool: SqlitePool, folder: Arc<TempDir> },
}

/// A source of either kind.
pub(crate) enum Source<T> {
    Postgres(Arc<PostgresSource<T>>),
    Sqlite(Arc<SqliteSource<T>>),
}

impl World {
    /// A new schema with people in it.
    pub(crate) async fn postgres() -> Self {
        Self::postgres_at(&shared_postgres_url()).await
    }

    pub(crate) async fn postgres_at(url: &str) -> Self {
        let pool = PgPoolOptions::new().max_connections(6).connect(url).await.expect("a connection");
        let schema = format!("case-{}", Token::random());
        let world = Self::Postgres { pool, schema: schema.clone() };
        world.run(&format!("CREATE SCHEMA \"{schema}\"")).await;
        world.people().await
    }

    /// A new file with people in it.
    pub(crate) async fn sqlite() -> Self {
        let folder = Arc::new(tempfile::tempdir().expect("a folder"));
        let options = SqliteConnectOptions::new().filename(folder.path().join("case.db")).create_if_missing(true);
        let pool = SqlitePoolOptions::new().max_connections(6).connect_with(options).await.expect("a file");
        Self::Sqlite { pool, folder }.people().await
    }

    async fn people(self) -> Self {
        let people = self.table("people");
        self.run(&format!("CREATE TABLE {people} (id BIGINT PRIMARY KEY, name TEXT NOT NULL, note TEXT)")).await;
        self
    }

    pub(crate) fn is_postgres(&self) -> bool {
        matches!(self, Self::Postgres { .. })
    }

    /// A table in statements.
    pub(crate) fn table(&self, name: &str) -> String {
        let name = name.replace('"', "\"\"");
        match self {
            Self::Postgres { schema, .. } => format!("\"{schema}\".\"{name}\""),
            Self::Sqlite { .. } => format!("\"{name}\""),
        }
    }

    /// Runs statements, with `people` as the table of the people.
    pub(crate) async fn run(&self, sql: &str) {
        self.try_run(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    pub(crate) async fn try_run(&self, sql: &str) -> sqlx::Result<()> {
        let sql = AssertSqlSafe(sql.replace("<people>", &self.table("people")));
        match self {
            Self::Postgres { pool, .. } => sqlx::raw_sql(sql).execute(pool).await.map(drop),
            Self::Sqlite { pool, .. } => sqlx::raw_sql(sql).execute(pool).await.map(drop),
        }
    }

    /// The first column of a query, as text.
    pub(crate) async fn ask(&self, sql: &str) -> Vec<String> {
        let sql = AssertSqlSafe(sql.replace("<people>", &self.table("people")));
        match self {
            Self::Postgres { pool, .. } => sqlx::query_scalar(sql).fetch_all(pool).await,
            Self::Sqlite { pool, .. } => sqlx::query_scalar(sql).fetch_all(pool).await,
        }
        .expect("an answer")
    }

    pub(crate) fn source(&self) -> Source<Person> {
        self.source_of("people")
    }

    pub(crate) fn source_of<T: EntityType + DeserializeOwned>(&self, table: &str) -> Source<T> {
        self.built(table, |builder| builder, |builder| builder)
    }

    pub(crate) fn built<T: EntityType + DeserializeOwned>(
        &self,
        table: &str,
        of_postgres: impl FnOnce(PostgresSourceBuilder<T>) -> PostgresSourceBuilder<T>,
        of_sqlite: impl FnOnce(SqliteSourceBuilder<T>) -> SqliteSourceBuilder<T>,
    ) -> Source<T> {
        match self {
            Self::Postgres { pool, schema } => {
                let builder = PostgresSource::builder(pool, table).schema(schema);
                Source::Postgres(Arc::new(of_postgres(builder).build()))
            }
            Self::Sqlite { pool, .. } => {
                Source::Sqlite(Arc::new(of_sqlite(SqliteSource::builder(pool, table)).build()))
            }
        }
    }

    /// The people with their triggers, read from now on.
    pub(crate) async fn tail(&self) -> Tail {
        let source = self.source();
        source.install().await.expect("install");
        source.tail().await
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("World")
    }
}

impl<T: EntityType + DeserializeOwned> Source<T> {
    pub(crate) async fn install(&self) -> Result<()> {
        match self {
            Self::Postgres(source) => source.install().await,
            Self::Sqlite(source) => source.install().await,
        }
    }

    pub(crate) async fn uninstall(&self) -> Result<()> {
        match self {
            Self::Postgres(source) => source.uninstall().await,
            Self::Sqlite(source) => source.uninstall().await,
        }
    }

    pub(crate) fn plain(&self) -> Arc<dyn DataSource> {
        match self {
            Self::Postgres(source) => Arc::clone(source) as _,
            Self::Sqlite(source) => Arc::clone(source) as _,
        }
    }

    pub(crate) fn feed(&self) -> (Arc<dyn ChangeFeed>, Topic) {
        self.plain().feed().expect("a feed")
    }

    pub(crate) async fn open(&self, start: Start) -> Result<Tail> {
        let (feed, topic) = self.feed();
        Ok(Tail { stream: feed.open(&[topic], start).await? })
    }

    pub(crate) async fn tail(&self) -> Tail {
        self.open(Start::Now).await.expect("open")
    }

    pub(crate) async fn list(&self) -> Vec<Arc<T>> {
        let images = self.plain().list().await.expect("list");
        images.iter().map(|image| image.get::<T>().expect("an entity")).collect()
    }
}

/// An open feed.
pub(crate) struct Tail {
    pub(crate) stream: Box<dyn ChangeStream>,
}

impl Tail {
    pub(crate) async fn next(&mut self) -> Batch {
        self.stream.next().await.expect("a batch")
    }

    /// Everything that was committed before this call.
    pub(crate) async fn all(&mut self) -> Vec<Change> {
        let asked = Instant::now();
        let mut changes = Vec::new();
        loop {
            let batch = self.next().await;
            changes.extend(batch.changes);
            if batch.as_of.is_some_and(|as_of| as_of >= asked) {
                return changes;
            }
        }
    }

    pub(crate) async fn told(&mut self) -> Vec<String> {
        told(&self.all().await)
    }
}

fn shown(snapshot: &Snapshot) -> String {
    let of = |image: &Image| match image.get::<Person>() {
        Ok(person) => {
            person.note.as_ref().map_or_else(|| person.name.clone(), |note| format!("{}/{note}", person.name))
        }
        Err(_) => "other".to_owned(),
    };
    match snapshot {
        Snapshot::Unknown => "?".to_owned(),
        Snapshot::Absent => "-".to_owned(),
        Snapshot::Known(image) => of(image),
    }
}

/// Changes in short: `1 updated Anna→Anne [name]`.
pub(crate) fn told(changes: &[Change]) -> Vec<String> {
    let show = |change: &Change| {
        if change.kind == smache_core::ChangeKind::Reset {
            return format!("{} reset", change.source);
        }
        let fields = change.fields.as_ref().map_or_else(String::new, |fields| format!(" [{}]", fields.join(" ")));
        format!("{} {} {}→{}{fields}", change.key, change.kind.verb(), shown(&change.before), shown(&change.after))
    };
    changes.iter().map(show).collect()
}

/// How often each is there.
pub(crate) fn counted(told: impl IntoIterator<Item = String>) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for one in told {
        *counts.entry(one).or_default() += 1;
    }
    counts
}
