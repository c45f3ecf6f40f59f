//! Transactions that cannot take an invalidation along.

use smache_core::{ErrorKind, Guarantee, Severity, Smache, inspect::Diagnosis};
use smache_sql::{PostgresSource, PostgresTransaction, Sqlite};
use smache_testkit::servers::{PostgresServer, shared_postgres_url};
use sqlx::{Connection, PgConnection, PgPool};

use super::{User, World, is, name_of, own_schema, rename, report, stored};

#[tokio::test]
async fn transaction_of_another_database_is_refused_and_marks_nothing() {
    let world = World::new().await;
    let other = World::new().await;
    let smache = world.start().await;
    assert!(smache.get(name_of(1)).await.expect("a value").is_fresh());
    // Another store, also in a namespace of the same name.
    let there = other.start().await;
    let twin = Smache::builder(world.namespace.as_str()).backend(other.backend().await).build().await;
    twin.expect("a system");
    let mut tx = other.begin().await;
    let error = report(&smache, &mut tx, 1).await.expect_err("another store");
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::WrongServer, false), "{}", error.report());
    let text = error.to_string();
    assert!(text.contains("not in the database of the transaction") && text.contains("store: PostgreSQL "), "{text}");
    tx.commit().await.expect("it is left as it was");
    assert_eq!(there.inspect().stats().await.expect("numbers").store.revision, 0);
    assert_eq!(stored(&smache, 1).await, is("Ann", true));
}

#[tokio::test]
async fn transaction_without_the_tables_learns_where_to_begin() {
    let world = World::new().await;
    let smache = world.start().await;
    let (elsewhere, _) = own_schema(&shared_postgres_url()).await;
    let mut connection = PgConnection::connect(&elsewhere).await.expect("a connection");
    let mut tx = connection.begin().await.expect("begin");
    let error = report(&smache, &mut tx, 1).await.expect_err("no tables");
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::WrongServer, false), "{}", error.report());
    assert!(error.to_string().contains("search_path") && error.to_string().contains("store: PostgreSQL "), "{error}");
}

#[tokio::test]
async fn store_that_is_no_postgres_is_named() {
    let world = World::new().await;
    world.start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let sqlite = Sqlite::open(folder.path().join("cache.db")).await.expect("a file");
    let smache = world.bare().backend(sqlite).build().await.expect("a system");
    let mut tx = world.begin().await;
    let error = report(&smache, &mut tx, 1).await.expect_err("the store is a file");
    assert_eq!(error.kind(), ErrorKind::WrongServer, "{}", error.report());
    let text = error.to_string();
    assert!(text.contains("of SQLite ") && text.contains("`changed` after the commit"), "{text}");
}

/// A result that was stored since its snapshot was taken would stay fresh.
#[tokio::test]
async fn transaction_with_one_snapshot_is_refused_with_the_fix() {
    let world = World::new().await;
    let smache = world.start().await;
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        let begin = sqlx::AssertSqlSafe(format!("BEGIN ISOLATION LEVEL {level}"));
        let mut tx = world.pool.begin_with(begin).await.expect("begin");
        rename(&mut tx, 1, "Bea").await;
        let error = report(&smache, &mut tx, 1).await.expect_err(level);
        assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Config, false), "{}", error.report());
        assert!(error.to_string().contains("READ COMMITTED"), "{error}");
    }
    let mut tx = world.pool.begin_with("BEGIN ISOLATION LEVEL READ UNCOMMITTED").await.expect("begin");
    let _token = report(&smache, &mut tx, 1).await.expect("the server takes it for READ COMMITTED");
}

#[tokio::test]
async fn connection_without_a_transaction_is_refused_and_one_begun_by_hand_is_not() {
    let world = World::new().await;
    let smache = world.start().await;
    assert!(smache.get(name_of(1)).await.expect("a value").is_fresh());
    let mut connection = world.pool.acquire().await.expect("a connection");
    rename(&mut connection, 1, "Bea").await;
    let error = report(&smache, &mut connection, 1).await.expect_err("nothing is open");
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Config, false), "{}", error.report());
    assert!(error.to_string().contains("BEGIN"), "{error}");
    assert_eq!(stored(&smache, 1).await, is("Ann", true), "nothing was reported");

    for (end, fresh) in [("ROLLBACK", true), ("COMMIT", false)] {
        sqlx::raw_sql("BEGIN").execute(&mut *connection).await.expect("begin");
        let _token = report(&smache, &mut connection, 1).await.expect("a report");
        sqlx::raw_sql(end).execute(&mut *connection).await.expect(end);
        assert_eq!(stored(&smache, 1).await, is("Ann", fresh), "{end}");
    }
}

/// This program knows the store's last incarnation only.
#[tokio::test]
async fn transaction_after_a_restart_of_the_server_is_taken() {
    let server = PostgresServer::start().await;
    let world = World::on(&server.url()).await;
    let smache = world.start().await;
    assert!(smache.get(name_of(1)).await.expect("a value").is_fresh());
    server.restart().await;
    let pool = PgPool::connect(&world.url).await.expect("a pool");
    let mut tx = pool.begin().await.expect("begin");
    rename(&mut tx, 1, "Bea").await;
    let uncommitted = report(&smache, &mut tx, 1).await.expect("a report");
    tx.commit().await.expect("commit");
    let token = uncommitted.committed().await;
    assert_eq!(*smache.get(name_of(1).at_least(token)).await.expect("a value"), "Bea");
}

fn of_users(diagnosis: &Diagnosis) -> (Option<Guarantee>, Option<Severity>, String) {
    let part = diagnosis.parts.iter().find(|part| part.role == "source users").expect("the source");
    // The server of the tests need not keep anything.
    let findings = part.examination.findings.iter().filter(|finding| !finding.problem.contains("wait for its disk"));
    let worst = findings.map(|finding| finding.severity).max();
    (part.examination.guarantee, worst, diagnosis.to_string())
}

#[tokio::test]
async fn doctor_says_exact_only_of_a_source_beside_its_store() {
    let world = World::new().await;
    let smache = world.start().await;
    let (guarantee, worst, text) = of_users(&smache.inspect().doctor().await);
    assert_eq!((guarantee, worst), (Some(Guarantee::Exact), None), "{text}");
    assert!(text.contains(".users` of PostgreSQL ") && text.contains("(exact; "), "{text}");

    let folder = tempfile::tempdir().expect("a folder");
    let sqlite = Sqlite::open(folder.path().join("cache.db")).await.expect("a file");
    let apart = world.bare().backend(sqlite).build().await.expect("a system");
    let (guarantee, worst, text) = of_users(&apart.inspect().doctor().await);
    assert_eq!((guarantee, worst), (Some(Guarantee::BestEffort), Some(Severity::Danger)), "{text}");
    assert!(text.contains("give the source's database to the builder"), "{text}");

    let strict = PgPool::connect(&format!("{}%20-c%20default_transaction_isolation%3Dserializable", world.url)).await;
    let source = PostgresSource::<User>::builder(&strict.expect("a pool"), "users").schema(&world.schema);
    let strict = Smache::builder(world.namespace.as_str())
        .source(source.transactional().build())
        .backend(world.backend().await)
        .build()
        .await;
    let (guarantee, worst, text) = of_users(&strict.expect("a system").inspect().doctor().await);
    assert_eq!((guarantee, worst), (Some(Guarantee::Exact), Some(Severity::Warning)), "{text}");
    assert!(text.contains("`serializable` by default"), "{text}");
}

#[tokio::test]
async fn transactional_source_needs_no_triggers_and_says_so() {
    let world = World::new().await;
    let error = world.source().install().await.expect_err("no triggers");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("transactional"), "{error}");
    let mut tx = world.begin().await;
    let shown = format!("{:?}", PostgresTransaction::new(&mut tx));
    assert_eq!(shown, "PostgresTransaction { .. }");
}
