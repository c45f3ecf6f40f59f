//! Reading.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use smache_core::{Commit, CommitOutcome, FeedStep, Invalidation, Staleness, Timestamp};

use crate::{StoreHarness, steps::*};

/// One element per id, in order, and none where there is no record.
pub async fn lookup_answers_in_order(harness: StoreHarness) {
    let store = &**harness.role();
    for number in 0..3 {
        compute(store, id(number), &format!("value {number}"), &[direct("a")]).await;
    }
    let asked = [id(2), id(9), id(0), id(2), id(8), id(1)];
    let found: Vec<_> = store.lookup(&asked).await.expect("lookup").entries;
    let found: Vec<_> = found.into_iter().map(|entry| entry.map(|entry| entry.value)).collect();
    let value = |number| Some(format!("value {number}").into_bytes().into());
    assert_eq!(found, [value(2), None, value(0), value(2), None, value(1)]);
    assert!(store.lookup(&[]).await.expect("lookup of nothing").entries.is_empty());
}

/// Beyond the contract: the answers to readers and to runs come from one clock, which is not ahead and does not go
/// back.
pub async fn readers_and_runs_have_one_clock(harness: StoreHarness) {
    let store = &**harness.role();
    let began = Instant::now();
    let first = store.lookup(&[]).await.expect("lookup").now;
    let mut last = first;
    let mut later = |who: &str, now: Timestamp| {
        assert!(now >= last, "{who} says {now} after {last}");
        last = now;
        now
    };
    for number in 0..harness.rounds(20) {
        let run = begin(store, id(number)).await;
        later("a run", run.begun.now);
        later("a reader", store.lookup(&[]).await.expect("lookup").now);
        let outcome = commit(store, run.value("one", &[direct(number)])).await;
        let CommitOutcome::Fresh { now } = outcome else { panic!("{outcome:?}") };
        let seen = see(store, id(number)).await;
        // A commit of several steps answers with the time of its check, which is before or after that of the value.
        later("a commit", now.min(seen.entry.stored_at));
        later("a commit", now.max(seen.entry.stored_at));
        later("a reader", seen.now);
        change(store, number).await;
        later("a change", see(store, id(number)).await.entry.since.expect("it is stale"));
        later("a record", store.read_record(&id(number)).await.expect("record").now);
    }
    let passed = began.elapsed() + Duration::from_secs(2);
    assert!(last.since(first) <= passed, "the clock runs ahead: from {first} to {last} in {passed:?}");
    harness.advance(PAUSE).await;
    for after in [store.lookup(&[]).await.expect("lookup").now, begin(store, id(0)).await.begun.now] {
        assert!(after.since(last) >= PAUSE - Duration::from_millis(2), "{after} is not {PAUSE:?} after {last}");
    }
}

/// Beyond the contract: a look-up returns the committed bytes.
pub async fn value_and_notes_are_kept_as_they_are(harness: StoreHarness) {
    let store = &**harness.role();
    let odd: Vec<u8> = (0..=255).chain([0, 10, 13, 255]).collect();
    let large = vec![0xA5; 1 << 20];
    for (number, (value, meta)) in
        [(odd.clone(), large.clone()), (large, odd), (Vec::new(), Vec::new())].into_iter().enumerate()
    {
        let run = begin(store, id(number as u32)).await;
        let stored =
            Commit { value: value.into(), meta: meta.into(), call: vec![0, 255, 128].into(), ..run.value("", &[]) };
        assert_fresh(&commit(store, stored.clone()).await);
        let seen = see(store, run.id).await.entry;
        assert_eq!((seen.value, seen.meta, seen.version), (stored.value, stored.meta, stored.start_revision));
        assert_eq!(begin(store, run.id).await.begun.call, Some(stored.call));
    }
}

/// A look-up shows stale and expired entries as such.
pub async fn lookup_shows_stale_and_expired_entries(harness: StoreHarness) {
    let store = &**harness.role();
    compute(store, id(1), "stale", &[direct("a")]).await;
    change(store, "a").await;
    let run = begin(store, id(2)).await;
    commit(store, Commit { ttl: Some(SHORT), ..run.value("expired", &[direct("b")]) }).await;
    harness.advance(PAUSE).await;

    let stale = see(store, id(1)).await;
    assert_eq!((stale.text(), stale.entry.staleness, stale.is_fresh()), ("stale", Staleness::Stale, false));
    assert!(stale.entry.since.is_some_and(|since| since <= stale.now), "since when it is stale");
    let expired = see(store, id(2)).await;
    assert_eq!((expired.text(), expired.entry.staleness), ("expired", Staleness::Fresh));
    assert!(expired.entry.is_expired(expired.now), "the entry says that its time is over");
}

/// Beyond the contract: a look-up changes nothing that another step sees.
pub async fn lookup_writes_nothing(harness: StoreHarness) {
    let store = &**harness.role();
    compute(store, id(1), "one", &[direct("a")]).await;
    change(store, "a").await;
    let before = (store.stats().await.expect("stats"), store.inspect(&id(1)).await.expect("inspect"));
    for _ in 0..10 {
        store.lookup(&[id(1), id(2)]).await.expect("lookup");
    }
    let after = (store.stats().await.expect("stats"), store.inspect(&id(1)).await.expect("inspect"));
    assert_eq!(before, after);
}

/// A look-up that runs beside invalidations never joins an earlier state of an entry with a later confirmation.
pub async fn lookup_never_mixes_an_old_entry_with_a_new_validity(harness: StoreHarness) {
    const UNIT: Duration = Duration::from_secs(2_000);
    let steps = harness.rounds(60);
    let leader = confirming(&**harness.role(), "feed", &["users"]).await;
    compute_of(&**harness.role(), id(1), "0", &[direct("a")], &[source("users")]).await;

    // The end tells which step the validity is of: step n confirms n units, and the case takes less than half of one.
    let writer = tokio::spawn({
        let store = Arc::clone(harness.role());
        async move {
            for number in 1..=steps {
                let step = leader.step(&*store, &["users"], u64::from(number) + 1).await;
                let step = Some(FeedStep { valid_for: Some(UNIT * number), ..step });
                store.invalidate(Invalidation { step, ..changes_of(&["a"]) }).await.expect("invalidate");
                compute_of(&*store, id(1), &number.to_string(), &[direct("a")], &[source("users")]).await;
            }
        }
    });
    let mut fresh = 0;
    while !writer.is_finished() {
        let lookup = harness.role().lookup(&[id(1)]).await.expect("lookup");
        let entry = lookup.entries[0].as_ref().expect("the entry stays");
        if !lookup.validity.judge(entry, lookup.now, &lookup.incarnation).is_fresh() {
            continue;
        }
        fresh += 1;
        let until = lookup.validity.sources[&source("users")].valid_until.expect("a feed's sources have an end");
        let confirmed = (until.since(lookup.now) + UNIT / 2).as_millis() / UNIT.as_millis();
        let value: u128 = std::str::from_utf8(&entry.value).expect("text").parse().expect("a number");
        assert!(value >= confirmed, "the value of step {value} is fresh in the validity of step {confirmed}");
    }
    writer.await.expect("the writer");
    assert!(fresh > 0 || is_fresh(&**harness.role(), id(1)).await, "the value was never fresh");
}
