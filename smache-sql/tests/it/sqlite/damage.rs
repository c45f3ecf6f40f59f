//! Files that are full, damaged or not to be written to: the error messages, the steps that still work, and that all
//! work again.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use smache_core::{Backend, ErrorKind};
use smache_sql::Sqlite;
use sqlx::Connection as _;
use tempfile::TempDir;

use super::{
    child::{Role, report},
    file::{folder, raw},
};
use crate::support::{begin, compute, direct, id, look, namespace};

#[tokio::test]
async fn file_that_is_full_refuses_steps_is_read_and_takes_steps_again() {
    let (_folder, path) = folder();
    let sqlite = Sqlite::builder(&path).max_bytes(1 << 20).open().await.expect("open");
    let (store, queue) = sqlite.both(&namespace("shop")).expect("both");
    let mut stored = 0;
    let large = "x".repeat(20_000);
    let error = loop {
        let run = begin(&*store, id(stored)).await;
        match store.commit(run.value(&large, &[direct(stored)])).await {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
        assert!(stored < 100, "a megabyte does not hold two");
    };
    assert!(stored > 10, "{stored}");
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Unavailable, true), "{}", error.report());
    assert!(error.message().contains("max_bytes") && error.to_string().contains("cache.db"), "{error}");
    assert!(fs::metadata(&path).expect("the file").len() <= 1 << 20);
    for number in 0..stored {
        assert_eq!(look(&*store, id(number)).await, Some((large.clone(), true)));
    }
    assert_eq!(look(&*store, id(stored)).await, None, "the step did not happen by halves");
    for number in 0..5 {
        store.remove(&id(number), None).await.expect("to remove makes room");
    }
    compute(&*store, id(stored + 1), &large, &[direct("a")]).await;
    queue.counts().await.expect("counts");
    // A program that opens it without the bound goes on.
    let other = Sqlite::open(&path).await.expect("open").store(&namespace("shop")).expect("a store");
    for number in 1_000..1_060 {
        compute(&*other, id(number), &large, &[]).await;
    }
    assert_eq!(look(&*store, id(1_059)).await, Some((large, true)));
}

#[tokio::test]
async fn damaged_page_is_named_and_the_copy_of_a_backup_works() {
    let (_folder, path) = folder();
    let fill = async |path: &Path| {
        let store = Sqlite::open(path).await.expect("open").store(&namespace("shop")).expect("a store");
        for number in 0..200 {
            compute(&*store, id(number), &format!("value {number} {}", "y".repeat(500)), &[direct(number)]).await;
        }
    };
    fill(&path).await;
    sqlx::raw_sql("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut raw(&path).await).await.expect("all is in the file");
    let sound = fs::read(&path).expect("read");
    let mut damaged = sound.clone();
    // Whole pages, but for the first ones with the tables' names.
    let from = damaged.len() / 3 / 4_096 * 4_096;
    damaged[from..].fill(0xA5);
    fs::write(&path, &damaged).expect("write");
    let store = Sqlite::open(&path).await.map(|sqlite| sqlite.store(&namespace("shop")).expect("a store"));
    let error = match store {
        Err(error) => error,
        Ok(store) => {
            let all: Vec<_> = (0..200).map(id).collect();
            store.lookup(&all).await.expect_err("most of it is gone")
        }
    };
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{}", error.report());
    assert!(error.message().contains("restore") && error.to_string().contains("cache.db"), "{error}");

    let (_other, restored) = folder();
    fs::write(&restored, &sound).expect("the backup");
    let store = Sqlite::open(&restored).await.expect("open").store(&namespace("shop")).expect("a store");
    assert!(look(&*store, id(199)).await.is_some());
}

/// A folder that everybody may walk to, and a file of version 1 of the truth in it.
async fn written() -> (TempDir, std::path::PathBuf) {
    let (folder, path) = folder();
    let store = Sqlite::open(&path).await.expect("open").store(&namespace("shop")).expect("a store");
    compute(&*store, id(1), "one", &[]).await;
    drop(store);
    // The last connection removes its log when it is closed, which is a little later. Of two that are closed at once, none
    // is the last.
    while beside(&path).iter().any(|file| file.exists()) {
        let mut last = raw(&path).await;
        sqlx::raw_sql("SELECT count(*) FROM sqlite_schema").execute(&mut last).await.expect("it opens the log");
        last.close().await.expect("it is closed");
    }
    mode(folder.path(), 0o777);
    (folder, path)
}

/// The files beside a database, which belong to the user that made them.
fn beside(path: &Path) -> [std::path::PathBuf; 2] {
    ["cache.db-wal", "cache.db-shm"].map(|name| path.with_file_name(name))
}

/// Sets the rights of a file and its folder, and removes the files that an earlier process made beside it.
fn rights(path: &Path, file: u32, folder: u32) {
    let parent = path.parent().expect("a folder");
    mode(parent, 0o777);
    for left in beside(path).iter().filter(|file| file.exists()) {
        fs::remove_file(left).expect("it is removed");
    }
    mode(path, file);
    mode(parent, folder);
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("the rights are set");
}

/// The report of a user without the rights of root.
fn opened_by_nobody(path: &Path) -> String {
    report(path, Role::Open, |program| {
        let id = Command::new("id").arg("-u").output().expect("`id` runs");
        if id.stdout.trim_ascii() != b"0" {
            return Command::new(program);
        }
        // The user `nobody` needs access to the program, too.
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program);
        command
    })
}

#[tokio::test]
async fn file_and_folder_without_the_right_to_write_are_named() {
    let (folder, path) = written().await;
    rights(&path, 0o666, 0o777);
    assert_eq!(opened_by_nobody(&path), "opened");
    for (file, of_folder, kind, fix) in [
        (0o444, 0o777, "WrongServer", "writable"),
        (0o666, 0o555, "WrongServer", "writable"),
        (0o000, 0o777, "Unavailable", "permissions"),
    ] {
        rights(&path, file, of_folder);
        let told = opened_by_nobody(&path);
        assert!(
            told.starts_with(kind) && told.contains(fix) && told.contains("cache.db"),
            "{file:o} {of_folder:o}: {told}"
        );
    }
    rights(&path, 0o666, 0o555);
    let told = opened_by_nobody(&folder.path().join("new.db"));
    assert!(told.starts_with("Unavailable") && told.contains("new.db"), "{told}");
    rights(&path, 0o666, 0o777);
    assert_eq!(opened_by_nobody(&path), "opened");
    let store = Sqlite::open(&path).await.expect("open").store(&namespace("shop")).expect("a store");
    assert_eq!(look(&*store, id(1)).await, Some(("one".to_owned(), true)));
}
