//! The documents as rows of a table.

use std::{str::FromStr, time::Duration};

use smache::{
    Builder, Result,
    postgres::{
        PostgresSource,
        sqlx::{self, PgPool, postgres::PgPoolOptions},
    },
    sqlite::{
        SqliteSource,
        sqlx::{
            SqlitePool,
            sqlite::{SqliteConnectOptions, SqlitePoolOptions},
        },
    },
};

use crate::{Doc, quiet::add};

const NAME: &str = "docs";
const COLUMNS: &str = "_id BIGINT PRIMARY KEY, n BIGINT NOT NULL, label TEXT NOT NULL";
/// Many processes share a server.
const CONNECTIONS: u32 = 4;
/// A process that is frozen within a step keeps the file from all other writers until it wakes.
const FROZEN: Duration = Duration::from_secs(20);

/// The table `docs` of an SQL database.
#[derive(Clone, Debug)]
pub enum Table {
    /// In that schema of PostgreSQL.
    Postgres(PgPool, String),
    /// In a file.
    Sqlite(SqlitePool),
}

impl Table {
    /// Connects to the database of a `postgres://` or `sqlite:` URL; a file is made when it is missing.
    ///
    /// # Errors
    /// The driver's.
    pub async fn connect(url: &str) -> sqlx::Result<Self> {
        Ok(if url.starts_with("sqlite:") {
            let file = SqliteConnectOptions::from_str(url)?.create_if_missing(true).busy_timeout(FROZEN);
            Self::Sqlite(SqlitePoolOptions::new().max_connections(CONNECTIONS).connect_with(file).await?)
        } else {
            let pool = PgPoolOptions::new().max_connections(CONNECTIONS).connect(url).await?;
            // The source does not look at the path in which statements find their tables.
            let schema = sqlx::query_scalar("SELECT current_schema()::text").fetch_one(&pool).await?;
            Self::Postgres(pool, schema)
        })
    }

    /// Makes the table, and what its feed needs.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn create(&self) -> Result<(), Box<dyn std::error::Error>> {
        self.run(&format!("CREATE TABLE {NAME} ({COLUMNS})")).await?;
        match self {
            Self::Postgres(pool, schema) => in_postgres(pool, schema).install().await?,
            Self::Sqlite(pool) => SqliteSource::<Doc>::new(pool, NAME).install().await?,
        }
        Ok(())
    }

    /// The table as the source of a system, without its feed if it is to be quiet.
    pub fn source(&self, builder: Builder, quiet: bool) -> Builder {
        match self {
            Self::Postgres(pool, schema) => add(builder, in_postgres(pool, schema), quiet),
            Self::Sqlite(pool) => add(builder, SqliteSource::<Doc>::new(pool, NAME), quiet),
        }
    }

    /// A new row without a label.
    ///
    /// # Errors
    /// The driver's.
    pub async fn insert(&self, id: i64, n: i64) -> sqlx::Result<()> {
        self.run(&format!("INSERT INTO {NAME} VALUES ({id}, {n}, '')")).await
    }

    /// Changes a row.
    ///
    /// # Errors
    /// The driver's.
    pub async fn set(&self, id: i64, n: i64) -> sqlx::Result<()> {
        self.run(&format!("UPDATE {NAME} SET n = {n} WHERE _id = {id}")).await
    }

    /// A statement without an answer.
    ///
    /// # Errors
    /// The driver's.
    pub async fn run(&self, statement: &str) -> sqlx::Result<()> {
        let query = sqlx::AssertSqlSafe(statement);
        match self {
            Self::Postgres(pool, _) => sqlx::query(query).execute(pool).await.map(drop),
            Self::Sqlite(pool) => sqlx::query(query).execute(pool).await.map(drop),
        }
    }
}

fn in_postgres(pool: &PgPool, schema: &str) -> PostgresSource<Doc> {
    PostgresSource::builder(pool, NAME).schema(schema).build()
}
