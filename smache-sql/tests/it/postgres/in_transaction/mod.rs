//! Changes that are reported within the transactions that make them: data, results and jobs in one database.

mod chance;
mod jobs;
mod locks;
mod races;
mod refusals;
mod verbs;

use smache_core::{Builder, Namespace, Smache, Token, Uncommitted};
use smache_sql::{Postgres, PostgresSource, PostgresTransaction};
use smache_testkit::servers::shared_postgres_url;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool, Transaction};

use crate::users::{Gate, NameOf, User, is, name_of, recomputed, stored, until};

/// A schema of the test's own, with a table of users beside the tables of a store.
struct World {
    url: String,
    schema: String,
    namespace: Namespace,
    pool: PgPool,
    gate: Gate,
}

async fn run(url: &str, sql: String) {
    let mut connection = PgConnection::connect(url).await.expect("a plain connection");
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.expect("a statement of a test");
}

/// The URL of a new schema.
async fn own_schema(server: &str) -> (String, String) {
    let schema = format!("within_{}", Token::random());
    run(server, format!("CREATE SCHEMA {schema}")).await;
    (format!("{server}?options=-c%20search_path%3D{schema}"), schema)
}

impl World {
    /// With the users 1 to 3, all called Ann.
    async fn new() -> Self {
        Self::on(&shared_postgres_url()).await
    }

    async fn on(server: &str) -> Self {
        let (url, schema) = own_schema(server).await;
        let users = "CREATE TABLE users (id bigint PRIMARY KEY, name text NOT NULL);
            INSERT INTO users SELECT id, 'Ann' FROM generate_series(1, 3) AS id";
        run(&url, users.to_owned()).await;
        let pool = PgPool::connect(&url).await.expect("a pool");
        // The lock of a namespace is one of the whole database.
        let namespace = Namespace::new(format!("within-{}", Token::random())).expect("a good name");
        Self { url, schema, namespace, pool, gate: Gate::new() }
    }

    async fn backend(&self) -> Postgres {
        Postgres::connect(&self.url).await.expect("connect")
    }

    fn source(&self) -> PostgresSource<User> {
        PostgresSource::builder(&self.pool, "users").schema(&self.schema).transactional().build()
    }

    /// A system without a backend.
    fn bare(&self) -> Builder {
        let builder = Smache::builder(self.namespace.as_str()).source(self.source()).state(self.gate.clone());
        builder.read_patience(std::time::Duration::from_secs(5)).register::<NameOf>()
    }

    async fn start(&self) -> Smache {
        self.bare().backend(self.backend().await).build().await.expect("a system")
    }

    async fn begin(&self) -> Transaction<'static, sqlx::Postgres> {
        self.pool.begin().await.expect("begin")
    }

    /// How many transactions wait for the namespace.
    async fn waiting(&self) -> i64 {
        let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'relation' AND NOT granted
            AND relation = to_regclass(smache_lock_of('smache:' || $1))";
        let query = sqlx::query_scalar(waiting).bind(self.namespace.as_str());
        query.fetch_one(&self.pool).await.expect("the locks of the server")
    }

    async fn until_waiting(&self, many: i64) {
        until("a connection waits for the namespace", async || self.waiting().await >= many).await;
    }
}

async fn rename(tx: &mut PgConnection, id: i64, name: &str) {
    let query = sqlx::query("UPDATE users SET name = $2 WHERE id = $1").bind(id).bind(name.to_owned());
    assert_eq!(query.execute(tx).await.expect("an update").rows_affected(), 1);
}

async fn report(smache: &Smache, tx: &mut PgConnection, id: i64) -> smache_core::Result<Uncommitted> {
    smache.in_transaction(PostgresTransaction::new(tx)).changed::<User>(&id).await
}
