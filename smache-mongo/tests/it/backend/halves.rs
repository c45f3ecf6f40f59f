//! Steps that a crash has left half done, and steps of others between two commands of one.

use std::time::Duration;

use mongodb::bson::{Binary, Bson, DateTime, Document, doc, spec::BinarySubtype};
use smache_core::{
    Backend, CommitOutcome, Dependency, FeedId, FeedStep, Invalidation, InvalidationAttempt, Lane, Reserve, Token,
};

use super::support::{
    LONG, Own, PAUSE, SHORT, begin, begin_for, change, compute, direct, fresh, id, lead, look, namespace, stale,
};

fn binary(bytes: &[u8]) -> Bson {
    Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes: bytes.to_vec() })
}

/// The bytes of the first edge of a document.
fn edge(entry: &Document) -> Vec<u8> {
    match &entry.get_array("deps").expect("edges")[0] {
        Bson::Binary(edge) => edge.bytes.clone(),
        edge => panic!("{edge}"),
    }
}

/// Where the hash of a dependency is in an edge.
const HASH: std::ops::Range<usize> = 8..24;

/// The effect of the first command of a commit: the value `half` of the tag `name` lies beside the stored one.
async fn put_beside(own: &Own, name: &str) {
    let entry = own.only_entry().await;
    let mut other = edge(&entry);
    other[HASH].copy_from_slice(Dependency::tag(name).as_bytes());
    let was = entry.get_array("deps").expect("edges").clone();
    let next = doc! {
        "by": binary(&[1]), "value": binary(b"half"), "meta": binary(&[]), "call": binary(&[]),
        "epochs": entry.get("epochs").expect("epochs"), "deps": [binary(&other)], "was": &was,
    };
    let update = doc! { "$set": { "next": next, "deps": [was[0].clone(), binary(&other)] } };
    own.raw("smache_entries").update_one(doc! { "_id": entry.get("_id") }, update).await.expect("an update");
}

/// The effect of the first command of an invalidation: an announced change whose deadline is over.
async fn announce(own: &Own) {
    announce_as(own, Token::random().as_bytes()).await;
}

async fn announce_as(own: &Own, name: &[u8]) {
    let entry = own.only_entry().await;
    let edge = edge(&entry);
    let late = DateTime::now().timestamp_millis() - 60_000;
    let nonce = [&edge[..8], name].concat();
    let change = doc! {
        "_id": binary(&nonce), "n": entry.get_i64("n").expect("a number"), "k": i64::MAX, "until": late,
        "deps": [binary(&edge[..24])], "ids": [],
    };
    own.raw("smache_state").insert_one(change).await.expect("an insert");
}

#[tokio::test]
async fn value_whose_commit_crashed_half_way_was_never_stored() {
    let own = Own::new().await;
    let store = own.mongo.store(&namespace("shop")).expect("a store");
    compute(&*store, id(1), "old", &[direct("a")]).await;
    let run = begin_for(&*store, id(1), SHORT).await;
    put_beside(&own, "b").await;
    assert_eq!(look(&*store, id(1)).await, fresh("old"), "readers see nothing of it");
    let record = store.inspect(&id(1)).await.expect("inspect").expect("a record");
    assert_eq!(record.used, [direct("a")]);

    tokio::time::sleep(PAUSE).await;
    let next = begin(&*store, id(1)).await;
    assert_eq!(next.begun.entry.as_ref().map(|entry| &entry.value[..]), Some(&b"old"[..]));
    assert_eq!(store.invalidate(change("b")).await.expect("invalidate").marked, 0, "its edges are gone");
    assert_eq!(look(&*store, id(1)).await, fresh("old"));
    assert_eq!(store.commit(run.value("zombie", &[])).await.expect("commit"), CommitOutcome::Lost);
    let stored = store.commit(next.value("new", &[direct("b")])).await.expect("commit");
    assert!(matches!(stored, CommitOutcome::Conflicted { .. }), "{stored:?}");
    assert_eq!(look(&*store, id(1)).await, stale("new"));
}

#[tokio::test]
async fn commit_that_crashed_half_way_is_done_again_with_the_same_token() {
    let own = Own::new().await;
    let store = own.mongo.store(&namespace("shop")).expect("a store");
    compute(&*store, id(1), "old", &[direct("a")]).await;
    let run = begin(&*store, id(1)).await;
    put_beside(&own, "b").await;
    let stored = store.commit(run.value("new", &[direct("c")])).await.expect("commit");
    assert!(matches!(stored, CommitOutcome::Fresh { .. }), "{stored:?}");
    assert_eq!(look(&*store, id(1)).await, fresh("new"));
    let marked = async |name| store.invalidate(change(name)).await.expect("invalidate").marked;
    assert_eq!((marked("a").await, marked("b").await, marked("c").await), (0, 0, 1));
}

/// Between the first and the last command of a commit: an invalidation notes on the value beside how stale it is.
#[tokio::test]
async fn change_between_the_commands_of_a_commit_is_noted_on_what_lies_beside() {
    let own = Own::new().await;
    let store = own.mongo.store(&namespace("shop")).expect("a store");
    compute(&*store, id(1), "old", &[direct("a")]).await;
    let _run = begin(&*store, id(1)).await;
    put_beside(&own, "b").await;
    store.invalidate(change("b")).await.expect("invalidate");
    let next = own.only_entry().await.get_document("next").expect("it lies beside").clone();
    assert_eq!(next.get_i64("affected"), Ok(2));
    assert_eq!(next.get_array("causes").expect("causes"), &[Bson::from("$b changed")]);
}

/// A commit is checked and its caller is gone, then the entry is affected, and then the commit is repeated: neither of
/// the two may call the value fresh.
#[tokio::test]
async fn what_was_noted_on_the_first_of_two_equal_commits_counts_for_both() {
    let own = Own::new().await;
    let store = own.mongo.store(&namespace("shop")).expect("a store");
    compute(&*store, id(1), "old", &[direct("a")]).await;
    let run = begin(&*store, id(1)).await;
    put_beside(&own, "b").await;
    let name = [&run.token.as_bytes()[..], &run.begun.start_revision.to_be_bytes(), &[0]].concat();
    let noted = doc! { "$set": { "next.by": binary(&name), "next.affected": 2_i64 } };
    own.raw("smache_entries").update_one(doc! {}, noted).await.expect("an update");
    let stored = store.commit(run.value("new", &[direct("b")])).await.expect("commit");
    assert!(matches!(stored, CommitOutcome::Conflicted { .. }), "{stored:?}");
    assert_eq!(look(&*store, id(1)).await, stale("new"));
}

#[tokio::test]
async fn value_beside_is_noticed_by_a_new_epoch() {
    let own = Own::new().await;
    let store = own.mongo.store(&namespace("shop")).expect("a store");
    compute(&*store, id(1), "old", &[direct("a")]).await;
    let _run = begin(&*store, id(1)).await;
    put_beside(&own, "b").await;
    store.new_epoch().await.expect("new epoch");
    while store.maintain(100).await.expect("maintain").more {}
    let next = own.only_entry().await.get_document("next").expect("it lies beside").clone();
    assert_eq!(next.get_i64("affected"), Ok(2));
}

#[tokio::test]
async fn maintenance_finishes_an_invalidation_whose_author_died() {
    let own = Own::new().await;
    let (store, queue) = own.mongo.both(&namespace("shop")).expect("both");
    compute(&*store, id(1), "one", &[direct("a")]).await;
    announce(&own).await;
    let run = begin(&*store, id(1)).await;
    assert!(run.begun.pending, "a run learns of it");
    let stored = store.commit(run.value("hasty", &[direct("a")])).await.expect("commit");
    let CommitOutcome::Conflicted { dependencies, .. } = stored else { panic!("{stored:?}") };
    assert_eq!(dependencies, [Dependency::tag("a")], "nothing that it changed is fresh while it is not over");

    assert_eq!(store.maintain(100).await.expect("maintain").redone, 1);
    assert_eq!(look(&*store, id(1)).await, stale("hasty"));
    assert_eq!(queue.counts().await.expect("counts").recompute, 1);
    assert_eq!(store.maintain(100).await.expect("maintain").redone, 0, "once is enough");
    compute(&*store, id(1), "two", &[direct("a")]).await;
    assert_eq!(look(&*store, id(1)).await, fresh("two"));
}

/// The next attempt of a leader ends the changes that the one before announced, and no others.
#[tokio::test]
async fn next_try_of_a_feed_ends_what_the_one_before_announced() {
    let own = Own::new().await;
    let store = own.mongo.store(&namespace("shop")).expect("a store");
    compute(&*store, id(1), "one", &[direct("a")]).await;
    let step = lead(&*store).await.step(&*store, 2).await;
    let others = FeedStep { feed: FeedId::new("another").expect("a name"), ..step.clone() };
    let unfinished = async || own.raw("smache_state").count_documents(doc! { "k": i64::MAX }).await.expect("a count");
    for attempt in [
        InvalidationAttempt::next(Some(&step)),
        InvalidationAttempt::next(Some(&others)),
        InvalidationAttempt::next(None),
    ] {
        announce_as(&own, attempt.as_bytes()).await;
    }
    store.invalidate(Invalidation { step: Some(step.clone()), ..change("b") }).await.expect("another change");
    assert_eq!(unfinished().await, 3, "it says nothing of what the first try was about");
    store.invalidate(Invalidation { step: Some(step), ..change("a") }).await.expect("the next try");
    assert_eq!(unfinished().await, 2, "those of another feed and of an application are left");
}

/// The answer to a reservation is lost, and the worker asks again: no job counts a crash.
#[tokio::test]
async fn repeated_reservation_answers_what_it_holds() {
    let own = Own::new().await;
    let queue = own.mongo.queue(&namespace("shop")).expect("a queue");
    let jobs: Vec<_> = (0..6).map(|number| smache_core::NewJob::now(id(number), Lane::Recompute)).collect();
    queue.enqueue(&jobs).await.expect("enqueue");
    let reserve = Reserve::new(Lane::Recompute, 2, LONG);
    let ids = async |reserve: &Reserve| {
        let reserved = queue.reserve(reserve.clone()).await.expect("reserve");
        assert!(reserved.jobs.iter().all(|job| job.token == reserve.token && job.crashes == 0));
        let mut ids: Vec<_> = reserved.jobs.iter().map(|job| job.id).collect();
        ids.sort();
        ids
    };
    let first = ids(&reserve).await;
    assert_eq!((first.len(), ids(&reserve.clone().again()).await), (2, first.clone()));
    let others = ids(&Reserve { token: Token::random(), max: 10, ..reserve }).await;
    assert_eq!(others.len(), 4);
    assert!(first.iter().all(|id| !others.contains(id)));
}

/// The server removes the entries that maintenance has not removed, and none with a run or a running job.
#[tokio::test]
async fn server_removes_entries_by_itself_long_after_their_end() {
    let own = Own::new().await;
    let store = own.mongo.store(&namespace("shop")).expect("a store");
    let indexes: Vec<_> = {
        use futures_util::TryStreamExt;
        own.raw("smache_entries").list_indexes().await.expect("indexes").try_collect().await.expect("indexes")
    };
    let expires = |index: &&mongodb::IndexModel| index.keys == doc! { "purge_at": 1 };
    let purge = indexes.iter().find(expires).and_then(|index| index.options.as_ref()?.expire_after);
    assert_eq!(purge, Some(Duration::ZERO), "{indexes:?}");

    let run = begin(&*store, id(1)).await;
    let hour = Duration::from_secs(3_600);
    let value = smache_core::Commit { ttl: Some(hour), ..run.value("one", &[direct("a")]) };
    store.commit(value).await.expect("commit");
    let entry = own.only_entry().await;
    let purge = entry.get_datetime("purge_at").expect("a date").timestamp_millis();
    assert_eq!(purge - entry.get_i64("expires").expect("an end"), 3_600_000);
    let run = begin(&*store, id(1)).await;
    assert!(!own.only_entry().await.contains_key("purge_at"), "a run keeps its entry");
    let abort = smache_core::Abort { id: id(1), token: run.token, failure: None, delay: Duration::ZERO };
    store.abort(abort).await.expect("abort");
    assert!(own.only_entry().await.contains_key("purge_at"));
}

/// An aborted run of an entry without a value leaves no document.
#[tokio::test]
async fn run_without_an_entry_leaves_no_document() {
    let own = Own::new().await;
    let (store, queue) = own.mongo.both(&namespace("shop")).expect("both");
    let run = begin(&*store, id(1)).await;
    let abort = smache_core::Abort { id: id(1), token: run.token, failure: None, delay: Duration::ZERO };
    assert!(store.abort(abort).await.expect("abort"));
    assert!(look(&*store, id(1)).await.is_none());
    store.maintain(10).await.expect("maintain");
    let left = own.raw("smache_entries").count_documents(doc! {}).await.expect("a count");
    assert_eq!((left, queue.find(&id(1)).await.expect("find")), (0, None));
}
