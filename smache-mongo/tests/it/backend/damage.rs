//! Damaged documents: only their own entries are affected.

use mongodb::bson::{Bson, Document, doc};
use smache_core::{Abort, Backend, Commit, CommitOutcome, EntryId, ErrorKind, Invalidation, Lane, NewJob, Reserve};

use super::support::{Own, begin, change, compute, direct, fresh, id, lead, look, namespace, stale, users};

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
    assert_eq!(
        store.inspect(&id(1)).await.expect_err("damaged").kind(),
        ErrorKind::Corrupt,
        "`inspect` reports the damage"
    );
}

#[tokio::test]
async fn damaged_runs_do_not_stop_maintenance() {
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
    damage(&own, id(2), doc! { "$set": { "run.start_revision": "once", "run.until": 0_i64 } }).await;
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

/// Whatever part of a job is damaged: its entry is computed, and so are the others.
#[tokio::test]
async fn entry_of_a_damaged_job_gets_another_one() {
    let damages = [
        doc! { "$set": { "job": "x" } },
        doc! { "$set": { "job.s": 9_i64 } },
        doc! { "$unset": { "job.s": "" } },
        doc! { "$set": { "job.l": "urgent" } },
        doc! { "$set": { "job.p": "urgent" } },
        doc! { "$set": { "job.at": "soon" } },
        doc! { "$set": { "job.errors": "many" } },
        doc! { "$unset": { "job.n": "" } },
    ];
    for update in damages {
        let own = Own::new().await;
        let (store, queue) = own.mongo.both(&namespace("shop")).expect("both");
        for number in [1, 2] {
            compute(&*store, id(number), "one", &[direct("a")]).await;
        }
        store.invalidate(change("a")).await.expect("invalidate");
        damage(&own, id(1), update.clone()).await;
        // As the reconciler does.
        let net = |number| NewJob { revive: false, ..NewJob::now(id(number), Lane::Recompute) };
        queue.enqueue(&[net(1), net(2)]).await.expect("enqueue");
        let mut taken = Vec::new();
        while taken.len() < 2 {
            let reserve = Reserve::new(Lane::Recompute, 10, super::support::LONG);
            let jobs = queue.reserve(reserve).await.expect("reserve").jobs;
            assert!(!jobs.is_empty(), "{update}: {taken:?}");
            taken.extend(jobs.iter().map(|job| job.id));
        }
        taken.sort();
        assert_eq!(taken, [id(1), id(2)], "{update}");
    }
}

/// Damage to a namespace: its entries are stale once, and then everything works as before.
#[tokio::test]
async fn damaged_epochs_and_revisions_are_replaced_by_new_ones() {
    let damages = [
        doc! { "$set": { "epoch": "none" } },
        doc! { "$set": { "revision": "late" } },
        doc! { "$unset": { "low_watermark": "" } },
        doc! { "$set": { "rev": "two" } },
        doc! { "$set": { "sources": 7 } },
        doc! { "$set": { "sources.0.epoch": "none" } },
        doc! { "$set": { "positions.0.order": 7 } },
        doc! { "$set": { "feeds.0.fence": "first" } },
    ];
    for update in damages {
        let own = Own::new().await;
        let (store, queue) = own.mongo.both(&namespace("shop")).expect("both");
        let leader = lead(&*store).await;
        let step = |step| Invalidation { step: Some(step), ..change("b") };
        store.invalidate(step(leader.step(&*store, 2).await)).await.expect("a step");
        let commit = async |run: &super::support::Run| {
            let value = Commit { epochs: run.begun.validity.epochs([&users()]), ..run.value("value", &[direct("a")]) };
            store.commit(value).await.expect("commit")
        };
        let first = begin(&*store, id(1)).await;
        assert!(matches!(commit(&first).await, CommitOutcome::Fresh { .. }));
        assert_eq!(look(&*store, id(1)).await, fresh("value"));
        let before = begin(&*store, id(1)).await;
        store.invalidate(change("a")).await.expect("invalidate");
        own.raw("smache_state")
            .update_one(doc! { "rev": { "$exists": true } }, update.clone())
            .await
            .expect("an update");

        assert_eq!(look(&*store, id(1)).await, stale("value"), "{update}");
        while store.maintain(100).await.expect("maintain").more {}
        assert!(!matches!(commit(&before).await, CommitOutcome::Fresh { .. }), "{update}");
        let next = leader.again(&*store).await;
        store.invalidate(step(next.step(&*store, 3).await)).await.expect("the feed goes on");
        while store.maintain(100).await.expect("maintain").more {}
        assert_eq!(queue.counts().await.expect("counts").recompute, 1, "{update}");
        let run = begin(&*store, id(1)).await;
        assert!(matches!(commit(&run).await, CommitOutcome::Fresh { .. }), "{update}");
        assert_eq!(look(&*store, id(1)).await, fresh("value"), "{update}");
        store.invalidate(change("a")).await.expect("invalidate");
        assert_eq!(look(&*store, id(1)).await, stale("value"), "{update}");
    }
}
