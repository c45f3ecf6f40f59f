//! Files of SQLite that are read-only, full, or not the one any more that was opened.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use smache_core::{Error, ErrorKind, Start};
use sqlx::{
    AssertSqlSafe, Connection, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};
use tempfile::TempDir;

use crate::world::{Person, World, key};

fn case(case: impl AsyncFnOnce(World)) {
    smache_testkit::run(async { case(World::sqlite().await).await });
}

fn says(error: &Error, kind: ErrorKind, words: &[&str]) {
    assert_eq!((error.kind(), error.is_transient()), (kind, kind == ErrorKind::Unavailable), "{}", error.report());
    for word in words {
        assert!(error.report().contains(word), "{} does not say {word}", error.report());
    }
}

fn place(world: &World) -> (SqlitePool, Arc<TempDir>, PathBuf) {
    let World::Sqlite { pool, folder } = world else { panic!("a file") };
    (pool.clone(), folder.clone(), folder.path().join("case.db"))
}

async fn opened(path: &Path, folder: &Arc<TempDir>, read_only: bool) -> World {
    let options = SqliteConnectOptions::new().filename(path).read_only(read_only);
    let pool = SqlitePoolOptions::new().max_connections(2).connect_with(options).await.expect("the file");
    World::Sqlite { pool, folder: folder.clone() }
}

#[test]
fn a_file_that_may_only_be_read_is_read_and_tells_its_changes() {
    case(async |world| {
        world.run("INSERT INTO people (id, name) VALUES (1, 'Anna')").await;
        let (_, folder, path) = place(&world);
        let reader = opened(&path, &folder, true).await;
        let error = reader.source().install().await.expect_err("it may not be written to");
        says(&error, ErrorKind::WrongServer, &["read-only", "writable", "people"]);
        assert_eq!(world.ask("SELECT name FROM sqlite_schema WHERE name LIKE 'smache%'").await, Vec::<String>::new());
        says(&reader.source().open(Start::Now).await.err().expect("no triggers"), ErrorKind::Config, &["`install`"]);

        world.source().install().await.expect("install");
        let source =
            reader.built::<Person>("people", |builder| builder, |builder| builder.retention(Duration::from_millis(1)));
        assert_eq!(source.list().await.len(), 1);
        assert!(source.plain().load(&[key(1)]).await.expect("load")[0].is_some());
        let mut tail = source.tail().await;
        for name in ["Anne", "Ann", "Anna"] {
            world.run(&format!("UPDATE people SET name = '{name}'")).await;
            // Its feed does not remove old changes.
            assert_eq!(tail.told().await.len(), 1);
            assert!(tail.told().await.is_empty());
        }
        says(&source.uninstall().await.expect_err("it may not be written to"), ErrorKind::WrongServer, &["read-only"]);
        world.run("UPDATE people SET name = 'Eve'").await;
        assert_eq!(tail.told().await, ["1 updated Anna→Eve [name]"]);
        let recorded = world.ask("SELECT source FROM smache_changes WHERE op <> 'INSTALL'").await;
        assert_eq!(recorded.len(), 4, "a reader removes nothing");
    });
}

/// A copy of the present state, without a log beside it.
async fn copy(world: &World, folder: &TempDir, name: &str) -> PathBuf {
    let copy = folder.path().join(name);
    world.run(&format!("VACUUM INTO '{}'", copy.display())).await;
    copy
}

/// Replaces a file that no connection has open any more.
fn put(file: &Path, path: &Path) {
    for beside in ["case.db-wal", "case.db-shm"] {
        let _ = fs::remove_file(path.with_file_name(beside));
    }
    fs::rename(file, path).expect("it is moved");
}

#[test]
fn a_feed_ends_when_its_file_is_replaced_or_removed() {
    for removed in [false, true] {
        case(async |world| {
            let (pool, folder, path) = place(&world);
            let source = world.source();
            source.install().await.expect("install");
            let mut tail = source.tail().await;
            world.run("INSERT INTO people (id, name) VALUES (1, 'Anna')").await;
            assert_eq!(tail.told().await, ["1 inserted -→Anna"]);
            let position = tail.stream.position();
            let copy = copy(&world, &folder, "copy.db").await;
            if removed {
                fs::remove_file(&path).expect("it is removed");
            } else {
                fs::rename(&copy, &path).expect("it is replaced");
            }
            let replaced = [tail.stream.next().await.err(), source.open(Start::Now).await.err()];
            for error in replaced {
                let error = error.expect("no other connection writes to the open file");
                says(&error, ErrorKind::WrongServer, &["replaced", "case.db", "new pool"]);
            }
            // A new open is accepted: the copy has the same history up to its end.
            pool.close().await;
            drop(tail);
            put(if removed { &copy } else { &path }, &path);
            let again = opened(&path, &folder, false).await;
            let mut tail = again.source().open(Start::After(position)).await.expect("open");
            assert!(tail.told().await.is_empty());
            again.run("INSERT INTO people (id, name) VALUES (2, 'Bea')").await;
            assert_eq!(tail.told().await, ["2 inserted -→Bea"]);
        });
    }
}

#[test]
fn another_database_under_the_name_of_the_file_has_another_history() {
    case(async |world| {
        let (pool, folder, path) = place(&world);
        let position = world.tail().await.stream.position();
        let other = World::sqlite().await;
        other.source().install().await.expect("install");
        other.run("INSERT INTO people (id, name) VALUES (1, 'Eve')").await;
        let copy = copy(&other, &folder, "other.db").await;
        pool.close().await;
        put(&copy, &path);
        let again = opened(&path, &folder, false).await;
        let error = again.source().open(Start::After(position)).await.err().expect("another history");
        assert_eq!(error.kind(), ErrorKind::HistoryLost, "{error}");
        let mut tail = again.source().tail().await;
        again.run("UPDATE people SET name = 'Eva'").await;
        assert_eq!(tail.told().await, ["1 updated Eve→Eva [name]"]);
    });
}

async fn run(connection: &mut SqliteConnection, sql: &str) -> sqlx::Result<()> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await.map(drop)
}

fn is_full(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.code().as_deref() == Some("13"))
}

/// The row keeps its size, so that it is the record of the change that finds no room.
fn rename(turn: usize) -> String {
    format!("UPDATE people SET name = '{turn:0>800}'")
}

#[test]
fn a_write_whose_record_finds_no_room_fails_as_a_whole() {
    case(async |world| {
        world.run(&format!("INSERT INTO people (id, name) VALUES (1, '{:x>800}')", "")).await;
        let mut tail = world.tail().await;
        let (pool, ..) = place(&world);
        let mut writer = pool.acquire().await.expect("a connection").detach();
        let pages: i64 =
            sqlx::query_scalar("PRAGMA page_count").fetch_one(&mut writer).await.expect("the size of the file");
        run(&mut writer, &format!("PRAGMA max_page_count = {}", pages + 4)).await.expect("a bound");

        let mut told = 0;
        let error = loop {
            match run(&mut writer, &rename(told)).await {
                Ok(()) => told += 1,
                Err(error) => break error,
            }
            assert!(told < 100, "some pages do not hold that");
        };
        assert!(is_full(&error), "{error}");
        assert!(told > 3, "{told}");
        let name = async || world.ask("SELECT ltrim(name, '0') FROM people").await;
        assert_eq!(name().await, [(told - 1).to_string()], "the statement has changed nothing");
        assert_eq!(world.ask("SELECT op FROM smache_changes WHERE op = 'UPDATE'").await.len(), told);
        assert_eq!(tail.told().await.len(), told, "the tail delivers the recorded changes");

        // In a transaction: all of it happens, or nothing.
        run(&mut writer, "BEGIN IMMEDIATE; INSERT INTO people (id, name) VALUES (2, 'Bea')")
            .await
            .expect("it is small");
        assert!(is_full(&run(&mut writer, &rename(1_000)).await.expect_err("no room")));
        let committed = run(&mut writer, "COMMIT").await.is_ok();
        let there = world.ask("SELECT name FROM people WHERE id = 2").await.len();
        assert_eq!(there, usize::from(committed));
        assert_eq!(tail.told().await.len(), there, "the tail delivers the remaining changes, and nothing else");
        assert_eq!(name().await[0], (told - 1).to_string());

        // Others have no such bound, and with more room the same writer goes on.
        world.run("UPDATE people SET note = 'x' WHERE id = 1").await;
        run(&mut writer, "PRAGMA max_page_count = 1000000").await.expect("more room");
        run(&mut writer, "UPDATE people SET note = 'y' WHERE id = 1").await.expect("there is room");
        let changes = tail.told().await;
        assert!(changes.len() == 2 && changes.iter().all(|change| change.ends_with("[note]")), "{changes:?}");
        writer.close().await.expect("close");
    });
}
