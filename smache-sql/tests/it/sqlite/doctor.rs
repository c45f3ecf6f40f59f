//! The findings of an examination.

use smache_core::Backend;
use smache_sql::Sqlite;

use super::file::{folder, raw};
use crate::support::{compute, examined, id, namespace, said};

#[tokio::test]
async fn a_file_as_it_was_made_has_nothing_against_it() {
    let (_folder, path) = folder();
    let examination = examined(&Sqlite::open(&path).await.expect("open")).await;
    assert_eq!(said(&examination), Vec::<String>::new());
    let what = &examination.what;
    assert!(what.contains("cache.db") && what.contains("SQLite 3."), "{what}");
}

#[tokio::test]
async fn a_file_that_is_almost_full_is_found() {
    let (_folder, path) = folder();
    let sqlite = Sqlite::builder(&path).max_bytes(1 << 20).open().await.expect("open");
    let store = sqlite.store(&namespace("shop")).expect("a store");
    assert_eq!(said(&examined(&sqlite).await), Vec::<String>::new());
    // The value and its meta have it.
    compute(&*store, id(1), &"x".repeat(450_000), &[]).await;
    let found = said(&examined(&sqlite).await);
    assert!(found.len() == 1 && found[0].starts_with("warning: ") && found[0].contains("max_bytes"), "{found:?}");
    store.remove(&id(1), None).await.expect("remove");
    assert_eq!(said(&examined(&sqlite).await), Vec::<String>::new(), "what is free is not used");
}

#[tokio::test]
async fn a_journal_that_another_program_has_changed_is_found() {
    let (_folder, path) = folder();
    drop(Sqlite::open(&path).await.expect("open"));
    let mut other = raw(&path).await;
    // Only while no other connection has it open: the earlier ones may not be closed yet.
    while sqlx::query_scalar::<_, String>("PRAGMA journal_mode = DELETE").fetch_one(&mut other).await.ok().as_deref()
        != Some("delete")
    {}
    drop(other);
    let sqlite = Sqlite::open(&path).await.expect("it is set back");
    assert_eq!(said(&examined(&sqlite).await), Vec::<String>::new());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_file_in_memory_is_found() {
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
    let sqlite = Sqlite::open(folder.path().join("cache.db")).await.expect("open");
    let examination = examined(&sqlite).await;
    let [finding] = &examination.findings[..] else { panic!("{examination:?}") };
    assert!(finding.problem.contains("does not survive a restart"), "{finding:?}");
}
