//! Slow functions of documents that another program changes: readers do not wait, and changed results are computed
//! again.

use mongodb::bson::doc;
use smache::{ErrorKind, Smache};
use smache_server_tests::{Census, Doc, Sight, State, census, held, label, report, total};

use crate::{
    waits::{until, until_result},
    world::{World, get, look, until_gone, until_report},
};

/// Waits until so many runs have read the document.
async fn until_runs_of(world: &World, id: i64, runs: u64) {
    until(&format!("run {runs}"), async || match world.runs_of(id).await {
        there if there >= runs => Ok(()),
        there => Err(format!("{there} of them")),
    })
    .await;
}

/// A read of a document whose runs the test holds up.
async fn get_held(smache: &Smache, id: i64) -> Sight {
    smache.get(held(id)).await.expect("a value").into()
}

#[tokio::test]
async fn readers_do_not_wait_after_a_change_and_a_worker_in_another_process_recomputes() {
    let world = World::shared().await;
    world.insert(1, 0).await;
    let node = world.node(&world.all_roles()).await;
    let reader = world.reader().await;
    let run = async {
        until_runs_of(&world, 1, 1).await;
        world.let_through(1, 0).await;
    };
    let (first, ()) = tokio::join!(get_held(&reader, 1), run);
    assert_eq!(first.n, 0, "the first reader waits");

    for (n, change) in [(1, "update"), (2, "replacement"), (3, "find and update")] {
        match change {
            "update" => world.set(1, n).await,
            "replacement" => drop(world.docs.replace_one(doc! { "_id": 1 }, Doc::new(1, n)).await.expect(change)),
            _ => {
                let update = doc! { "$set": { "n": n } };
                world.docs.find_one_and_update(doc! { "_id": 1 }, update).await.expect(change).expect("a document");
            }
        }
        // A reader that waited for the run would never get an answer: the test does not let it through yet.
        until(&format!("stale report after the {change}"), async || {
            let seen = get_held(&reader, 1).await;
            assert_eq!(seen.n, n - 1, "{seen:?}");
            (seen.state == State::Stale).then_some(()).ok_or_else(|| format!("{seen:?}"))
        })
        .await;
        until_runs_of(&world, 1, n.unsigned_abs() + 1).await;
        let seen = get_held(&reader, 1).await;
        assert!(seen.n == n - 1 && seen.state != State::Fresh, "it is being computed again: {seen:?}");
        world.let_through(1, n).await;
        until(&format!("fresh report after the {change}"), async || {
            let seen = get_held(&reader, 1).await;
            assert!(seen.n == n - 1 || seen.n == n, "{seen:?}");
            (seen.n == n && seen.state == State::Fresh).then_some(()).ok_or_else(|| format!("{seen:?}"))
        })
        .await;
    }
    let process = reader.inspect().stats().await.expect("numbers").process;
    assert_eq!((process.runs, process.misses), (1, 1), "the reader computed the first value only: {process:?}");
    assert_eq!(world.runs_of(1).await, 4);
    world.end([node]).await;
}

#[tokio::test]
async fn a_change_in_the_middle_of_a_computation_is_not_lost() {
    let world = World::shared().await;
    for id in [1, 2] {
        world.insert(id, 0).await;
    }
    let node = world.node(&world.all_roles()).await;
    let reader = world.reader().await;
    assert_eq!(get(&reader, 2, 0).await.n, 0);
    let change = async {
        until_runs_of(&world, 1, 1).await;
        world.set(1, 1).await;
        // The feed delivers in order: after this change, it has delivered the one before.
        world.set(2, 1).await;
        until_report(&reader, 2, 0, 1).await;
        world.let_through(1, 1).await;
    };
    let (computed, ()) = tokio::join!(get_held(&reader, 1), change);
    assert_eq!(computed, Sight { n: 0, state: State::Stale }, "the reader has waited, and learns that it is outdated");
    until("fresh report", async || match look(&reader, held(1)).await?.map(Sight::from) {
        Some(Sight { n: 1, state: State::Fresh }) => Ok(()),
        Some(Sight { n: 0, state: State::Fresh }) => panic!("the change is lost"),
        other => Err(format!("{other:?}")),
    })
    .await;
    world.end([node]).await;
}

#[tokio::test]
async fn a_bulk_update_recomputes_all_that_it_affects_and_nothing_else() {
    const MANY: i64 = 100;
    let world = World::shared().await;
    let docs = (0..MANY + 1).map(|id| Doc::new(id, 0));
    world.docs.insert_many(docs).await.expect("documents");
    let node = world.node(&world.all_roles()).await;
    let reader = world.reader().await;
    let calls = || (0..MANY + 1).map(|id| report(id, 0));
    for result in reader.get_many(calls()).await {
        assert!(result.expect("a value").is_fresh());
    }

    let changed = world.docs.update_many(doc! { "_id": { "$lt": MANY } }, doc! { "$inc": { "n": 1 } }).await;
    assert_eq!(changed.expect("an update").modified_count, 100);
    until("100 fresh reports", async || {
        let results = reader.get_many(calls()).await.into_iter();
        let values: Vec<_> = results.map(|result| result.expect("a value")).collect();
        let new = values.iter().filter(|value| value.is_fresh() && ***value == 1).count();
        if new == 100 { Ok(()) } else { Err(format!("{new} of them")) }
    })
    .await;
    assert_eq!(world.runs_of(MANY).await, 1, "the one that was not affected is as it was");
    assert_eq!(
        reader.inspect().stats().await.expect("numbers").process.runs,
        101,
        "the reader computed the first values only"
    );
    world.end([node]).await;
}

#[tokio::test]
async fn what_is_deleted_goes_and_what_was_absent_comes() {
    let world = World::shared().await;
    world.insert(1, 1).await;
    world.insert(2, 2).await;
    let node = world.node(&world.all_roles()).await;
    let reader = world.reader().await;
    assert_eq!(get(&reader, 1, 0).await.n, 1);
    assert_eq!(*reader.get(label(7)).await.expect("an answer"), None);
    // Absence is a result like any other.
    until_result(&reader, label(7), Option::is_none).await;
    assert_eq!(*reader.get(total()).await.expect("a sum"), 3);
    assert_eq!(*reader.get(census()).await.expect("numbers"), Census { docs: 2, labelled: 0 });

    world.docs.insert_one(Doc { id: 7, n: 40, label: "seven".to_owned() }).await.expect("an insert");
    until_result(&reader, label(7), |label| label.as_deref() == Some("seven")).await;
    until_result(&reader, total(), |sum| *sum == 43).await;
    until_result(&reader, census(), |census| *census == Census { docs: 3, labelled: 1 }).await;

    world.docs.delete_one(doc! { "_id": 1 }).await.expect("a delete");
    until_gone(&reader, report(1, 0)).await;
    let error = reader.get(report(1, 0)).await.expect_err("no document");
    assert_eq!(error.kind(), ErrorKind::Gone, "{error}");
    until_result(&reader, total(), |sum| *sum == 42).await;
    until_result(&reader, census(), |census| *census == Census { docs: 2, labelled: 1 }).await;

    let stats = reader.inspect().stats().await.expect("numbers");
    assert_eq!(stats.jobs.dead_letters, 0, "{stats:?}");
    world.end([node]).await;
}

#[tokio::test]
async fn only_a_transaction_that_is_committed_invalidates() {
    let world = World::shared().await;
    world.insert(1, 0).await;
    world.insert(2, 0).await;
    let node = world.node(&world.all_roles()).await;
    let reader = world.reader().await;
    for id in [1, 2] {
        assert_eq!(get(&reader, id, 0).await.n, 0);
    }

    let mut session = world.client.start_session().await.expect("a session");
    let set = doc! { "$set": { "n": 1 } };
    session.start_transaction().await.expect("a transaction");
    world.docs.update_one(doc! { "_id": 1 }, set.clone()).session(&mut session).await.expect("an update");
    session.abort_transaction().await.expect("an end");
    // The feed delivers in order: after this change, it has delivered all earlier ones.
    world.set(2, 1).await;
    until_report(&reader, 2, 0, 1).await;
    assert_eq!(world.runs_of(1).await, 1, "nothing has happened to the document of the aborted transaction");
    until_report(&reader, 1, 0, 0).await;

    session.start_transaction().await.expect("a transaction");
    for id in [1, 2] {
        let set = doc! { "$set": { "n": 2 } };
        world.docs.update_one(doc! { "_id": id }, set).session(&mut session).await.expect("an update");
    }
    session.commit_transaction().await.expect("an end");
    for id in [1, 2] {
        until_report(&reader, id, 0, 2).await;
    }
    world.end([node]).await;
}
