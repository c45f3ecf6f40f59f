//! Leaders of feeds and their progress.

use smache_core::{ErrorKind, FeedStep, Incarnation, Invalidation, Leadership, Token};

use crate::{StoreHarness, steps::*};

/// The position is saved with the invalidation: not when that is refused, and never backwards.
pub async fn position_is_saved_with_the_invalidation(harness: StoreHarness) {
    let store = &**harness.role();
    assert_eq!(saved(store, "users").await, None);
    let leader = confirming(store, "feed", &["users", "orders"]).await;
    compute(store, id(1), "one", &[direct("a")]).await;
    assert_eq!(saved(store, "users").await, Some(position(1)));

    let step = Some(leader.step(store, &["users"], 7).await);
    let invalidated = store.invalidate(Invalidation { step, ..changes_of(&["a"]) }).await.expect("invalidate");
    assert_eq!((invalidated.marked, saved(store, "users").await), (1, Some(position(7))));
    assert_eq!(saved(store, "orders").await, Some(position(1)), "only the sources of the step move");
    save(store, leader.step(store, &["users"], 5).await).await;
    assert_eq!(saved(store, "users").await, Some(position(7)), "a position never goes back");
    save(store, leader.step(store, &["users", "orders"], 9).await).await;
    let both = store.positions(&[source("orders"), source("absent"), source("users")]).await.expect("positions");
    assert_eq!(both.positions, [Some(position(9)), None, Some(position(9))]);

    compute(store, id(1), "two", &[direct("a")]).await;
    let elsewhere =
        FeedStep { incarnation: Incarnation::new("another incarnation"), ..leader.step(store, &["users"], 20).await };
    let refused = store.invalidate(Invalidation { step: Some(elsewhere), ..changes_of(&["a"]) }).await;
    assert_eq!(refused.expect_err("another incarnation").kind(), ErrorKind::IncarnationChanged);
    assert_eq!((saved(store, "users").await, is_fresh(store, id(1)).await), (Some(position(9)), true));
}

/// A replaced leader saves nothing and invalidates nothing, and the answer says that it is no leader.
pub async fn older_leader_is_fenced(harness: StoreHarness) {
    let store = &**harness.role();
    let old = lead(store, "feed", SHORT).await;
    store.restart(FeedStep { leadership: SHORT, ..old.step(store, &["users"], 1).await }).await.expect("restart");
    compute(store, id(1), "one", &[direct("a")]).await;
    let step = old.step(store, &["users"], 5).await;
    harness.advance(PAUSE).await;
    let new = lead(store, "feed", LONG).await;

    let refused = store.invalidate(Invalidation { step: Some(step.clone()), ..changes_of(&["a"]) }).await;
    assert_eq!(refused.expect_err("an old fence").kind(), ErrorKind::Fenced);
    assert_eq!(store.restart(step).await.expect_err("an old fence").kind(), ErrorKind::Fenced);
    assert_eq!((saved(store, "users").await, is_fresh(store, id(1)).await), (Some(position(1)), true));
    store.resign(&old.feed, old.fence).await.expect("resign");
    let follower = store.lead(&new.feed, Token::random(), LONG).await.expect("lead");
    assert!(matches!(follower, Leadership::Follower { .. }), "an old leader resigned for the new one");

    save(store, new.step(store, &["users"], 6).await).await;
    assert_eq!(saved(store, "users").await, Some(position(6)));
    let unled = FeedStep { feed: feed("nobody-leads"), ..new.step(store, &["users"], 7).await };
    let refused = store.invalidate(Invalidation { step: Some(unled), ..Invalidation::default() }).await;
    assert_eq!(refused.expect_err("a feed without a leader").kind(), ErrorKind::Fenced);
}

/// One process leads while its lease holds; the others learn when to ask again. A leader that resigns is followed at
/// once.
pub async fn one_leader_at_a_time(harness: StoreHarness) {
    let store = harness.role();
    let contenders = all((0..16).map(|_| {
        let store = std::sync::Arc::clone(store);
        async move { store.lead(&feed("feed"), Token::random(), LONG).await.expect("lead") }
    }))
    .await;
    let mut fences = Vec::new();
    for contender in contenders {
        match contender {
            Leadership::Leader { fence } => fences.push(fence),
            Leadership::Follower { retry_after } => {
                // Steps of one moment may be done in another order than they began in.
                let most = LONG + LONG / 60;
                assert!(retry_after <= most && !retry_after.is_zero(), "{retry_after:?}");
            }
        }
    }
    assert_eq!(fences.len(), 1, "one of all leads");
    lead(&**store, "another-feed", LONG).await;
    store.resign(&feed("feed"), fences[0]).await.expect("resign");
    lead(&**store, "feed", SHORT).await;
    harness.advance(PAUSE).await;
    lead(&**store, "feed", SHORT).await;
}

/// A new leader has a higher fence than all before; a leader that renews keeps its own.
pub async fn fence_grows_with_every_leader(harness: StoreHarness) {
    let store = &**harness.role();
    let one = Token::random();
    let two = Token::random();
    let mut last = 0;
    for holder in [one, two, one] {
        let Leadership::Leader { fence } = store.lead(&feed("feed"), holder, LONG).await.expect("lead") else {
            panic!("no process leads the feed");
        };
        assert!(fence > last, "the fence {fence} comes after {last}");
        let renewed = store.lead(&feed("feed"), holder, SHORT).await.expect("lead");
        assert_eq!(renewed, Leadership::Leader { fence });
        last = fence;
        harness.advance(PAUSE).await;
    }
}

/// Beyond the contract: every step renews the leadership.
pub async fn step_renews_the_leadership(harness: StoreHarness) {
    let store = &**harness.role();
    let leader = lead(store, "feed", LONG).await;
    store.restart(leader.step(store, &["users"], 1).await).await.expect("restart");
    save(store, FeedStep { leadership: SHORT, ..leader.step(store, &["users"], 2).await }).await;
    save(store, FeedStep { leadership: LONG, ..leader.step(store, &["users"], 2).await }).await;
    harness.advance(PAUSE).await;
    let other = store.lead(&feed("feed"), Token::random(), LONG).await.expect("lead");
    assert!(matches!(other, Leadership::Follower { .. }), "{other:?}");
    save(store, FeedStep { leadership: SHORT, ..leader.step(store, &["users"], 3).await }).await;
    harness.advance(PAUSE).await;
    lead(store, "feed", LONG).await;
}
