//! Predicates on decimals, which are written in several ways: what is inserted makes the results stale that count it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use smache::{
    Cx, Entity, Error,
    backend::{DataSource, Token},
    computed,
    memory::Memory,
    postgres::{
        PostgresSource,
        sqlx::{self, AssertSqlSafe, PgPool},
    },
    sqlite::{
        SqliteSource,
        sqlx::{SqlitePool, sqlite::SqliteConnectOptions},
    },
};
use smache_testkit::servers::shared_postgres_url;

#[derive(Debug, Clone, Serialize, Deserialize, Entity)]
#[entity(source = "prices")]
struct Price {
    #[entity(id)]
    id: i64,
    #[entity(index)]
    amount: String,
}

#[computed]
async fn priced(cx: &Cx, amount: String) -> Result<usize, Error> {
    Ok(cx.find(Price::AMOUNT.eq(amount)).await?.len())
}

/// By the function's own query, for which it only declares the dependency.
#[computed]
async fn watched(cx: &Cx, amount: String) -> Result<usize, Error> {
    cx.depends_on(Price::AMOUNT.eq(amount.clone()))?;
    Ok(cx.find(Price::AMOUNT.eq(amount)).await?.len())
}

async fn tell(source: impl DataSource, insert: impl AsyncFn(usize, &str)) {
    let smache = smache::Smache::builder("decimals")
        .source(source)
        .backend(Memory::new())
        .register::<priced>()
        .register::<watched>()
        .build()
        .await
        .expect("a system");
    let worker = smache.worker().start();
    for asked in ["0.1", "0.10"] {
        assert_eq!(*smache.get(priced(asked.into())).await.expect("a count"), 0);
        assert_eq!(*smache.get(watched(asked.into())).await.expect("a count"), 0);
    }
    for (id, written) in (1..).zip(["0.10", "0.1", "0.100"]) {
        insert(id, written).await;
        insert(100 + id, "7.25").await;
        for asked in ["0.1", "0.10"] {
            let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
            loop {
                let found = *smache.get(priced(asked.into())).await.expect("a count");
                let depends = *smache.get(watched(asked.into())).await.expect("a count");
                if (found, depends) == (id, id) {
                    break;
                }
                let late = tokio::time::Instant::now() > deadline;
                assert!(
                    !late,
                    "{asked} is counted {found} and {depends} times after {id} inserts, the last as {written}"
                );
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
    worker.shutdown(Duration::from_secs(5)).await;
    smache.shutdown().await;
}

#[tokio::test]
async fn an_inserted_decimal_reaches_the_results_that_count_it_on_postgres() {
    let pool = PgPool::connect(&shared_postgres_url()).await.expect("a connection");
    let schema = format!("decimals_{}", Token::random());
    let run =
        async |sql: String| sqlx::raw_sql(AssertSqlSafe(sql)).execute(&pool).await.map(drop).expect("a statement");
    run(format!("CREATE SCHEMA {schema}; CREATE TABLE {schema}.prices (id bigint PRIMARY KEY, amount numeric(12, 3))"))
        .await;
    let source = PostgresSource::<Price>::builder(&pool, "prices").schema(&schema).build();
    source.install().await.expect("triggers");
    let insert = async |id, amount: &str| run(format!("INSERT INTO {schema}.prices VALUES ({id}, {amount})")).await;
    tell(source, insert).await;
}

#[tokio::test]
async fn an_inserted_decimal_reaches_the_results_that_count_it_on_sqlite() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = SqliteConnectOptions::new().filename(folder.path().join("shop.db")).create_if_missing(true);
    let pool = SqlitePool::connect_with(file).await.expect("a file");
    let run =
        async |sql: String| sqlx::raw_sql(AssertSqlSafe(sql)).execute(&pool).await.map(drop).expect("a statement");
    run("CREATE TABLE prices (id INTEGER PRIMARY KEY, amount DECIMAL(12, 3))".to_owned()).await;
    let source = SqliteSource::<Price>::new(&pool, "prices");
    source.install().await.expect("triggers");
    let insert = async |id, amount: &str| run(format!("INSERT INTO prices VALUES ({id}, {amount})")).await;
    tell(source, insert).await;
}
