//! Transactions that wait for each other, and for how long.

use std::time::Duration;

use smache_core::{Backend, CommitOutcome, ErrorKind, Smache};
use smache_sql::{Postgres, PostgresTransaction};
use sqlx::{Acquire, PgConnection};

use super::{World, is, name_of, recomputed, rename, report, stored, until};
use crate::support::{begin, direct, id};

async fn set(tx: &mut PgConnection, setting: &'static str) {
    sqlx::raw_sql(setting).execute(tx).await.expect("a setting");
}

/// A report on some tag, which takes the namespace.
async fn touch(smache: &Smache, tx: &mut PgConnection) -> smache_core::Result<smache_core::Uncommitted> {
    smache.in_transaction(PostgresTransaction::new(tx)).changed_tag("some").await
}

/// One reports and then writes, the other writes and then reports: the server ends one of them.
#[tokio::test]
async fn deadlock_is_an_error_that_says_to_report_last_and_the_next_try_goes_through() {
    let world = World::new().await;
    let smache = world.start().await;
    assert!(smache.get(name_of(2)).await.expect("a value").is_fresh());
    let mut first = world.begin().await;
    let mut last = world.begin().await;
    // The second one is the first to notice.
    set(&mut first, "SET LOCAL deadlock_timeout = '100s'").await;
    set(&mut last, "SET LOCAL deadlock_timeout = '10ms'").await;
    let _token = report(&smache, &mut first, 2).await.expect("a report before the change");
    rename(&mut last, 2, "Bea").await;
    let first = tokio::spawn(async move {
        rename(&mut first, 2, "Cid").await;
        first.commit().await
    });
    until("the first waits for the row of the second", async || {
        let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'
            AND pid IN (SELECT pid FROM pg_locks WHERE relation = to_regclass('users'))";
        let waiting: i64 = sqlx::query_scalar(waiting).fetch_one(&world.pool).await.expect("the locks");
        waiting == 1
    })
    .await;
    let error = report(&smache, &mut last, 2).await.expect_err("a deadlock");
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Unavailable, true), "{}", error.report());
    assert!(error.to_string().contains("right before the commit"), "{error}");
    assert!(error.to_string().contains("roll the transaction back"), "{error}");
    let error = report(&smache, &mut last, 2).await.expect_err("it is aborted");
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Config, false), "{}", error.report());
    last.rollback().await.expect("rollback");
    first.await.expect("the task").expect("commit");
    assert_eq!(stored(&smache, 2).await, is("Ann", false));

    let mut again = world.begin().await;
    rename(&mut again, 2, "Bea").await;
    let _token = report(&smache, &mut again, 2).await.expect("no lock is in the way");
    again.commit().await.expect("commit");
    recomputed(&smache, 2, "Bea").await;
}

/// Writers that report last wait for each other in a line.
#[tokio::test]
async fn writers_who_report_last_never_lock_each_other_out() {
    let world = World::new().await;
    let smache = world.start().await;
    let writers = (0..6_i64).map(|writer| {
        let smache = smache.clone();
        let pool = world.pool.clone();
        tokio::spawn(async move {
            for round in 0..10 {
                let mut tx = pool.begin().await.expect("begin");
                rename(&mut tx, 1 + (writer + round) % 3, &format!("{writer} {round}")).await;
                let _token = report(&smache, &mut tx, 1 + (writer + round) % 3).await.expect("a report");
                tx.commit().await.expect("commit");
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("a writer");
    }
    assert_eq!(smache.inspect().stats().await.expect("numbers").store.revision, 60);
}

#[tokio::test]
async fn second_writer_gives_up_in_time_and_can_begin_again() {
    let world = World::new().await;
    // Longer than a busy machine takes for all but the wait, which the server ends before the client does.
    let timeout = Duration::from_secs(5);
    let smache = world.bare().backend(world.backend().await).store_timeout(timeout).build().await.expect("a system");
    let mut first = world.begin().await;
    let _token = touch(&smache, &mut first).await.expect("a report");

    let mut second = world.begin().await;
    let error = touch(&smache, &mut second).await.expect_err("the first one has the namespace");
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Timeout, true), "{}", error.report());
    assert!(error.to_string().contains("another transaction has reported"), "{error}");
    second.rollback().await.expect("rollback");

    // A transaction with a bound keeps it, also after a report.
    let mut own = world.begin().await;
    set(&mut own, "SET LOCAL lock_timeout = '7ms'").await;
    let error = touch(&smache, &mut own).await.expect_err("the first one has the namespace");
    assert!(error.report().contains("lock timeout"), "{}", error.report());
    own.rollback().await.expect("rollback");
    first.commit().await.expect("commit");

    let mut third = world.begin().await;
    let _token = touch(&smache, &mut third).await.expect("a report");
    let bound: String = sqlx::query_scalar("SHOW lock_timeout").fetch_one(&mut *third).await.expect("a setting");
    assert_eq!(bound, "0");
}

/// The commits of runs give up and say so; nothing of them is lost, and readers notice nothing.
#[tokio::test]
async fn runs_outlast_a_transaction_that_stays_open() {
    let world = World::new().await;
    let smache = world.start().await;
    assert!(smache.get(name_of(1)).await.expect("a value").is_fresh());
    let short = Postgres::builder(&world.url).statement_timeout(Duration::from_secs(3)).connect().await;
    let store = short.expect("connect").store(&world.namespace).expect("a store");
    let run = begin(&*store, id(1)).await;

    let mut tx = world.begin().await;
    rename(&mut tx, 1, "Bea").await;
    let _token = report(&smache, &mut tx, 1).await.expect("a report");
    let commit = run.value("one", &[direct("other")]);
    let error = store.commit(commit.clone()).await.expect_err("the writer has the namespace");
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Timeout, true), "{}", error.report());
    let also = begin(&*store, id(2)).await;
    for _ in 0..50 {
        assert_eq!(stored(&smache, 1).await, is("Ann", true), "look-ups do not wait");
    }
    // Nor do programs that start.
    let another = world.start().await;
    assert_eq!(stored(&another, 1).await, is("Ann", true));
    tx.commit().await.expect("commit");

    let outcome = store.commit(commit).await.expect("the same run, once more");
    assert!(matches!(outcome, CommitOutcome::Fresh { .. }), "{outcome:?}");
    let outcome = store.commit(also.value("two", &[direct("some")])).await.expect("the other");
    assert!(matches!(outcome, CommitOutcome::Fresh { .. }), "{outcome:?}");
    assert_eq!(stored(&smache, 1).await, is("Ann", false));
}

#[tokio::test]
async fn savepoint_takes_its_reports_back_and_the_lock_with_them() {
    let world = World::new().await;
    let smache = world.start().await;
    for id in [1, 2] {
        assert!(smache.get(name_of(id)).await.expect("a value").is_fresh());
    }
    let mut tx = world.begin().await;
    rename(&mut tx, 1, "Bea").await;
    let mut inner = tx.begin().await.expect("a savepoint");
    rename(&mut inner, 2, "Bea").await;
    let _never = report(&smache, &mut inner, 2).await.expect("a report");
    inner.rollback().await.expect("rollback to the savepoint");
    // The namespace is free: a run is stored while the transaction is open.
    assert!(smache.refresh(name_of(3)).await.expect("a value").is_fresh());
    let _token = report(&smache, &mut tx, 1).await.expect("a report");
    let mut inner = tx.begin().await.expect("a savepoint");
    rename(&mut inner, 3, "Bea").await;
    let _token = report(&smache, &mut inner, 3).await.expect("a report");
    inner.commit().await.expect("release");
    tx.commit().await.expect("commit");
    let names = [stored(&smache, 1).await, stored(&smache, 2).await, stored(&smache, 3).await];
    assert_eq!(names, [is("Ann", false), is("Ann", true), is("Ann", false)]);
}
