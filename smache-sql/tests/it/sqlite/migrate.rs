//! Tables of an older release: migrated as a whole or left alone, while others use them.

use std::path::Path;

use smache_core::{Backend, JobState, Lane, Reserve, SourceId};
use smache_sql::Sqlite;
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::file::{folder, raw};
use crate::support::{LONG, begin, change, compute, direct, id, look, namespace, refuses_every_step};

/// The data of a program of version 1: a fresh entry, a stale one with its job, and a source whose position is saved.
const FILL: &str = "
    INSERT INTO smache_meta VALUES (1, 'sqlite-first');
    INSERT INTO smache_namespaces (name, epoch, clock) VALUES ('shop', x'0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e', 1);
    INSERT INTO smache_sources VALUES (1, 'users', x'0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f', NULL, 0, x'05', CAST('five' AS BLOB));
    INSERT INTO smache_entries VALUES
        (1, {one}, 0, 0, NULL, 1, NULL, 0, 0, NULL, 0, x'0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e', NULL, '[]', x'01',
            CAST({a} || x'31' AS BLOB), x'02', CAST('kept' AS BLOB)),
        (1, {two}, 0, 2, 1, 1, NULL, 0, 0, NULL, 0, x'0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e', NULL, '[\"changed\"]', x'01',
            CAST({b} || x'31' AS BLOB), x'02', CAST('stale' AS BLOB));
    INSERT INTO smache_edges VALUES (1, {a}, {one}, 1), (1, {b}, {two}, 1);
    INSERT INTO smache_jobs (ns, id, lane, priority, state, at) VALUES (1, {two}, 1, 4, 0, 1);
";

async fn make_first(path: &Path) {
    std::fs::write(path, "").expect("an empty file");
    let mut connection = raw(path).await;
    run(&mut connection, include_str!("../../fixtures/sqlite_1/schema.sql")).await;
    let blob = |bytes: &[u8]| bytes.iter().fold("x'".to_owned(), |hex, byte| format!("{hex}{byte:02x}")) + "'";
    let fill = [("{one}", blob(id(1).as_bytes())), ("{two}", blob(id(2).as_bytes()))]
        .into_iter()
        .chain([("{a}", blob(direct("a").dependency.as_bytes())), ("{b}", blob(direct("b").dependency.as_bytes()))])
        .fold(FILL.to_owned(), |sql, (name, value)| sql.replace(name, &value));
    run(&mut connection, &fill).await;
}

async fn run(connection: &mut SqliteConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await.expect("statements of a test");
}

/// The contents of a file: tables with their columns, and indexes.
async fn contents(path: &Path) -> Vec<String> {
    let sql = "SELECT t.name || ' ' || coalesce(c.cid || c.name || c.type || c.\"notnull\" || coalesce(c.dflt_value, '') || c.pk, '')
        FROM sqlite_schema t LEFT JOIN pragma_table_info(t.name) c WHERE t.name LIKE 'smache%' ORDER BY 1";
    sqlx::query_scalar(sql).fetch_all(&mut raw(path).await).await.expect("a list")
}

async fn version(path: &Path) -> i64 {
    sqlx::query_scalar("SELECT version FROM smache_meta").fetch_one(&mut raw(path).await).await.expect("a version")
}

#[tokio::test]
async fn older_tables_are_migrated_with_all_that_is_in_them() {
    let (_folder, path) = folder();
    make_first(&path).await;
    let (store, queue) = Sqlite::open(&path).await.expect("a migration").both(&namespace("shop")).expect("both");
    assert_eq!(version(&path).await, 3);
    assert_eq!(look(&*store, id(1)).await, Some(("kept".to_owned(), true)));
    assert_eq!(look(&*store, id(2)).await, Some(("stale".to_owned(), false)));
    let saved = store.positions(&[SourceId::new("users").expect("a name")]).await.expect("positions");
    assert!(saved.incarnation.as_str().starts_with("sqlite-first"), "{saved:?}");
    assert_eq!(saved.positions[0].as_ref().map(|position| &position.token[..]), Some(&b"five"[..]));
    let reserved = queue.reserve(Reserve::new(Lane::Recompute, 9, LONG)).await.expect("reserve").jobs;
    assert_eq!(reserved.iter().map(|job| job.id).collect::<Vec<_>>(), [id(2)]);
    assert_eq!(store.invalidate(change("a")).await.expect("invalidate").marked, 1, "edges are there");
    assert_eq!(look(&*store, id(1)).await, Some(("kept".to_owned(), false)));
    compute(&*store, id(1), "new", &[direct("a")]).await;
    let (_other, fresh) = folder();
    drop(Sqlite::open(&fresh).await.expect("a new file"));
    assert_eq!(contents(&path).await, contents(&fresh).await, "as if they were made today");
}

#[tokio::test]
async fn a_migration_that_fails_half_way_leaves_the_older_version() {
    let (_folder, path) = folder();
    make_first(&path).await;
    let before = contents(&path).await;
    // The second column that the migration adds is there: by then the first one is, too.
    run(&mut raw(&path).await, "ALTER TABLE smache_meta ADD COLUMN made_by TEXT").await;
    let error = Sqlite::open(&path).await.expect_err("a column twice");
    let text = error.to_string();
    assert!(text.contains("version 1 to 3") && text.contains("as they were"), "{text}");
    assert_eq!(version(&path).await, 1);
    run(&mut raw(&path).await, "ALTER TABLE smache_meta DROP COLUMN made_by").await;
    assert_eq!(contents(&path).await, before, "nothing of the migration is left");
    let store = Sqlite::open(&path).await.expect("it is mended").store(&namespace("shop")).expect("a store");
    assert_eq!(look(&*store, id(1)).await, Some(("kept".to_owned(), true)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn processes_that_start_side_by_side_migrate_once() {
    let (_folder, path) = folder();
    make_first(&path).await;
    for sqlite in futures_util::future::join_all((0..8).map(|_| Sqlite::open(path.clone()))).await {
        let store = sqlite.expect("open").store(&namespace("shop")).expect("a store");
        assert_eq!(look(&*store, id(1)).await, Some(("kept".to_owned(), true)));
    }
    assert_eq!(version(&path).await, 3);
}

#[tokio::test]
async fn a_program_that_runs_while_a_newer_one_migrates_goes_on_or_is_refused() {
    let (_folder, path) = folder();
    let (store, queue) = Sqlite::open(&path).await.expect("open").both(&namespace("shop")).expect("both");
    compute(&*store, id(1), "one", &[direct("a")]).await;
    let half_way = begin(&*store, id(2)).await;
    let mut other = raw(&path).await;
    // The newer release says that programs of this version may go on.
    run(&mut other, "UPDATE smache_meta SET version = 4, oldest = 3, made_by = '9.9.9'").await;
    assert_eq!(look(&*store, id(1)).await, Some(("one".to_owned(), true)));
    store.invalidate(change("a")).await.expect("invalidate");
    let error = Sqlite::open(&path).await.expect_err("it is newer");
    assert!(error.to_string().contains("release 9.9.9") && error.to_string().contains("upgrade"), "{error}");

    // The next one says that they may not.
    run(&mut other, "UPDATE smache_meta SET version = 5, oldest = 4").await;
    refuses_every_step(&*store, &*queue, &half_way).await;
    run(&mut other, "UPDATE smache_meta SET version = 3, oldest = 1").await;
    assert_eq!(look(&*store, id(2)).await, None, "nothing was done meanwhile");
    let jobs = queue.list(JobState::Queued, None, 10).await.expect("list").jobs;
    assert_eq!(jobs.iter().map(|job| job.id).collect::<Vec<_>>(), [id(1)]);
}
