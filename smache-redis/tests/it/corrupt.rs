//! Keys that hold something else than this crate wrote.

use smache_core::{Backend, Begin, CacheStore, CommitOutcome, EntryId, ErrorKind, Namespace, Token};
use smache_testkit::{random_namespace, servers::shared_redis_url};

use crate::support::{LONG, ask, begin, compute, direct, id, raw, shared};

fn key(namespace: &Namespace, id: &EntryId) -> Vec<u8> {
    [format!("{{{namespace}}}:r:").as_bytes(), id.as_bytes()].concat()
}

async fn corruption(store: &dyn CacheStore, namespace: &Namespace, of: EntryId) {
    let error = store.lookup(&[id(9), of]).await.expect_err("the record cannot be read");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    let name = format!("{{{namespace}}}:r:{of}");
    assert!(error.to_string().contains(&name), "{error}");
    assert_eq!(store.inspect(&of).await.expect_err("the record cannot be read").kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn a_record_of_a_wrong_type_is_named() {
    let namespace = random_namespace();
    let store = shared().await.store(&namespace).expect("a store");
    let mut connection = raw(&shared_redis_url()).await;
    let _: () = ask(&mut connection, &[b"SET", &key(&namespace, &id(1)), b"x"]).await;
    corruption(&*store, &namespace, id(1)).await;
    let begun = store.begin(Begin { id: id(1), token: Token::random(), lease: LONG }).await;
    let error = begun.expect_err("the record cannot be read");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains(&id(1).to_string()), "{error}");
    let _: () = ask(&mut connection, &[b"DEL", &key(&namespace, &id(1))]).await;
}

#[tokio::test]
async fn a_record_with_broken_bookkeeping_is_named_and_replaced_by_the_next_run() {
    let namespace = random_namespace();
    let store = shared().await.store(&namespace).expect("a store");
    let mut connection = raw(&shared_redis_url()).await;
    for (field, broken) in [(&b"h"[..], &b"short"[..]), (b"s", b"9"), (b"u", b"one and a half dependencies")] {
        compute(&*store, id(1), &[direct("a")]).await;
        let _: () = ask(&mut connection, &[b"HSET", &key(&namespace, &id(1)), field, broken]).await;
        if field == b"u" {
            assert_eq!(store.inspect(&id(1)).await.expect_err("broken").kind(), ErrorKind::Corrupt);
        } else {
            corruption(&*store, &namespace, id(1)).await;
        }
        let run = begin(&*store, id(1)).await;
        let outcome = store.commit(run.value("again", &[direct("a")], &[])).await.expect("commit");
        assert!(matches!(outcome, CommitOutcome::Fresh { .. }), "{outcome:?}");
        let record = store.inspect(&id(1)).await.expect("inspect").expect("a record");
        assert_eq!(record.entry.value, "again");
        assert_eq!(record.used, [direct("a")]);
    }
}

#[tokio::test]
async fn broken_epochs_are_named() {
    let namespace = random_namespace();
    let store = shared().await.store(&namespace).expect("a store");
    compute(&*store, id(1), &[]).await;
    let vouch = format!("{{{namespace}}}:v");
    let mut connection = raw(&shared_redis_url()).await;
    let _: () = ask(&mut connection, &[b"HSET", vouch.as_bytes(), b"e", b"short"]).await;
    let error = store.lookup(&[id(1)]).await.expect_err("the epochs cannot be read");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains(&vouch), "{error}");
}
