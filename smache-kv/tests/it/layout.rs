//! A namespace in the layout of another release stays unchanged, and can be removed.

use std::{sync::Arc, time::Duration};

use smache_core::{Backend, CacheStore, ErrorKind, Lane, ManualClock, Namespace, NewJob, Reserve, Result};
use smache_kv::KvBackend;

use crate::{
    steps::{both, change, compute, id, is_fresh},
    tree::{Conflicts, Tree},
};

/// The key of the layout of the namespace `shop`, and the one of this release.
const KEY: &[u8] = b"\x04shopl";
const PRESENT: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 2];

fn tree() -> Tree {
    Tree::new(ManualClock::default(), Conflicts::Never)
}

fn shop() -> Namespace {
    Namespace::new("shop").expect("a good name")
}

/// The first step of every kind in a namespace.
async fn firsts(tree: &Tree) -> Vec<Result<()>> {
    let alone = || KvBackend::new(tree.clone());
    let store = || alone().store(&shop()).expect("a store");
    let queue = || alone().queue(&shop()).expect("a queue");
    let lease = Duration::from_secs(1);
    vec![
        store().lookup(&[id(1)]).await.map(drop),
        store().attach(&[]).await,
        store().invalidate(change("a")).await.map(drop),
        store().maintain(10).await.map(drop),
        both(tree).0.stats().await.map(drop),
        both(tree).1.counts().await.map(drop),
        queue().enqueue(&[NewJob::now(id(1), Lane::Recompute)]).await.map(drop),
        queue().reserve(Reserve::new(Lane::Recompute, 1, lease)).await.map(drop),
        queue().wait(lease).await,
    ]
}

#[tokio::test]
async fn namespace_of_another_layout_is_refused_with_the_fix_and_left_as_it_is() {
    let older = "is of layout 1";
    let newer = "is of layout 3";
    let empty = "empty it with `KvBackend::clear`";
    let unreadable = "is of a layout that cannot be read";
    for (found, what, fix) in [
        (&[0, 0, 0, 0, 0, 0, 0, 1][..], older, empty),
        (&[0, 0, 0, 0, 0, 0, 0, 3], newer, "upgrade this program"),
        (b"", unreadable, empty),
        (b"\0\0\0\0\0\0\0\x02\x01", unreadable, empty),
    ] {
        let tree = tree();
        tree.set(KEY, found);
        for first in firsts(&tree).await {
            let error = first.expect_err("of another layout");
            assert_eq!(error.kind(), ErrorKind::WrongServer, "{error}");
            let text = error.to_string();
            assert!(text.contains("`shop`") && text.contains(what) && text.contains(fix), "{text}");
        }
        assert_eq!((tree.len(), tree.value(KEY).as_deref()), (1, Some(found)), "nothing was written");
        let other =
            KvBackend::new(tree.clone()).store(&Namespace::new("shops").expect("a good name")).expect("a store");
        assert!(is_fresh(&compute(&*other, id(1), "a").await), "another namespace is another one");
    }
}

#[tokio::test]
async fn layout_comes_with_the_first_write_and_is_read_once_an_incarnation() {
    let tree = tree();
    let (store, queue) = both(&tree);
    store.lookup(&[id(1)]).await.expect("look-up");
    store.maintain(10).await.expect("maintain");
    assert_eq!(tree.len(), 0, "who writes nothing leaves nothing");
    queue.enqueue(&[NewJob::now(id(1), Lane::Recompute)]).await.expect("enqueue");
    assert_eq!(tree.value(KEY).as_deref(), Some(PRESENT));

    let reads = async |store: &Arc<dyn CacheStore>| {
        let before = tree.used();
        store.lookup(&[id(1)]).await.expect("look-up");
        (tree.used().0 - before.0, tree.used().1 - before.1)
    };
    assert_eq!(reads(&store).await, (1, 0), "its writer knows it");
    let (another, _) = both(&tree);
    assert_eq!(reads(&another).await, (1, 0), "with the first keys of the first step");
    assert_eq!(reads(&another).await, (1, 0));

    tree.become_another();
    assert_eq!(reads(&another).await, (1, 1), "another incarnation may be an older one");
    assert_eq!(reads(&another).await, (1, 0));
    tree.become_another();
    tree.set(KEY, &[0; 8]);
    assert_eq!(another.lookup(&[id(1)]).await.expect_err("restored").kind(), ErrorKind::WrongServer);
}

#[tokio::test]
async fn cleared_namespace_begins_again_and_others_are_left() {
    let tree = tree();
    let backend = KvBackend::builder(tree.clone()).page(2).build();
    let neighbours = ["sho", "shop-1", "shoq"].map(|name| Namespace::new(name).expect("a good name"));
    for namespace in &neighbours {
        compute(&*backend.store(namespace).expect("a store"), id(1), "a").await;
    }
    let of_others = tree.len();
    let (store, queue) = backend.both(&shop()).expect("it has both");
    let alone = backend.queue(&shop()).expect("it has queues");
    for round in 0..2 {
        for number in 1..=5 {
            assert!(is_fresh(&compute(&*store, id(number), "a").await), "round {round}");
        }
        store.invalidate(change("a")).await.expect("invalidate");
        alone.enqueue(&[NewJob::now(id(1), Lane::Recompute)]).await.expect("enqueue");
        assert_eq!(tree.value(KEY).as_deref(), Some(PRESENT), "round {round}");
        backend.clear(&shop()).await.expect("clear");
        assert_eq!(tree.len(), of_others);
        assert_eq!(
            (queue.counts().await.expect("counts").recompute, store.stats().await.expect("stats").revision),
            (0, 0)
        );
    }
    tree.set(KEY, b"damaged");
    tree.set(b"\x04shop~of another release", b"");
    backend.clear(&shop()).await.expect("clear");
    assert_eq!(tree.len(), of_others);
}

#[tokio::test]
async fn half_a_cleared_namespace_has_its_layout_and_nothing_fresh() {
    let tree = tree();
    let backend = KvBackend::builder(tree.clone()).page(2).build();
    let (store, queue) = backend.both(&shop()).expect("it has both");
    for number in 1..=5 {
        assert!(is_fresh(&compute(&*store, id(number), "a").await));
    }
    queue.enqueue(&[NewJob::now(id(1), Lane::Recompute)]).await.expect("enqueue");
    backend.queue(&shop()).expect("a queue").enqueue(&[NewJob::now(id(1), Lane::Recompute)]).await.expect("enqueue");
    let mut cut = 0;
    loop {
        tree.fail_after(Some(1));
        let done = backend.clear(&shop()).await;
        tree.fail_after(None);
        assert_eq!(tree.value(KEY).is_some(), tree.len() > 0, "the layout goes last");
        if tree.len() == 0 {
            break;
        }
        assert_eq!(done.expect_err("cut off").kind(), ErrorKind::Unavailable);
        let seen = store.lookup(&[1, 2, 3, 4, 5].map(id)).await.expect("look-up");
        assert!(seen.entries.iter().flatten().all(|entry| !seen.validity.has_epochs(&entry.epochs)));
        cut += 1;
    }
    assert!(cut > 5, "in many steps");
    store.attach(&[]).await.expect("attach");
    assert_eq!(tree.value(KEY).as_deref(), Some(PRESENT));
}
