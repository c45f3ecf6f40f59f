//! Steps of others between two commands of a step.

use std::{
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};

use mongodb::bson::{Binary, Bson, Document, doc, spec::BinarySubtype};
use smache_core::{Backend, CommitOutcome, Invalidation, SourceValidity};
use tokio::{runtime::Handle, sync::Notify, time::Instant};

use super::support::{Own, begin, change, compute, direct, fresh, id, lead, look, namespace, users};

/// Runs a future where nothing can be awaited, on a runtime of several threads.
fn meanwhile<T>(doing: impl Future<Output = T>) -> T {
    tokio::task::block_in_place(|| Handle::current().block_on(doing))
}

/// Whether a command updates documents of a collection with an update that contains a word.
fn updates(name: &str, command: &Document, collection: &str, word: &str) -> bool {
    name == "update" && command.get_str("update") == Ok(collection) && command.to_string().contains(word)
}

#[tokio::test(flavor = "multi_thread")]
async fn walk_over_old_epochs_moves_on_while_a_feed_saves_its_progress() {
    let own = Own::new().await;
    let plain = own.mongo.store(&namespace("shop")).expect("a store");
    let leader = lead(&*plain).await;
    for number in 0..12 {
        compute(&*plain, id(number), "one", &[]).await;
    }
    while plain.maintain(100).await.expect("maintain").more {}
    plain.new_epoch().await.expect("new epoch");
    let step = leader.step(&*plain, 2).await;
    let saved = Arc::new(Mutex::new(0));
    let saves = plain.clone();
    let count = saved.clone();
    let mongo = own
        .told(move |name, command| {
            if updates(name, command, "smache_state", "sweep") {
                let progress = Invalidation { step: Some(step.clone()), ..Invalidation::default() };
                meanwhile(saves.invalidate(progress)).expect("invalidate");
                *count.lock().expect("no holder panics") += 1;
            }
        })
        .await;
    let store = mongo.store(&namespace("shop")).expect("a store");
    let mut marked = 0;
    let mut jobs = Vec::new();
    let mut rounds = 0;
    loop {
        let maintained = store.maintain(4).await.expect("maintain");
        marked += maintained.marked;
        jobs.extend(maintained.jobs);
        rounds += 1;
        if !maintained.more {
            break;
        }
        assert!(rounds < 10, "the walk comes to no end");
    }
    jobs.sort();
    assert_eq!((marked, jobs), (12, (0..12).map(id).collect()), "each is marked once");
    assert_eq!(*saved.lock().expect("no holder panics"), rounds, "the feed saved in between");
}

#[tokio::test(flavor = "multi_thread")]
async fn walk_that_starts_again_meanwhile_begins_at_the_beginning() {
    let own = Own::new().await;
    let plain = own.mongo.store(&namespace("shop")).expect("a store");
    for number in 0..4 {
        compute(&*plain, id(number), "one", &[]).await;
    }
    plain.new_epoch().await.expect("new epoch");
    let once = Mutex::new(true);
    let restarts = plain.clone();
    let mongo = own
        .told(move |name, command| {
            if updates(name, command, "smache_state", "sweep") && std::mem::take(&mut *once.lock().expect("once")) {
                meanwhile(restarts.new_epoch()).expect("new epoch");
            }
        })
        .await;
    let store = mongo.store(&namespace("shop")).expect("a store");
    let mut marked = Vec::new();
    while {
        let maintained = store.maintain(2).await.expect("maintain");
        marked.push(maintained.marked);
        maintained.more
    } {}
    assert_eq!(marked, [2, 2, 2, 0], "the first page once more");
}

/// A commit is checked, then an epoch begins, and maintenance has looked at the entry when the value takes its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn value_that_takes_its_place_while_the_walk_passes_is_marked() {
    let own = Own::new().await;
    let plain = own.mongo.store(&namespace("shop")).expect("a store");
    while plain.maintain(100).await.expect("maintain").more {}
    let (checked, is_checked) = mpsc::channel();
    let (go, may_go) = mpsc::channel::<()>();
    let may_go = Mutex::new(may_go);
    let commits = own
        .told(move |name, command| {
            if name == "update" && command.to_string().contains("next.affected\": null") {
                checked.send(()).expect("the test listens");
                tokio::task::block_in_place(|| may_go.lock().expect("one commit").recv()).expect("a word of the test");
            }
        })
        .await;
    let commits = commits.store(&namespace("shop")).expect("a store");
    let run = begin(&*commits, id(1)).await;
    let value = run.value("new", &[]);
    let committing = tokio::spawn(async move { commits.commit(value).await });
    tokio::task::block_in_place(|| is_checked.recv()).expect("the commit is checked");
    plain.new_epoch().await.expect("new epoch");

    let committing = Mutex::new(Some((go, committing)));
    let mongo = own
        .told(move |name, command| {
            if !updates(name, command, "smache_entries", "epochs") {
                return;
            }
            if let Some((go, committing)) = committing.lock().expect("once").take() {
                go.send(()).expect("the commit waits");
                let stored = meanwhile(committing).expect("the task").expect("commit");
                assert!(matches!(stored, CommitOutcome::Fresh { .. }), "{stored:?}");
            }
        })
        .await;
    let store = mongo.store(&namespace("shop")).expect("a store");
    let maintained = store.maintain(100).await.expect("maintain");
    assert_eq!(own.only_entry().await.get_i64("stale"), Ok(2));
    assert_eq!(maintained.jobs, [id(1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn lease_of_a_feed_counts_from_the_beginning_of_its_step() {
    let own = Own::new().await;
    let plain = own.mongo.store(&namespace("shop")).expect("a store");
    let leader = lead(&*plain).await;
    compute(&*plain, id(1), "one", &[direct("a")]).await;
    let times = plain.clone();
    let time = Arc::new(Mutex::new(None));
    let noted = time.clone();
    let mongo = own
        .told(move |name, command| {
            if updates(name, command, "smache_entries", "causes") {
                let now = || meanwhile(times.lookup(&[])).expect("lookup").now;
                let before = now();
                while now() < before.after(Duration::from_millis(50)) {}
                *noted.lock().expect("no holder panics") = Some(before);
            }
        })
        .await;
    let store = mongo.store(&namespace("shop")).expect("a store");
    let step = leader.step(&*plain, 2).await;
    let lasts = step.valid_for.expect("a lease");
    store.invalidate(Invalidation { step: Some(step), ..change("a") }).await.expect("invalidate");
    let before = time.lock().expect("no holder panics").take().expect("a page was marked");
    let lease = plain.lookup(&[]).await.expect("lookup").validity.sources[&users()].valid_until.expect("a lease");
    assert!(lease <= before.after(lasts), "{lease:?} {before:?}");
}

/// A step that its caller has dropped still goes on to its end.
#[tokio::test(flavor = "multi_thread")]
async fn earlier_step_does_not_confirm_a_source_that_began_again() {
    let own = Own::new().await;
    let plain = own.mongo.store(&namespace("shop")).expect("a store");
    let leader = lead(&*plain).await;
    compute(&*plain, id(1), "one", &[direct("a")]).await;
    let step = leader.step(&*plain, 2).await;
    let again = leader.step(&*plain, 5).await;
    let restarts = plain.clone();
    let mongo = own
        .told(move |name, command| {
            if updates(name, command, "smache_entries", "causes") {
                meanwhile(restarts.restart(again.clone())).expect("restart");
            }
        })
        .await;
    let store = mongo.store(&namespace("shop")).expect("a store");
    store.invalidate(Invalidation { step: Some(step), ..change("a") }).await.expect("invalidate");
    let validity = plain.lookup(&[]).await.expect("lookup").validity.sources[&users()].clone();
    assert_eq!(validity, SourceValidity::behind(validity.epoch));
    let mut next = leader.step(&*plain, 5).await;
    next.valid_for = None;
    plain.invalidate(Invalidation { step: Some(next), ..Invalidation::default() }).await.expect("invalidate");
    assert!(
        plain.lookup(&[]).await.expect("lookup").validity.sources[&users()].caught_up_on.is_some(),
        "its own step does"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn call_that_is_given_up_leaves_no_dropped_database_without_indexes() {
    let own = Own::new().await;
    let making = Arc::new(Notify::new());
    let told = making.clone();
    let mongo = own
        .told(move |name, _| {
            if name == "createIndexes" {
                told.notify_one();
            }
        })
        .await;
    let store = mongo.store(&namespace("shop")).expect("a store");
    store.lookup(&[id(1)]).await.expect("lookup");
    own.database.drop().await.expect("a drop");
    // The notification of the connection.
    let _ = tokio::time::timeout(Duration::ZERO, making.notified()).await;
    let ids = [id(1)];
    tokio::select! {
        biased;
        () = making.notified() => {}
        looked = store.lookup(&ids) => panic!("indexes are made: {:?}", looked.map(|looked| looked.entries)),
    }
    let deadline = Instant::now() + Duration::from_secs(30);
    let has = async |collection: &str, index: &str| {
        own.raw(collection).list_index_names().await.is_ok_and(|names| names.iter().any(|name| name == index))
    };
    while !(has("smache_entries", "smache_purge").await && has("smache_state", "smache_revisions").await) {
        assert!(Instant::now() < deadline, "the indexes are made");
    }
}

/// An author that is only late renews its change while maintenance is about to redo it.
#[tokio::test(flavor = "multi_thread")]
async fn change_that_its_author_renews_is_left_to_it() {
    let own = Own::new().await;
    let plain = own.mongo.store(&namespace("shop")).expect("a store");
    compute(&*plain, id(1), "one", &[direct("a")]).await;
    let state = own.raw("smache_state");
    let entry = own.only_entry().await;
    let bytes = |edge: &Bson| match edge {
        Bson::Binary(edge) => edge.bytes.clone(),
        edge => panic!("{edge}"),
    };
    let edge = bytes(&entry.get_array("deps").expect("edges")[0]);
    let generic = |bytes: &[u8]| Binary { subtype: BinarySubtype::Generic, bytes: bytes.to_vec() };
    let written = doc! {
        "_id": generic(&[&edge[..8], &[7; 16]].concat()), "n": entry.get_i64("n").expect("a number"), "k": i64::MAX,
        "until": 1_i64, "deps": [generic(&edge[..24])], "ids": [],
    };
    state.insert_one(written).await.expect("an insert");
    let renewed = Arc::new(AtomicBool::new(false));
    let mongo = own
        .told({
            let renewed = renewed.clone();
            move |name, command| {
                if updates(name, command, "smache_state", "until") && !renewed.swap(true, Ordering::SeqCst) {
                    let later = doc! { "$set": { "until": i64::MAX } };
                    meanwhile(async { state.update_one(doc! { "k": i64::MAX }, later).await }).expect("an update");
                }
            }
        })
        .await;
    let maintenance = mongo.store(&namespace("shop")).expect("a store");
    maintenance.maintain(100).await.expect("maintain");
    assert!(renewed.load(Ordering::SeqCst), "maintenance was about to take it over");
    assert_eq!(look(&*plain, id(1)).await, fresh("one"), "its author marks it");
    assert!(begin(&*plain, id(1)).await.begun.pending, "and ends it");
}
