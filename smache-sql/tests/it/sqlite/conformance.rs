//! The contract, on every shape that this backend comes in.

use std::sync::Arc;

use smache_core::{ManualClock, Token};
use smache_sql::Sqlite;
use smache_testkit::BackendHarness;
use sqlx::{ConnectOptions, sqlite::SqliteConnectOptions};

/// A separate file, whose clock is moved by hand.
async fn sqlite() -> BackendHarness {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("cache.db");
    let clock = ManualClock::default();
    let sqlite = Sqlite::builder(&path).clock(Arc::new(clock.clone())).open().await.expect("a new file");
    let harness = BackendHarness::of(sqlite).with_guard(folder).with_clock(clock);
    harness.with_new_incarnation(move || become_another(path.clone()))
}

/// Makes a file like one that was restored: the same content under another name in it.
async fn become_another(path: std::path::PathBuf) {
    let mut connection = SqliteConnectOptions::new().filename(path).connect().await.expect("the file");
    let name = format!("another-{}", Token::random());
    let update = sqlx::query("UPDATE smache_meta SET incarnation = $1").bind(name);
    update.execute(&mut connection).await.expect("the table");
}

smache_testkit::backend_suite!(sqlite, incarnation);

/// Compared with the protocol, in two processes on one file.
mod compared {
    use super::*;

    async fn two() -> BackendHarness {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("cache.db");
        let clock = ManualClock::default();
        let open = || Sqlite::builder(&path).clock(Arc::new(clock.clone())).open();
        let (one, another) = (open().await.expect("a new file"), open().await.expect("the same file"));
        BackendHarness::of(one)
            .with_second(Arc::new(another))
            .with_guard(folder)
            .with_one_round_in(4)
            .with_clock(clock)
            .with_new_incarnation(move || become_another(path.clone()))
    }

    smache_testkit::comparison_suite!(two);
}
