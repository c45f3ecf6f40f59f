//! The faults of a server, and the errors for them.

use std::time::{Duration, Instant};

use smache_core::{Backend, CommitOutcome, Error, ErrorKind, Token};
use smache_sql::Postgres;
use smache_testkit::servers::{PostgresServer, shared_postgres_url};
use sqlx::{AssertSqlSafe, Connection, PgConnection, postgres::PgPoolOptions};

use crate::support::{begin, compute, direct, id, look, namespace};

pub(super) async fn run(url: &str, sql: String) {
    let mut connection = PgConnection::connect(url).await.expect("a plain connection");
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.expect("a statement of a test");
}

/// The shared server with a new schema of the test's own, which is where tables are made.
pub(crate) async fn own_schema() -> (String, String) {
    let schema = format!("test_{}", Token::random());
    run(&shared_postgres_url(), format!("CREATE SCHEMA {schema}")).await;
    (format!("{}?options=-c%20search_path%3D{schema}", shared_postgres_url()), schema)
}

pub(super) async fn refused(url: &str) -> Error {
    Postgres::connect(url).await.expect_err("it cannot be used")
}

#[tokio::test]
async fn url_that_is_not_valid_is_refused_without_its_password() {
    for url in ["localhost", "mysql://user:hunter2@localhost/db", "postgres://user:hunter2@localhost:port/db"] {
        let error = refused(url).await;
        assert_eq!(error.kind(), ErrorKind::Config, "{url}");
        assert!(error.message().contains("postgres://"), "{error}");
        let shown = format!("{error} {error:?} {} {:?}", error.report(), Postgres::builder(url));
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

#[tokio::test]
async fn address_without_a_listener_is_unavailable_at_once() {
    let started = Instant::now();
    let error = refused("postgres://user:hunter2@127.0.0.1:1/db").await;
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Unavailable, true));
    assert!(started.elapsed() < Duration::from_secs(20));
    assert!(error.to_string().contains("127.0.0.1:1") && !error.report().contains("hunter2"), "{}", error.report());
}

#[tokio::test]
async fn wrong_password_is_named_and_the_right_one_never_shown() {
    let server = PostgresServer::builder().password("hunter2").start().await;
    let error = refused(&server.url().replace("hunter2", "hunter3")).await;
    assert_eq!(error.kind(), ErrorKind::Permission, "{}", error.report());
    let postgres = Postgres::connect(server.url()).await.expect("the right password");
    let (store, queue) = postgres.both(&namespace("shop")).expect("both");
    let shown = format!("{postgres:?} {store:?} {queue:?} {:?}", Postgres::builder(server.url()));
    assert!(!shown.contains("hunter2") && shown.contains("127.0.0.1"), "{shown}");
}

#[tokio::test]
async fn database_that_is_not_there_is_named() {
    let url = shared_postgres_url();
    let (server, _) = url.rsplit_once('/').expect("a URL with a database");
    let error = refused(&format!("{server}/no_such_database")).await;
    assert_eq!(error.kind(), ErrorKind::WrongServer, "{}", error.report());
    assert!(error.to_string().contains("no_such_database"), "{error}");
}

/// A balancer whose servers are away. The outage passes by itself, so that readers compute meanwhile.
#[tokio::test]
async fn balancer_that_accepts_and_closes_is_a_server_that_is_away() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let at = listener.local_addr().expect("an address");
    let balancer = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(stream);
        }
    });
    for mode in ["prefer", "disable"] {
        let error = refused(&format!("postgres://shop:secret@{at}/shop?sslmode={mode}")).await;
        assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Unavailable, true), "{mode}: {}", error.report());
    }
    balancer.abort();
}

#[tokio::test]
async fn role_that_may_not_create_learns_what_it_lacks() {
    let (url, schema) = own_schema().await;
    run(&url, format!("CREATE ROLE role_{schema} LOGIN; GRANT USAGE ON SCHEMA {schema} TO role_{schema}")).await;
    let (_, rest) = url.split_once('@').expect("a URL with a user");
    let error = refused(&format!("postgres://role_{schema}@{rest}")).await;
    assert_eq!(error.kind(), ErrorKind::Permission, "{}", error.report());
    assert!(error.message().contains("CREATE"), "{error}");
}

#[tokio::test]
async fn read_only_connection_is_refused() {
    let url = format!("{}?options=-c%20default_transaction_read_only%3Don", shared_postgres_url());
    let error = refused(&url).await;
    assert_eq!(error.kind(), ErrorKind::WrongServer, "{}", error.report());
    assert!(error.message().contains("default_transaction_read_only"), "{error}");
}

#[tokio::test]
async fn processes_that_start_side_by_side_make_the_tables_once() {
    let (url, _) = own_schema().await;
    let all = futures_util::future::join_all((0..8).map(|_| Postgres::connect(url.clone()))).await;
    let mut stores =
        all.into_iter().map(|postgres| postgres.expect("connect").store(&namespace("shop")).expect("a store"));
    compute(&*stores.next().expect("the first"), id(1), "one", &[]).await;
    for store in stores {
        assert_eq!(look(&*store, id(1)).await, Some(("one".to_owned(), true)));
    }
}

#[tokio::test]
async fn tables_of_another_version_are_refused_and_left_alone() {
    let (url, _) = own_schema().await;
    Postgres::connect(&url).await.expect("a new schema");
    for (version, fix) in [(7, "upgrade this program"), (0, "an earlier release")] {
        run(&url, format!("UPDATE smache_meta SET version = {version}")).await;
        let error = refused(&url).await;
        assert_eq!(error.kind(), ErrorKind::WrongServer);
        let text = error.to_string();
        assert!(
            text.contains(&format!("version {version}")) && text.contains("version 5") && text.contains(fix),
            "{text}"
        );
        let mut connection = PgConnection::connect(&url).await.expect("a plain connection");
        let kept: i64 =
            sqlx::query_scalar("SELECT version FROM smache_meta").fetch_one(&mut connection).await.expect("get");
        assert_eq!(kept, version);
    }
}

#[tokio::test]
async fn functions_that_are_gone_are_named() {
    let (url, _) = own_schema().await;
    let store = Postgres::connect(&url).await.expect("a new schema").store(&namespace("shop")).expect("a store");
    compute(&*store, id(1), "one", &[]).await;
    run(&url, "DROP FUNCTION smache_new_epoch".to_owned()).await;
    let error = store.new_epoch().await.expect_err("no function");
    assert_eq!(error.kind(), ErrorKind::WrongServer, "{}", error.report());
    assert!(error.message().contains("search_path"), "{error}");
}

#[tokio::test]
async fn pool_of_the_application_is_used() {
    let pool = PgPoolOptions::new().max_connections(2).connect(&shared_postgres_url()).await.expect("a pool");
    let name = namespace(&format!("pool-{}", Token::random()));
    let store = Postgres::from_pool(pool.clone()).await.expect("a good pool").store(&name).expect("a store");
    compute(&*store, id(1), "one", &[]).await;
    assert_eq!(look(&*store, id(1)).await, Some(("one".to_owned(), true)));
    assert!(pool.size() > 0);
}

#[tokio::test]
async fn pool_that_forgets_what_it_acknowledged_is_refused() {
    let url = format!("{}?options=-c%20synchronous_commit%3Doff", shared_postgres_url());
    let pool = PgPoolOptions::new().connect(&url).await.expect("a pool");
    let error = Postgres::from_pool(pool).await.expect_err("it is not safe");
    assert_eq!(error.kind(), ErrorKind::WrongServer);
    assert!(error.message().contains("synchronous_commit"), "{error}");
    // The backend switches it on for the connections that it opens.
    Postgres::connect(&url).await.expect("connect");
}

#[tokio::test]
async fn pool_whose_transactions_do_not_see_what_they_waited_for_is_refused() {
    let url = format!("{}?options=-c%20default_transaction_isolation%3Dserializable", shared_postgres_url());
    let pool = PgPoolOptions::new().connect(&url).await.expect("a pool");
    let error = Postgres::from_pool(pool).await.expect_err("it is not safe");
    assert_eq!(error.kind(), ErrorKind::WrongServer);
    assert!(error.message().contains("default_transaction_isolation"), "{error}");
    // The backend sets it for the connections that it opens: a commit that waits sees an invalidation of that time.
    let name = namespace(&format!("isolation-{}", Token::random()));
    let store = Postgres::connect(&url).await.expect("connect").store(&name).expect("a store");
    let run = begin(&*store, id(1)).await;
    let mut other = PgConnection::connect(&shared_postgres_url()).await.expect("a plain connection");
    let mut holds = other.begin().await.expect("begin");
    let lock = "SELECT pg_backend_pid() FROM smache_lock('smache:' || $1, 'EXCLUSIVE')";
    let pid: i32 = sqlx::query_scalar(lock).bind(name.as_str()).fetch_one(&mut *holds).await.expect("the lock");
    let commit = tokio::spawn({
        let store = store.clone();
        let commit = run.value("old", &[direct("a")]);
        async move { store.commit(commit).await }
    });
    let blocked = "SELECT count(*) FROM pg_stat_activity WHERE $1 = ANY (pg_blocking_pids(pid))";
    let mut watch = PgConnection::connect(&shared_postgres_url()).await.expect("a plain connection");
    let deadline = Instant::now() + Duration::from_secs(60);
    while sqlx::query_scalar::<_, i64>(blocked).bind(pid).fetch_one(&mut watch).await.expect("a number") == 0 {
        assert!(Instant::now() < deadline && !commit.is_finished(), "the commit waits for the transaction");
    }
    let change = "INSERT INTO smache_changed SELECT ns, $2, revision + 1 FROM smache_namespaces WHERE name = $1";
    let change = sqlx::query(change).bind(name.as_str()).bind(direct("a").dependency.as_bytes().to_vec());
    change.execute(&mut *holds).await.expect("an invalidation");
    holds.commit().await.expect("commit");
    let outcome = commit.await.expect("the task").expect("commit");
    assert!(matches!(outcome, CommitOutcome::Conflicted { .. }), "{outcome:?}");
}
