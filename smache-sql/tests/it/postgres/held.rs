//! Locks that others hold for long: a step that waits gives up in time, goes on as soon as it can, and holds no other
//! step up.

use std::time::{Duration, Instant};

use smache_core::{Backend, ErrorKind, Lane, NewJob, Reserve, Token};
use smache_sql::Postgres;
use sqlx::{
    Connection, PgConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::connect::{own_schema, run};
use crate::support::{LONG, begin, change, compute, direct, id, look, namespace};

/// A wait for something that must happen is over by then.
const PATIENCE: Duration = Duration::from_secs(60);

async fn plain(url: &str) -> PgConnection {
    PgConnection::connect(url).await.expect("a plain connection")
}

/// A backend that waits for another one, with the beginning of its transaction.
type Waiter = (i32, String);

async fn waiting_for(watch: &mut PgConnection, pid: i32) -> Vec<Waiter> {
    let blocked = "SELECT pid, xact_start::text FROM pg_stat_activity WHERE $1 = ANY (pg_blocking_pids(pid))
                   AND xact_start IS NOT NULL";
    sqlx::query_as(blocked).bind(pid).fetch_all(watch).await.expect("waiters")
}

/// Looks until the waiters of a backend are as they should be.
async fn until_waiters<T>(watch: &mut PgConnection, pid: i32, fit: impl Fn(&[Waiter]) -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let waiters = waiting_for(watch, pid).await;
        if let Some(found) = fit(&waiters) {
            return found;
        }
        assert!(Instant::now() < deadline, "within {PATIENCE:?} only {waiters:?}");
    }
}

async fn until_a_waiter(watch: &mut PgConnection, pid: i32) -> Waiter {
    until_waiters(watch, pid, |waiters| waiters.first().cloned()).await
}

/// Begins a transaction that has taken a namespace.
async fn take(connection: &mut PgConnection, name: &str) -> i32 {
    sqlx::raw_sql("BEGIN").execute(&mut *connection).await.expect("begin");
    let lock = "SELECT pg_backend_pid() FROM smache_lock('smache:' || $1, 'EXCLUSIVE')";
    sqlx::query_scalar(lock).bind(name).fetch_one(connection).await.expect("the lock")
}

async fn end(connection: &mut PgConnection) {
    sqlx::raw_sql("COMMIT").execute(connection).await.expect("commit");
}

#[tokio::test]
async fn steps_on_a_pool_of_the_application_do_not_wait_after_the_program_gave_up() {
    // A lock may be that of several namespaces.
    let (url, _) = own_schema().await;
    let name = format!("held-{}", Token::random());
    let pool = PgPoolOptions::new().connect(&url).await.expect("a pool");
    let store = Postgres::from_pool(pool).await.expect("a good pool").store(&namespace(&name)).expect("a store");
    let half_way = begin(&*store, id(1)).await;
    let mut holder = plain(&url).await;
    let mut watch = plain(&url).await;
    let pid = take(&mut holder, &name).await;
    let error = store.commit(half_way.value("one", &[])).await.expect_err("another one has the namespace");
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Timeout, true), "{}", error.report());
    until_waiters(&mut watch, pid, |waiters| waiters.is_empty().then_some(())).await;
    end(&mut holder).await;
    store.commit(half_way.value("one", &[])).await.expect("the same run, once more");
}

#[tokio::test]
async fn a_long_step_leaves_the_settings_of_a_pool_as_they_were() {
    // A lock may be that of several namespaces.
    let (url, _) = own_schema().await;
    let name = format!("held-{}", Token::random());
    let options: PgConnectOptions = url.parse().expect("a URL");
    let options = options.options([("statement_timeout", "77s"), ("lock_timeout", "1s")]);
    let pool = PgPoolOptions::new().max_connections(1).connect_with(options).await.expect("a pool");
    let store =
        Postgres::from_pool(pool.clone()).await.expect("a good pool").store(&namespace(&name)).expect("a store");
    compute(&*store, id(1), "one", &[direct("a")]).await;
    let mut holder = plain(&url).await;
    let mut watch = plain(&url).await;
    let pid = take(&mut holder, &name).await;
    let invalidation = tokio::spawn({
        let store = store.clone();
        async move { store.invalidate(change("a")).await }
    });
    // The step, then the long one.
    let step = until_a_waiter(&mut watch, pid).await;
    until_waiters(&mut watch, pid, |waiters| waiters.iter().any(|waiter| *waiter != step).then_some(())).await;
    end(&mut holder).await;
    assert_eq!(invalidation.await.expect("the task").expect("it has waited long enough").marked, 1);
    let settings = "SELECT current_setting('statement_timeout') || ' ' || current_setting('lock_timeout')";
    let settings: String = sqlx::query_scalar(settings).fetch_one(&pool).await.expect("settings");
    assert_eq!(settings, "77s 1s");
}

#[tokio::test]
async fn an_entry_that_is_removed_while_it_is_stored_leaves_no_edges() {
    let (url, _) = own_schema().await;
    let store = Postgres::connect(&url).await.expect("connect").store(&namespace("shop")).expect("a store");
    compute(&*store, id(1), "one", &[direct("a")]).await;
    // The writes of a commit of an entry that uses something else by now.
    let mut holder = plain(&url).await;
    let mut watch = plain(&url).await;
    let stores = "BEGIN; UPDATE smache_entries SET used = '\\x0707070707070707070707070707070731';
                  INSERT INTO smache_edges SELECT ns, '\\x07070707070707070707070707070707', id, true FROM smache_entries;
                  DELETE FROM smache_edges WHERE dep <> '\\x07070707070707070707070707070707'";
    sqlx::raw_sql(stores).execute(&mut holder).await.expect("a commit");
    let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut holder).await.expect("a pid");
    let removal = tokio::spawn({
        let store = store.clone();
        async move { store.remove(&id(1), None).await }
    });
    until_a_waiter(&mut watch, pid).await;
    end(&mut holder).await;
    assert!(removal.await.expect("the task").expect("remove"));
    assert_eq!(look(&*store, id(1)).await, None);
    let edges: i64 =
        sqlx::query_scalar("SELECT count(*) FROM smache_edges").fetch_one(&mut holder).await.expect("a number");
    assert_eq!(edges, 0);
}

#[tokio::test]
async fn jobs_that_another_transaction_holds_are_not_asked_for_at_once_again() {
    let (url, _) = own_schema().await;
    let queue = Postgres::connect(&url).await.expect("connect").queue(&namespace("shop")).expect("a queue");
    let ask = async |max| {
        let answer = queue.reserve(Reserve::new(Lane::Recompute, max, LONG)).await.expect("reserve");
        (answer.jobs.len(), answer.next_due)
    };
    assert_eq!(ask(2).await, (0, None));
    queue.enqueue(&[1, 2, 3].map(|number| NewJob::now(id(number), Lane::Recompute))).await.expect("enqueue");
    let mut holder = plain(&url).await;
    let hold = "BEGIN; DELETE FROM smache_jobs WHERE id = (SELECT id FROM smache_jobs ORDER BY id LIMIT 1)";
    sqlx::raw_sql(hold).execute(&mut holder).await.expect("a lock");
    assert_eq!(ask(1).await, (1, Some(Duration::ZERO)), "another one is due and free");
    assert_eq!(ask(2).await, (1, Some(Duration::from_millis(50))), "the first one is held");
    assert_eq!(ask(2).await, (0, Some(Duration::from_millis(50))));
    sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.expect("rollback");
    assert_eq!(ask(2).await, (1, None));
}

#[tokio::test]
async fn look_ups_go_on_while_a_migration_waits_for_a_transaction_that_stays_open() {
    let (url, _) = own_schema().await;
    let store = Postgres::connect(&url).await.expect("connect").store(&namespace("shop")).expect("a store");
    compute(&*store, id(1), "one", &[]).await;
    run(&url, "UPDATE smache_meta SET functions = 'others'".to_owned()).await;
    let mut holder = plain(&url).await;
    let mut watch = plain(&url).await;
    let holds = "BEGIN; SELECT version FROM smache_meta";
    sqlx::raw_sql(holds).execute(&mut holder).await.expect("a lock on the table");
    let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut holder).await.expect("a pid");
    let connecting = tokio::spawn(Postgres::connect(url.clone()));
    for _ in 0..3 {
        until_a_waiter(&mut watch, pid).await;
        assert!(!connecting.is_finished());
        assert_eq!(look(&*store, id(1)).await, Some(("one".to_owned(), true)));
    }
    end(&mut holder).await;
    connecting.await.expect("the task").expect("the functions are made again");
    let functions: String =
        sqlx::query_scalar("SELECT functions FROM smache_meta").fetch_one(&mut watch).await.expect("a number");
    assert_ne!(functions, "others");
}
