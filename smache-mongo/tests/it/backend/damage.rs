//! Documents that somebody has damaged: they stop nothing but what is about them alone.

use mongodb::bson::{Bson, Document, doc};
use smache_core::{Abort, Backend, EntryId, ErrorKind};

use super::support::{Own, begin, compute, direct, fresh, id, look, namespace};

/// Changes the document of an entry.
async fn damage(own: &Own, id: EntryId, update: Document) {
    let entries = own.raw("smache_entries");
    let mut all = entries.find(doc! {}).await.expect("find");
    while all.advance().await.expect("a document") {
        let key = all.deserialize_current().expect("a document").get("_id").cloned().expect("an id");
        if matches!(&key, Bson::Binary(key) if key.bytes.ends_with(id.as_bytes())) {
            entries.update_one(doc! { "_id": key }, update).await.expect("an update");
            return;
        }
    }
    panic!("{id} is not there");
}

#[tokio::test]
async fn damaged_entry_is_absent_and_the_others_are_answered() {
    let own = Own::new().await;
    let store = own.mongo.store(&namespace("shop")).expect("a store");
    for number in [1, 2] {
        compute(&*store, id(number), "one", &[direct("a")]).await;
    }
    damage(&own, id(1), doc! { "$set": { "epochs": "none" } }).await;
    assert_eq!((look(&*store, id(1)).await, look(&*store, id(2)).await), (None, fresh("one")));
    let both = store.lookup(&[id(1), id(2)]).await.expect("lookup").entries;
    assert!(both[0].is_none() && both[1].is_some());
    assert_eq!(store.inspect(&id(1)).await.expect_err("damaged").kind(), ErrorKind::Corrupt, "who asks is told");
}

#[tokio::test]
async fn damaged_runs_do_not_stop_upkeep() {
    let own = Own::new().await;
    let (store, queue) = own.mongo.both(&namespace("shop")).expect("both");
    for number in 1..=4 {
        compute(&*store, id(number), "one", &[direct("a")]).await;
    }
    let mut runs = Vec::new();
    for number in 1..=3 {
        runs.push(begin(&*store, id(number)).await);
    }
    damage(&own, id(1), doc! { "$unset": { "run.until": "" } }).await;
    damage(&own, id(2), doc! { "$set": { "run.started": "once", "run.until": 0_i64 } }).await;
    damage(&own, id(3), doc! { "$set": { "run.until": 1_i64 } }).await;
    store.new_epoch().await.expect("new epoch");
    let mut reaped = 0;
    while {
        let maintained = store.maintain(1).await.expect("maintain");
        reaped += maintained.reaped;
        maintained.more
    } {}
    assert_eq!(reaped, 1, "the one that can be read");
    assert_eq!(queue.counts().await.expect("counts").recompute, 4, "the walk came to all");
    let abort = Abort { id: id(3), token: runs[2].token, failure: None, delay: std::time::Duration::ZERO };
    assert!(!store.abort(abort).await.expect("abort"), "its run is over");
}
