//! Runs that end otherwise, or last longer.

use std::time::Duration;

use smache_core::{Abort, EntryId, Token};

use crate::{StoreHarness, steps::*};

fn abort(id: EntryId, token: Token, failure: Option<&str>) -> Abort {
    Abort { id, token, failure: failure.map(str::to_owned), delay: Duration::ZERO }
}

/// Only the run that holds the entry aborts it.
pub async fn abort_needs_the_token(harness: StoreHarness) {
    let store = &**harness.role();
    let run = begin(store, id(1)).await;
    assert!(!store.abort(abort(id(1), Token::random(), None)).await.expect("abort"));
    assert!(!store.abort(abort(id(2), run.token, None)).await.expect("abort"));
    assert!(try_begin(store, id(1), LONG).await.is_err(), "the run still holds the lease");
    assert!(store.abort(abort(id(1), run.token, None)).await.expect("abort"));
    assert!(!store.abort(abort(id(1), run.token, None)).await.expect("abort"), "there is nothing left to give up");
    begin(store, id(1)).await;
    assert!(look(store, id(1)).await.is_none(), "an aborted run stores nothing");
}

/// A failure is noted on the entry and does not change its value; a success forgets it.
pub async fn failure_keeps_the_stored_value(harness: StoreHarness) {
    let store = &**harness.role();
    compute(store, id(1), "good", &[direct("a")]).await;
    for failures in 1..=2 {
        let run = begin(store, id(1)).await;
        assert!(store.abort(abort(id(1), run.token, Some("out of paper"))).await.expect("abort"));
        let seen = see(store, id(1)).await;
        assert_eq!((seen.text(), seen.is_fresh()), ("good", true));
        let record = store.inspect(&id(1)).await.expect("inspect").expect("a record");
        assert_eq!(record.failures, failures);
        let failure = record.last_failure.expect("the last failure");
        assert_eq!(failure.message, "out of paper");
        assert!(failure.at <= seen.now, "a failure of the past");
    }
    let run = begin(store, id(1)).await;
    assert!(store.abort(abort(id(1), run.token, None)).await.expect("abort"));
    let record = store.inspect(&id(1)).await.expect("inspect").expect("a record");
    assert_eq!(record.failures, 2, "a run that was merely given up is no failure");
    compute(store, id(1), "better", &[direct("a")]).await;
    let record = store.inspect(&id(1)).await.expect("inspect").expect("a record");
    assert_eq!((record.failures, record.last_failure), (0, None));
}

/// Beyond the contract: a failure of an entry without a record is noted nowhere, and a long message is cut.
pub async fn failure_is_bounded(harness: StoreHarness) {
    let store = &**harness.role();
    let run = begin(store, id(1)).await;
    assert!(store.abort(abort(id(1), run.token, Some("no record"))).await.expect("abort"));
    assert!(store.inspect(&id(1)).await.expect("inspect").is_none());
    compute(store, id(1), "good", &[]).await;
    let run = begin(store, id(1)).await;
    assert!(store.abort(abort(id(1), run.token, Some(&"ä".repeat(5_000)))).await.expect("abort"));
    let record = store.inspect(&id(1)).await.expect("inspect").expect("a record");
    let message = record.last_failure.expect("the failure").message;
    assert_eq!(message, "ä".repeat(1_000));
}

/// A lease is extended under its own token only, also when it has lapsed and no other run took it.
pub async fn extend_needs_the_token(harness: StoreHarness) {
    let store = &**harness.role();
    let run = begin_for(store, id(1), SHORT).await;
    let other = begin(store, id(2)).await;
    let asked = [(id(1), other.token), (id(2), run.token), (id(3), run.token)];
    assert_eq!(store.extend(&asked, LONG).await.expect("extend"), [false, false, false]);
    harness.advance(PAUSE).await;
    let asked = [(id(2), other.token), (id(1), run.token)];
    assert_eq!(store.extend(&asked, LONG).await.expect("extend"), [true, true]);
    assert!(try_begin(store, id(1), LONG).await.is_err(), "the lease was extended");
    assert_eq!(store.extend(&[], LONG).await.expect("extend"), [] as [bool; 0]);

    let run = begin_for(store, id(4), SHORT).await;
    harness.advance(PAUSE).await;
    begin(store, id(4)).await;
    assert_eq!(store.extend(&[(id(4), run.token)], LONG).await.expect("extend"), [false]);
}
