//! Runs that wait for each other.

use std::time::Duration;

use smache_core::{Begin, CacheStore, EntryId, RecordWaits, Token, WaitingRun};

use crate::{StoreHarness, steps::*};

/// How many notes of a run are kept, and of how many runs they are answered.
const MOST: u32 = 64;

async fn ask(store: &dyn CacheStore, runs: Vec<WaitingRun>, lease: Duration, child: u32) -> Vec<(EntryId, EntryId)> {
    store.record_waits(RecordWaits { runs, lease, child: id(child) }).await.expect("wait")
}

/// Notes that a run waits for a child, and returns the waits that lead on from there.
async fn wait(store: &dyn CacheStore, run: &Run, child: u32) -> Vec<(EntryId, EntryId)> {
    let waiting = WaitingRun { id: run.id, token: run.token, child: id(child) };
    ask(store, vec![waiting], LONG, child).await
}

/// The waits that lead on from an entry, in any order.
async fn waits_of(store: &dyn CacheStore, entry: u32) -> Vec<(EntryId, EntryId)> {
    sorted(&ask(store, Vec::new(), LONG, entry).await)
}

/// The run that notes the last wait of a cycle finds itself in the answer, however long the way is.
pub async fn waits_lead_on_from_the_child(harness: StoreHarness) {
    let store = &**harness.role();
    let [one, two, three] = [begin(store, id(1)).await, begin(store, id(2)).await, begin(store, id(3)).await];
    let _four = begin(store, id(4)).await;
    let _five = begin(store, id(5)).await;
    assert_eq!(wait(store, &one, 2).await, []);
    assert_eq!(wait(store, &two, 4).await, []);
    assert_eq!(wait(store, &two, 4).await, [], "again is harmless");
    assert_eq!(wait(store, &two, 3).await, []);
    assert_eq!(waits_of(store, 1).await, [(id(1), id(2)), (id(2), id(3)), (id(2), id(4))]);
    assert_eq!(waits_of(store, 2).await, [(id(2), id(3)), (id(2), id(4))]);
    assert_eq!(waits_of(store, 5).await, []);
    assert_eq!(waits_of(store, 9).await, [], "it has no run");
    let waits = wait(store, &three, 1).await;
    let around = [(id(1), id(2)), (id(2), id(3)), (id(2), id(4)), (id(3), id(1))];
    assert_eq!((waits.first(), sorted(&waits)), (Some(&(id(1), id(2))), around.to_vec()), "the nearest first");

    // Those of one step are noted together, and are in its answer.
    let [six, seven] = [begin(store, id(6)).await, begin(store, id(7)).await];
    let chain = [&six, &seven].into_iter().zip([7, 1]);
    let chain = chain.map(|(run, child)| WaitingRun { id: run.id, token: run.token, child: id(child) }).collect();
    let waits = sorted(&ask(store, chain, LONG, 6).await);
    assert_eq!(waits, [&around[..], &[(id(6), id(7)), (id(7), id(1))]].concat());
}

/// Only the run that holds the entry notes its waits, and only while the child runs too.
pub async fn wait_needs_the_token(harness: StoreHarness) {
    let store = &**harness.role();
    let [one, _two] = [begin(store, id(1)).await, begin(store, id(2)).await];
    let forged = |number: u32| WaitingRun { id: id(number), token: Token::random(), child: id(2) };
    assert_eq!(ask(store, vec![forged(1), forged(3)], LONG, 1).await, []);
    assert_eq!(waits_of(store, 3).await, [], "it has no run");
    assert_eq!(wait(store, &one, 4).await, []);
    assert_eq!(waits_of(store, 1).await, [], "the child has no run");
    begin(store, id(4)).await;
    assert_eq!(waits_of(store, 1).await, [], "nor did anybody when the wait was noted");

    wait(store, &one, 2).await;
    assert_eq!(waits_of(store, 1).await, [(id(1), id(2))]);
    ask(store, vec![forged(1)], Duration::ZERO, 2).await;
    assert_eq!(waits_of(store, 1).await, [(id(1), id(2))], "another token ends nothing");
}

/// A wait is one of two runs: their successors do not wait for each other, and nothing remains when they are gone.
pub async fn wait_ends_with_either_run(harness: StoreHarness) {
    let store = &**harness.role();
    // Each pair ends in another way, on either side.
    for waiting_one_ends in [true, false] {
        for way in ["commit", "abort", "remove", "lapse"] {
            let lease = if way == "lapse" { SHORT } else { LONG };
            let (first, second) = if waiting_one_ends { (lease, LONG) } else { (LONG, lease) };
            let [one, two] = [begin_for(store, id(1), first).await, begin_for(store, id(2), second).await];
            wait(store, &one, 2).await;
            assert_eq!(waits_of(store, 1).await, [(id(1), id(2))], "{way}");
            let (ending, other) = if waiting_one_ends { (one, two) } else { (two, one) };
            match way {
                "commit" => assert_fresh(&commit(store, ending.value("over", &[])).await),
                "abort" => assert!(give_up(store, &ending).await),
                "remove" => assert!(store.remove(&ending.id, None).await.expect("remove")),
                _ => harness.advance(PAUSE).await,
            }
            if way != "lapse" {
                assert_eq!(waits_of(store, 1).await, [], "{way}");
            }
            let again = begin(store, ending.id).await;
            assert_eq!(waits_of(store, 1).await, [], "{way}: another run waits for nothing, and no run for it");
            let (one, two) = if waiting_one_ends { (again, other) } else { (other, again) };
            wait(store, &one, 2).await;
            assert_eq!(waits_of(store, 1).await, [(id(1), id(2))], "{way}: until it is noted again");
            assert!(give_up(store, &one).await && give_up(store, &two).await);
        }
    }
}

async fn give_up(store: &dyn CacheStore, run: &Run) -> bool {
    let abort = smache_core::Abort { id: run.id, token: run.token, failure: None, delay: Duration::ZERO };
    store.abort(abort).await.expect("abort")
}

/// A wait that was ended, or whose lease is over, leads nowhere; the others of its run stay.
pub async fn wait_that_is_over_is_not_answered(harness: StoreHarness) {
    let store = &**harness.role();
    let [one, _two, _three] = [begin(store, id(1)).await, begin(store, id(2)).await, begin(store, id(3)).await];
    wait(store, &one, 2).await;
    wait(store, &one, 3).await;
    let over = |child: u32| vec![WaitingRun { id: one.id, token: one.token, child: id(child) }];
    assert_eq!(ask(store, over(2), Duration::ZERO, 1).await, [(id(1), id(3))]);
    assert_eq!(ask(store, over(2), Duration::ZERO, 1).await, [(id(1), id(3))], "again is harmless");

    ask(store, over(2), SHORT, 2).await;
    harness.advance(PAUSE).await;
    assert_eq!(waits_of(store, 1).await, [(id(1), id(3))], "it was not noted again in time");
    wait(store, &one, 2).await;
    assert_eq!(waits_of(store, 1).await, [(id(1), id(2)), (id(1), id(3))], "now it is");
}

/// A run that waits for many, and a chain of many runs, cost the store no more than so much.
pub async fn waits_are_bounded(harness: StoreHarness) {
    let store = &**harness.role();
    let wide = begin(store, id(1)).await;
    for child in 100..100 + MOST + 10 {
        begin(store, id(child)).await;
        wait(store, &wide, child).await;
    }
    let newest: Vec<_> = (110..100 + MOST + 10).map(|child| (id(1), id(child))).collect();
    assert_eq!(waits_of(store, 1).await, newest);

    let mut runs = Vec::new();
    for number in 1_000..=1_000 + MOST + 10 {
        runs.push(begin(store, id(number)).await);
    }
    for (run, child) in runs.iter().zip(1_001..=1_000 + MOST + 10) {
        wait(store, run, child).await;
    }
    let nearest: Vec<_> = (1_000..1_000 + MOST).map(|number| (id(number), id(number + 1))).collect();
    let waits = waits_of(store, 1_000).await;
    assert_eq!(waits[..MOST as usize], nearest);
}

/// Beyond the contract: a run that waits is begun, extended, compared and committed like any other.
pub async fn waits_change_nothing_else(harness: StoreHarness) {
    let store = &**harness.role();
    compute(store, id(1), "old", &[direct("a")]).await;
    let [one, _two] = [begin(store, id(1)).await, begin(store, id(2)).await];
    wait(store, &one, 2).await;
    assert!(try_begin(store, id(1), LONG).await.is_err(), "the run still holds the lease");
    assert_eq!(store.extend(&[(id(1), one.token)], LONG).await.expect("extend"), [true]);
    assert_eq!(store.stats().await.expect("stats").running, 2);
    assert!(is_fresh(store, id(1)).await);
    change(store, "a").await;
    assert_conflicted(&commit(store, one.value("overtaken", &[direct("a")])).await, &[tag("a")]);
    compute(store, id(1), "new", &[direct("a")]).await;
    assert_eq!(see(store, id(1)).await.text(), "new");
}

/// Beyond the contract: the same begin again is the same run, whose waits go on.
pub async fn begin_again_keeps_the_waits(harness: StoreHarness) {
    let store = &**harness.role();
    let [one, two] = [begin(store, id(1)).await, begin(store, id(2)).await];
    assert_eq!(wait(store, &one, 2).await, []);
    assert_eq!(wait(store, &two, 1).await, [(id(1), id(2)), (id(2), id(1))]);
    for run in [&one, &two] {
        store.begin(Begin { id: run.id, token: run.token, lease: LONG }).await.expect("begin");
    }
    assert_eq!(waits_of(store, 1).await, [(id(1), id(2)), (id(2), id(1))]);
}

/// Beyond the contract: the notes of a run end with it. The same token, begun once more after its commit, is a run that
/// waits for nothing.
pub async fn notes_end_with_their_run(harness: StoreHarness) {
    let store = &**harness.role();
    let [one, two] = [begin(store, id(1)).await, begin(store, id(2)).await];
    assert_eq!(wait(store, &one, 2).await, []);
    assert_fresh(&commit(store, one.value("done", &[])).await);
    store.begin(Begin { id: one.id, token: one.token, lease: LONG }).await.expect("begin");
    assert_eq!(waits_of(store, 1).await, [], "the run of before is over");
    assert_eq!(wait(store, &two, 1).await, []);
    assert_eq!(waits_of(store, 2).await, [(id(2), id(1))]);
}
