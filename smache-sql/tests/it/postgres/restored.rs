//! Backups that are put in place of the tables while the server runs.

use std::process::Command;

use smache_core::{Backend, CommitOutcome};
use smache_sql::Postgres;
use smache_testkit::servers::PostgresServer;
use sqlx::{Connection, PgConnection};

use crate::support::{begin, change, compute, direct, id, look, namespace};

/// Runs a program that belongs to the server.
async fn run(server: &PostgresServer, program: &str, arguments: &[&str]) {
    let mut connection = PgConnection::connect(&server.url()).await.expect("a plain connection");
    let folder: String = sqlx::query_scalar("SELECT setting FROM pg_config WHERE name = 'BINDIR'")
        .fetch_one(&mut connection)
        .await
        .expect("the folder of the server");
    let output = Command::new(format!("{folder}/{program}")).args(arguments).output().expect(program);
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn tables_that_were_restored_under_a_running_server_are_another_incarnation() {
    let server = PostgresServer::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let url = server.url();
    let backup = folder.path().join("backup");
    let url = url.as_str();
    let backup = backup.to_str().expect("a path");
    let store = Postgres::connect(url).await.expect("connect").store(&namespace("shop")).expect("a store");
    for number in [1, 2] {
        compute(&*store, id(number), "old", &[direct("a")]).await;
    }
    run(&server, "pg_dump", &["--format=custom", "--file", backup, url]).await;
    store.invalidate(change("a")).await.expect("a change that the backup does not have");
    let under_way = begin(&*store, id(2)).await;
    let before = store.lookup(&[]).await.expect("lookup").incarnation;
    assert_eq!(store.lookup(&[]).await.expect("lookup").incarnation, before, "it stays the same");

    run(&server, "pg_restore", &["--clean", "--if-exists", "--dbname", url, backup]).await;
    let restored = store.lookup(&[id(1)]).await.expect("lookup");
    assert!(restored.entries[0].is_some());
    assert_ne!(restored.incarnation, before);
    let outcome = store.commit(under_way.value("new", &[direct("a")])).await.expect("commit");
    assert!(matches!(outcome, CommitOutcome::OtherIncarnation), "{outcome:?}");
    // The open connections go on.
    for number in [1, 2] {
        compute(&*store, id(number), "new", &[direct("a")]).await;
        assert_eq!(look(&*store, id(number)).await, Some(("new".to_owned(), true)));
    }
}

/// The copy of a database has everything of it but its name.
#[tokio::test]
async fn a_copy_of_the_database_on_the_same_server_is_another_incarnation() {
    let server = PostgresServer::start().await;
    let incarnation = async |url: &str| {
        let store = Postgres::connect(url).await.expect("connect").store(&namespace("shop")).expect("a store");
        store.lookup(&[]).await.expect("lookup").incarnation
    };
    let copy = |name: &str| format!("{}/{name}", server.url().trim_end_matches("/postgres"));
    let run_sql = async |url: &str, sql: &'static str| {
        let mut connection = PgConnection::connect(url).await.expect("a plain connection");
        sqlx::raw_sql(sql).execute(&mut connection).await.expect("a statement");
        connection.close().await.expect("closed");
    };
    run_sql(&server.url(), "CREATE DATABASE one").await;
    let one = incarnation(&copy("one")).await;
    let done = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'one'";
    run_sql(&server.url(), done).await;
    run_sql(&server.url(), "CREATE DATABASE two TEMPLATE one").await;
    assert_ne!(one, incarnation(&copy("two")).await);
    assert_eq!(one, incarnation(&copy("one")).await);
}
