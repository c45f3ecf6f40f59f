//! The file: shared by processes, left behind by one that died, or not one that can be used.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use smache_core::{Backend, ErrorKind, JobState, Lane, NewJob, Reserve, SourceId};
use smache_sql::Sqlite;
use sqlx::{ConnectOptions, Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::support::{LONG, begin, change, compute, direct, id, look, namespace};

pub(super) fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("cache.db");
    (folder, path)
}

pub(super) async fn raw(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(path).connect().await.expect("the file")
}

/// Two handles have nothing in common but the file, as two processes.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn processes_share_a_file_and_lose_no_step() {
    let (_folder, path) = folder();
    let mut tasks = Vec::new();
    for process in 0..3 {
        let path = path.clone();
        tasks.push(tokio::spawn(async move {
            let store = Sqlite::open(path).await.expect("open").both(&namespace("shared")).expect("both").0;
            for number in 0..40 {
                compute(&*store, id(process * 1_000 + number), "value", &[direct(format!("{process}"))]).await;
                store.invalidate(change("everybody's")).await.expect("invalidate");
            }
        }));
    }
    for task in tasks {
        task.await.expect("a process");
    }
    let store = Sqlite::open(&path).await.expect("open").store(&namespace("shared")).expect("a store");
    let stats = store.stats().await.expect("stats");
    assert_eq!((stats.entries, stats.revision, stats.running), (120, 120, 0));
}

#[tokio::test]
async fn job_of_another_process_wakes_a_worker() {
    let (_folder, path) = folder();
    let waits = Sqlite::open(&path).await.expect("open").queue(&namespace("shared")).expect("a queue");
    let adds = Sqlite::open(&path).await.expect("open").queue(&namespace("shared")).expect("a queue");
    let worker = tokio::spawn(async move {
        let started = Instant::now();
        waits.wait(LONG).await.expect("wait");
        let reserve = Reserve::new(Lane::Recompute, 1, LONG);
        (waits.reserve(reserve).await.expect("reserve").jobs.len(), started.elapsed())
    });
    tokio::task::yield_now().await;
    adds.enqueue(&[NewJob::now(id(1), Lane::Recompute)]).await.expect("enqueue");
    let (jobs, waited) = worker.await.expect("the worker");
    assert_eq!(jobs, 1);
    assert!(waited < Duration::from_secs(60), "it was woken and did not wait for the end: {waited:?}");
}

/// The files as they are when the process is killed: nothing was closed, so that all is in the log.
#[tokio::test]
async fn what_was_acknowledged_survives_a_process_that_is_killed() {
    let (_folder, path) = folder();
    let (store, queue) = Sqlite::open(&path).await.expect("open").both(&namespace("shop")).expect("both");
    compute(&*store, id(1), "kept", &[direct("a")]).await;
    compute(&*store, id(2), "kept", &[direct("b")]).await;
    store.invalidate(change("a")).await.expect("invalidate");
    let half_way = begin(&*store, id(3)).await;

    let (_after, left) = folder();
    for name in ["cache.db", "cache.db-wal"] {
        fs::copy(path.with_file_name(name), left.with_file_name(name)).expect("a copy");
    }
    drop((store, queue));
    let (store, queue) = Sqlite::open(&left).await.expect("open").both(&namespace("shop")).expect("both");
    assert_eq!(look(&*store, id(1)).await, Some(("kept".to_owned(), false)));
    assert_eq!(look(&*store, id(2)).await, Some(("kept".to_owned(), true)));
    let jobs = queue.list(JobState::Queued, None, 10).await.expect("list").jobs;
    assert_eq!(jobs.iter().map(|job| job.id).collect::<Vec<_>>(), [id(1)]);
    assert_eq!(store.stats().await.expect("stats").running, 1);
    // A file in another place is another incarnation: the run that was under way there stores nothing.
    let outcome = store.commit(half_way.value("late", &[])).await.expect("commit");
    #[cfg(unix)]
    assert_eq!(outcome, smache_core::CommitOutcome::OtherIncarnation);
    #[cfg(not(unix))]
    let _ = outcome;
}

#[tokio::test]
async fn reopened_file_is_the_same_incarnation() {
    let (_folder, path) = folder();
    let open = async || Sqlite::open(&path).await.expect("open").store(&namespace("shop")).expect("a store");
    let first = open().await.positions(&[]).await.expect("positions").incarnation;
    assert_eq!(open().await.positions(&[]).await.expect("positions").incarnation, first);
}

#[tokio::test]
async fn tables_of_another_version_are_refused_and_left_alone() {
    let (_folder, path) = folder();
    drop(Sqlite::open(&path).await.expect("open"));
    for (version, fix) in [(7, "upgrade this program"), (0, "an earlier release")] {
        let mut connection = raw(&path).await;
        sqlx::query("UPDATE smache_meta SET version = $1").bind(version).execute(&mut connection).await.expect("set");
        let error = Sqlite::open(&path).await.expect_err("another version");
        assert_eq!(error.kind(), ErrorKind::WrongServer);
        let text = error.to_string();
        assert!(
            text.contains(&format!("version {version}")) && text.contains("version 3") && text.contains(fix),
            "{text}"
        );
        let kept: i64 =
            sqlx::query_scalar("SELECT version FROM smache_meta").fetch_one(&mut connection).await.expect("get");
        assert_eq!(kept, version);
        connection.close().await.expect("close");
    }
}

/// A program that has the file open from before would answer from it for as long as it runs.
#[cfg(unix)]
#[tokio::test]
async fn file_that_was_replaced_or_removed_while_it_is_open_answers_nothing() {
    for replaced in [true, false] {
        let (_folder, path) = folder();
        let (store, queue) = Sqlite::open(&path).await.expect("open").both(&namespace("shop")).expect("both");
        store.attach(&[SourceId::new("users").expect("a name")]).await.expect("attach");
        compute(&*store, id(1), "before", &[direct("a")]).await;
        let run = begin(&*store, id(2)).await;
        assert_eq!(look(&*store, id(1)).await, Some(("before".to_owned(), true)));
        for name in ["cache.db", "cache.db-wal"] {
            let old = path.with_file_name(name);
            let copy = path.with_file_name(format!("{name}.copy"));
            fs::copy(&old, &copy).expect("a copy");
            fs::remove_file(&old).expect("it is there");
            if replaced {
                fs::rename(copy, old).expect("the copy takes its place");
            }
        }
        fs::remove_file(path.with_file_name("cache.db-shm")).expect("it is there");
        if replaced {
            let other = Sqlite::open(&path).await.expect("open").store(&namespace("shop")).expect("a store");
            other.invalidate(change("a")).await.expect("invalidate");
        }
        let told = [
            store.lookup(&[id(1)]).await.map(drop),
            store.read_record(&id(1)).await.map(drop),
            store.invalidate(change("b")).await.map(drop),
            store.commit(run.value("late", &[])).await.map(drop),
            queue.enqueue(&[NewJob::now(id(1), Lane::Recompute)]).await.map(drop),
        ];
        for outcome in told {
            let error = outcome.expect_err("another file");
            assert_eq!(error.kind(), ErrorKind::WrongServer, "{}", error.report());
            assert!(error.message().contains("open it again") && error.to_string().contains("cache.db"), "{error}");
        }
    }
}

#[tokio::test]
async fn file_that_is_no_database_is_refused() {
    let (folder, path) = folder();
    fs::write(&path, "this is a letter to a friend, and much longer than a header would be".repeat(100))
        .expect("write");
    let error = Sqlite::open(&path).await.expect_err("a letter");
    assert_eq!(error.kind(), ErrorKind::WrongServer, "{}", error.report());
    let error = Sqlite::open(folder.path().join("no/such/folder.db")).await.expect_err("no folder");
    assert_eq!(error.kind(), ErrorKind::Config, "{}", error.report());
    assert!(error.to_string().contains("no/such`") && error.to_string().contains("create it"), "{error}");
    let error = Sqlite::open(folder.path()).await.expect_err("a folder");
    assert_eq!(error.kind(), ErrorKind::Config, "{}", error.report());
    assert!(error.to_string().contains("is a folder"), "{error}");
}

#[tokio::test]
async fn file_that_others_keep_locked_is_a_timeout() {
    let (_folder, path) = folder();
    let sqlite = Sqlite::builder(&path).busy_timeout(Duration::from_millis(20)).open().await.expect("open");
    let store = sqlite.store(&namespace("shop")).expect("a store");
    compute(&*store, id(1), "value", &[]).await;
    let mut other = raw(&path).await;
    let lock = other.begin_with("BEGIN IMMEDIATE").await.expect("the lock");
    let error = store.invalidate(change("a")).await.expect_err("it is locked");
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Timeout, true), "{}", error.report());
    assert_eq!(look(&*store, id(1)).await, Some(("value".to_owned(), true)), "readers do not wait for writers");
    lock.rollback().await.expect("unlock");
    store.invalidate(change("a")).await.expect("it is free");
}

#[tokio::test]
async fn tables_that_are_gone_are_named() {
    let (_folder, path) = folder();
    let store = Sqlite::open(&path).await.expect("open").store(&namespace("shop")).expect("a store");
    compute(&*store, id(1), "value", &[]).await;
    sqlx::query("DROP TABLE smache_edges").execute(&mut raw(&path).await).await.expect("drop");
    let run = begin(&*store, id(2)).await;
    let error = store.commit(run.value("value", &[direct("a")])).await.expect_err("no edges");
    assert_eq!(error.kind(), ErrorKind::WrongServer);
    assert!(error.to_string().contains("smache_"), "{error}");
    assert_eq!(look(&*store, id(2)).await, None, "the step did not happen by halves");
}
