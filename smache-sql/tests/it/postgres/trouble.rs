//! Servers and roles that are not as a program needs them: the error messages, that nothing is lost, and that it works
//! again.

use smache_core::{Backend, ErrorKind, JobState, Lane, NewJob};
use smache_sql::Postgres;
use smache_testkit::servers::PostgresServer;

use super::connect::{own_schema, refused, run};
use crate::support::{begin, change, compute, direct, id, look, namespace};

/// A role of the test's own with a right to the schema, and its URL.
async fn role(url: &str, schema: &str) -> String {
    run(url, format!("CREATE ROLE role_{schema} LOGIN; GRANT USAGE ON SCHEMA {schema} TO role_{schema}")).await;
    url.replace("smache@", &format!("role_{schema}@"))
}

#[tokio::test]
async fn role_that_may_only_read_learns_what_it_lacks_and_changes_nothing() {
    let (url, schema) = own_schema().await;
    let (store, _) = Postgres::connect(&url).await.expect("connect").both(&namespace("shop")).expect("both");
    compute(&*store, id(1), "one", &[direct("a")]).await;
    let role = role(&url, &schema).await;
    let error = refused(&role).await;
    assert_eq!(error.kind(), ErrorKind::Permission, "not even to read the version: {}", error.report());
    run(&url, format!("GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO role_{schema}")).await;
    let (reader, queue) = Postgres::connect(&role).await.expect("connect").both(&namespace("shop")).expect("both");
    assert_eq!(look(&*reader, id(1)).await, Some(("one".to_owned(), true)));
    for error in [
        reader.invalidate(change("a")).await.expect_err("it may only read"),
        queue.enqueue(&[NewJob::now(id(2), Lane::Recompute)]).await.map(drop).expect_err("it may only read"),
    ] {
        assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Permission, false), "{}", error.report());
        assert!(error.message().contains("tables and functions `smache_*`"), "{error}");
    }
    assert_eq!(look(&*store, id(1)).await, Some(("one".to_owned(), true)), "nothing of the change is there");

    run(&url, format!("GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO role_{schema}")).await;
    assert_eq!(reader.invalidate(change("a")).await.expect("the same connections").marked, 1);
    let functions = format!("REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA {schema} FROM PUBLIC");
    run(&url, functions.clone()).await;
    let error = reader.invalidate(change("a")).await.expect_err("no function");
    assert_eq!(error.kind(), ErrorKind::Permission, "{}", error.report());
    run(&url, format!("GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {schema} TO role_{schema}")).await;
    // Functions that are made again in place keep such grants.
    run(&url, "UPDATE smache_meta SET functions = 'others'".to_owned()).await;
    Postgres::connect(&url).await.expect("the functions are made again by the owner");
    let later = Postgres::connect(&role).await.expect("connect").store(&namespace("shop")).expect("a store");
    compute(&*later, id(1), "two", &[direct("a")]).await;
}

#[tokio::test]
async fn standby_is_refused_and_promoted_it_is_another_incarnation() {
    let primary = PostgresServer::start().await;
    let (store, queue) =
        Postgres::connect(primary.url()).await.expect("connect").both(&namespace("shop")).expect("both");
    compute(&*store, id(1), "one", &[direct("a")]).await;
    store.invalidate(change("a")).await.expect("invalidate");
    compute(&*store, id(2), "two", &[direct("b")]).await;
    let half_way = begin(&*store, id(3)).await;
    let standby = primary.start_standby().await;
    let error = refused(&standby.url()).await;
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::WrongServer, false), "{}", error.report());
    assert!(error.message().contains("connect to the primary"), "{error}");
    drop((store, queue));

    primary.kill().await;
    run(&standby.url(), "SELECT pg_promote()".to_owned()).await;
    let promoted = Postgres::connect(standby.url()).await.expect("a primary by now");
    let (store, queue) = promoted.both(&namespace("shop")).expect("both");
    assert_eq!(look(&*store, id(1)).await, Some(("one".to_owned(), false)));
    let jobs = queue.list(JobState::Queued, None, 10).await.expect("list").jobs;
    assert_eq!(jobs.iter().map(|job| job.id).collect::<Vec<_>>(), [id(1)]);
    let outcome = store.commit(half_way.value("late", &[])).await.expect("commit");
    assert_eq!(outcome, smache_core::CommitOutcome::OtherIncarnation);
    compute(&*store, id(2), "three", &[direct("b")]).await;
}

#[tokio::test]
async fn server_that_becomes_read_only_is_named_and_works_again() {
    let server = PostgresServer::start().await;
    let store = Postgres::connect(server.url()).await.expect("connect").store(&namespace("shop")).expect("a store");
    compute(&*store, id(1), "one", &[direct("a")]).await;
    let set = |value: &str| {
        let sql = format!("ALTER DATABASE postgres SET default_transaction_read_only = {value}");
        // Open connections keep what they began with.
        format!(
            "{sql}; SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE pid <> pg_backend_pid() AND datname = current_database()"
        )
    };
    let writable = format!("{}?options=-c%20default_transaction_read_only%3Doff", server.url());
    run(&writable, set("on")).await;
    let error = loop {
        match store.invalidate(change("a")).await {
            Err(error) if error.kind() == ErrorKind::Unavailable => {} // a connection that was ended
            other => break other.expect_err("read-only"),
        }
    };
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::WrongServer, false), "{}", error.report());
    assert!(error.message().contains("default_transaction_read_only"), "{error}");
    assert_eq!(refused(&server.url()).await.kind(), ErrorKind::WrongServer);
    run(&writable, set("off")).await;
    assert_eq!(look(&*store, id(1)).await, Some(("one".to_owned(), true)));
    assert_eq!(store.invalidate(change("a")).await.expect("it can be written again").marked, 1);
}

#[tokio::test]
async fn server_without_free_connections_is_unavailable_until_there_are_some() {
    let (url, schema) = own_schema().await;
    let store = Postgres::connect(&url).await.expect("connect").store(&namespace("shop")).expect("a store");
    compute(&*store, id(1), "one", &[]).await;
    let role = role(&url, &schema).await;
    let grant = format!(
        "GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO role_{schema}; ALTER ROLE role_{schema} CONNECTION LIMIT 1"
    );
    run(&url, grant).await;
    let first = Postgres::builder(&role).connections(1).connect().await.expect("the only one");
    let error = refused(&role).await;
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Unavailable, true), "{}", error.report());
    assert!(error.message().contains("too many connections"), "{error}");
    let store = first.store(&namespace("shop")).expect("a store");
    assert_eq!(look(&*store, id(1)).await, Some(("one".to_owned(), true)), "the one that is open works");
    drop((first, store));
    // The server sees the end of a connection a little later.
    let again = loop {
        match Postgres::builder(&role).connections(1).connect().await {
            Ok(again) => break again.store(&namespace("shop")).expect("a store"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.report()),
        }
    };
    assert_eq!(look(&*again, id(1)).await, Some(("one".to_owned(), true)));
}
