//! The store of the example: the data that it keeps, and the incarnation after a loss.

use std::{
    fs,
    time::{Duration, Instant},
};

use bytes::Bytes;
use smache_core::{Backend, ErrorKind, Incarnation, Namespace, Smache, SystemClock};
use smache_kv::{Access, KeyValue, KvBackend, Write};

use crate::log_store::{Durability, LogStore};

async fn write(store: &LogStore, key: &'static [u8], value: Option<Vec<u8>>) {
    let started = store.begin(Access::Write).await.expect("begin");
    let write = Write { key: Bytes::from_static(key), value: value.map(Bytes::from) };
    started.transaction.commit(vec![write]).await.expect("commit");
}

async fn read(store: &LogStore, key: &'static [u8]) -> Option<Bytes> {
    let mut started = store.begin(Access::Read).await.expect("begin");
    started.transaction.get(&[Bytes::from_static(key)]).await.expect("get").remove(0)
}

async fn incarnation(store: &LogStore) -> Incarnation {
    store.begin(Access::Read).await.expect("begin").incarnation
}

fn open(path: &std::path::Path, durability: Durability) -> LogStore {
    LogStore::open(path, durability, SystemClock).expect("a file")
}

#[tokio::test]
async fn what_was_committed_is_there_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("log");
    let store = open(&path, Durability::Disk);
    write(&store, b"a", Some(b"one".to_vec())).await;
    write(&store, b"b", Some(b"two".to_vec())).await;
    write(&store, b"a", None).await;
    let before = incarnation(&store).await;
    drop(store);

    let store = open(&path, Durability::Disk);
    assert_eq!((read(&store, b"a").await, read(&store, b"b").await), (None, Some(Bytes::from_static(b"two"))));
    assert_eq!(incarnation(&store).await, before, "nothing was lost");
    drop(store);
    let careless = open(&path, Durability::System);
    assert_ne!(incarnation(&careless).await, before, "the file does not show whether something was");
}

#[tokio::test]
async fn batch_that_is_not_whole_is_not_there_and_the_store_is_another_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("log");
    let store = open(&path, Durability::Disk);
    write(&store, b"a", Some(b"one".to_vec())).await;
    let whole = fs::metadata(&path).expect("a file").len();
    write(&store, b"a", Some(b"two".to_vec())).await;
    let mut before = incarnation(&store).await;
    drop(store);
    let good = fs::read(&path).expect("a file");

    for end in [whole as usize + 1, whole as usize + 20, good.len() - 1] {
        fs::write(&path, &good[..end]).expect("a file");
        let store = open(&path, Durability::Disk);
        assert_eq!(read(&store, b"a").await, Some(Bytes::from_static(b"one")), "cut at {end}");
        assert_ne!(incarnation(&store).await, before);
        before = incarnation(&store).await;
        write(&store, b"a", Some(b"three".to_vec())).await;
        drop(store);
        let store = open(&path, Durability::Disk);
        assert_eq!(read(&store, b"a").await, Some(Bytes::from_static(b"three")), "what came after the cut");
        assert_eq!(incarnation(&store).await, before);
    }

    let mut spoilt = good.clone();
    *spoilt.last_mut().expect("not empty") ^= 1;
    fs::write(&path, &spoilt).expect("a file");
    assert_eq!(read(&open(&path, Durability::Disk), b"a").await, Some(Bytes::from_static(b"one")));
}

#[tokio::test]
async fn file_is_rewritten_when_most_of_it_is_of_the_past() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("log");
    let store = open(&path, Durability::System);
    for round in 0..40_u8 {
        write(&store, b"a", Some(vec![round; 100_000])).await;
    }
    write(&store, b"b", Some(b"last".to_vec())).await;
    assert!(fs::metadata(&path).expect("a file").len() < 2_000_000, "forty times 100,000 bytes were written");
    drop(store);
    let store = open(&path, Durability::Disk);
    assert_eq!(read(&store, b"a").await, Some(Bytes::from(vec![39; 100_000])));
    assert_eq!(read(&store, b"b").await, Some(Bytes::from_static(b"last")));
}

#[test]
fn file_of_something_else_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("notes.txt");
    for foreign in [&b"x"[..], b"smachlob", b"a file of another program\n"] {
        fs::write(&path, foreign).expect("a file");
        let error = LogStore::open(&path, Durability::Disk, SystemClock).expect_err("not a log");
        assert_eq!(error.kind(), ErrorKind::WrongServer);
        let text = error.to_string();
        assert!(text.contains(&path.display().to_string()) && text.contains("use another path"), "{text}");
        assert_eq!(fs::read(&path).expect("the file"), foreign);
    }
}

#[tokio::test]
async fn empty_file_and_the_beginning_of_one_become_a_log() {
    let folder = tempfile::tempdir().expect("a folder");
    for begun in 0..=8 {
        let path = folder.path().join(begun.to_string());
        fs::write(&path, &b"smachlog"[..begun]).expect("a file");
        let before = incarnation(&open(&path, Durability::Disk)).await;
        assert!(fs::read(&path).expect("the file").starts_with(b"smachlog"));
        assert_eq!(incarnation(&open(&path, Durability::Disk)).await, before, "cut at {begun}");
    }
}

#[test]
fn second_opening_is_refused_at_once_and_names_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("log");
    let first = open(&path, Durability::Disk);
    let error = LogStore::open(&path, Durability::Disk, SystemClock).expect_err("it is open");
    assert!(error.kind() == ErrorKind::Unavailable && error.is_transient(), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(&path.display().to_string()) && text.contains("stop the other process"), "{text}");
    drop(first);
    open(&path, Durability::Disk);
}

#[tokio::test]
async fn doctor_names_the_file_and_what_a_crash_takes() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("log");
    for (durability, findings) in [(Durability::Disk, 0), (Durability::System, 1)] {
        let (store, queue) = KvBackend::new(open(&path, durability))
            .both(&Namespace::new("shop").expect("a good name"))
            .expect("it has both");
        for said in [store.examine().await, queue.examine().await] {
            let said = said.expect("examine");
            assert_eq!((said.what, said.findings.len()), (format!("the log file `{}`", path.display()), findings));
        }
    }
}

/// The store goes on with a step whose future is dropped: a system that ends waits for its steps.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_file_of_a_system_that_has_ended_can_be_opened_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("log");
    for round in 0..300_u64 {
        let backend = KvBackend::new(open(&path, Durability::Disk));
        let smache = Smache::builder("shop").backend(backend).build().await.expect("a system");
        // The first round of maintenance begins with the system.
        let until = Instant::now() + Duration::from_micros(round * 3);
        while Instant::now() < until {
            tokio::task::yield_now().await;
        }
        smache.shutdown().await;
        drop(smache);
    }
}
