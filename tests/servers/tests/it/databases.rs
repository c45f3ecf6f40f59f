//! Tables and databases of one test.

use mongodb::{Client, Database, bson::oid::ObjectId};
use serde::de::DeserializeOwned;
use smache::{
    backend::EntityType,
    postgres::PostgresSource,
    sqlite::{
        SqliteSource,
        sqlx::{self, AssertSqlSafe, PgPool, SqlitePool, sqlite::SqliteConnectOptions},
    },
};
use smache_testkit::servers::{shared_mongo_uri, shared_postgres_url};
use tempfile::TempDir;

/// A table of the PostgreSQL that all tests share.
pub(crate) struct Rows {
    pool: PgPool,
    table: String,
}

impl Rows {
    /// A table with those columns, and a source of it.
    pub(crate) async fn create<T: EntityType + DeserializeOwned>(columns: &str) -> (Self, PostgresSource<T>) {
        let pool = PgPool::connect(&shared_postgres_url()).await.expect("PostgreSQL");
        let rows = Self { pool, table: format!("{}_{}", T::SOURCE, ObjectId::new().to_hex()) };
        rows.run(format!("CREATE TABLE {} ({columns})", rows.table)).await;
        let source = rows.source();
        source.install().await.expect("triggers");
        (rows, source)
    }

    fn source<T: EntityType + DeserializeOwned>(&self) -> PostgresSource<T> {
        PostgresSource::new(&self.pool, &self.table)
    }

    /// Inserts; the statement ends with that.
    pub(crate) async fn write(&self, end: &str) {
        self.run(format!("INSERT INTO {} {end}", self.table)).await;
    }

    async fn run(&self, statement: String) {
        sqlx::query(AssertSqlSafe(statement)).execute(&self.pool).await.expect("a statement");
    }

    pub(crate) async fn remove<T: EntityType + DeserializeOwned>(self) {
        self.source::<T>().uninstall().await.expect("nothing is left of the triggers");
        self.run(format!("DROP TABLE {}", self.table)).await;
    }
}

/// A table in a file of SQLite.
pub(crate) struct File {
    pool: SqlitePool,
    table: &'static str,
    _folder: TempDir,
}

impl File {
    /// A file with a table of those columns, and a source of it.
    pub(crate) async fn create<T: EntityType + DeserializeOwned>(columns: &str) -> (Self, SqliteSource<T>) {
        let folder = tempfile::tempdir().expect("a folder");
        let file = SqliteConnectOptions::new().filename(folder.path().join("test.db")).create_if_missing(true);
        let pool = SqlitePool::connect_with(file).await.expect("a file");
        let file = Self { pool, table: T::SOURCE, _folder: folder };
        file.run(format!("CREATE TABLE {} ({columns})", file.table)).await;
        let source = SqliteSource::new(&file.pool, file.table);
        source.install().await.expect("triggers");
        (file, source)
    }

    /// Inserts; the statement ends with that.
    pub(crate) async fn write(&self, end: &str) {
        self.run(format!("INSERT INTO {} {end}", self.table)).await;
    }

    async fn run(&self, statement: String) {
        sqlx::query(AssertSqlSafe(statement)).execute(&self.pool).await.expect("a statement");
    }
}

/// A database of the MongoDB that all tests share.
pub(crate) async fn mongo() -> Database {
    let client = Client::with_uri_str(shared_mongo_uri()).await.expect("a client");
    client.database(&format!("it_{}", ObjectId::new().to_hex()))
}
