//! The contract, on every shape that this backend comes in.

use std::sync::Arc;

use smache_core::{Backend, ManualClock, Token};
use smache_sql::Sqlite;
use smache_testkit::{Harness, Joined, JoinedHarness, QueueHarness, StoreHarness, random_namespace};
use sqlx::{ConnectOptions, sqlite::SqliteConnectOptions};

/// A role on a separate file, whose clock is moved by hand.
async fn harness<R>(role: impl FnOnce(&Sqlite) -> R) -> Harness<R> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("cache.db");
    let clock = ManualClock::default();
    let sqlite = Sqlite::builder(&path).clock(Arc::new(clock.clone())).open().await.expect("a new file");
    let role = role(&sqlite);
    Harness::new(role)
        .with_guard(folder)
        .with_advance(move |by| {
            clock.advance(by);
            std::future::ready(())
        })
        .with_new_incarnation(move || become_another(path.clone()))
}

/// Makes a file like one that was restored: the same content under another name in it.
async fn become_another(path: std::path::PathBuf) {
    let mut connection = SqliteConnectOptions::new().filename(path).connect().await.expect("the file");
    let name = format!("another-{}", Token::random());
    let update = sqlx::query("UPDATE smache_meta SET incarnation = $1").bind(name);
    update.execute(&mut connection).await.expect("the table");
}

/// A store whose queue is another backend: it reports the entries that need a job.
mod alone {
    use super::*;

    async fn store() -> StoreHarness {
        harness(|sqlite| sqlite.store(&random_namespace()).expect("a store")).await
    }

    async fn queue() -> QueueHarness {
        harness(|sqlite| sqlite.queue(&random_namespace()).expect("a queue")).await
    }

    smache_testkit::store_suite!(store);
    smache_testkit::incarnation_suite!(store);
    smache_testkit::queue_suite!(queue);
}

/// A store and a queue that share their steps.
mod together {
    use super::*;

    async fn store() -> StoreHarness {
        harness(|sqlite| sqlite.both(&random_namespace()).expect("both").0).await
    }

    async fn queue() -> QueueHarness {
        harness(|sqlite| sqlite.both(&random_namespace()).expect("both").1).await
    }

    async fn joined() -> JoinedHarness {
        harness(|sqlite| {
            let (store, queue) = sqlite.both(&random_namespace()).expect("both");
            Joined { store, queue }
        })
        .await
    }

    smache_testkit::store_suite!(store);
    smache_testkit::incarnation_suite!(store);
    smache_testkit::queue_suite!(queue);
    smache_testkit::joined_suite!(joined);
}
