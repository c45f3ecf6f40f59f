//! What the batches of a feed say of themselves.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use smache_core::{EntityKey, Position, Start};

use super::{next, open, put};
use crate::{SourceHarness, SourceProbe, chance::Chance, steps::all};

/// More than the largest batch of the sources of this workspace.
const BACKLOG: u32 = 1_300;

/// How many tasks write a backlog.
const WRITERS: u32 = 8;

/// Writes entities of some numbers, side by side.
async fn put_all(probe: &Arc<dyn SourceProbe>, numbers: std::ops::Range<u32>) {
    all((0..WRITERS).map(|writer| {
        let probe = Arc::clone(probe);
        let own = numbers.clone().filter(move |number| number % WRITERS == writer);
        async move {
            for number in own {
                put(&*probe, number, "one").await;
            }
        }
    }))
    .await;
}

/// A backlog of more than a batch is delivered to its end, from wherever a reader goes on in it; before the end no
/// batch says that it is complete as of a time after the last write.
pub async fn backlog_larger_than_a_batch_is_delivered(harness: SourceHarness) {
    let probe = harness.role();
    let many = harness.many().min(BACKLOG);
    let stream = open(&**probe, Start::Now).await.expect("open");
    let mut from = stream.position();
    drop(stream);
    put_all(probe, 0..many).await;
    let written = Instant::now();
    let mut expected: BTreeMap<EntityKey, u32> = (0..many).map(|number| (probe.key(number), number)).collect();
    // The second reader goes on behind the first batch of the first one, and so on.
    while !expected.is_empty() {
        let mut left = expected.clone();
        let mut stream = open(&**probe, Start::After(from)).await.expect("open");
        let mut first = None;
        let opened = Instant::now();
        loop {
            assert!(opened.elapsed() < super::PATIENCE, "{} of {many} changes are not delivered", left.len());
            let batch = next(&mut *stream).await;
            assert_eq!(batch.position, stream.position());
            for change in &batch.changes {
                left.remove(&change.key);
            }
            if first.is_none() && !batch.changes.is_empty() {
                first = Some((batch.position.clone(), left.clone()));
            }
            if batch.as_of.is_some_and(|as_of| as_of >= written) {
                assert!(left.is_empty(), "the batch says that it is complete, but {} changes are missing", left.len());
                break;
            }
        }
        let Some((position, rest)) = first else { panic!("no batch has the {} changes that are left", expected.len()) };
        assert!(rest.len() < expected.len(), "a reader that goes on gets behind");
        (from, expected) = (position, rest);
    }
}

/// Positions sort like the history, over any number of changes: a later one has a later place, and a reader that goes
/// on from any of them gets what came behind it.
pub async fn positions_sort_like_the_history(harness: SourceHarness) {
    const ROUNDS: u32 = 80;
    const EACH: u32 = 4;
    let probe = &**harness.role();
    let mut stream = open(probe, Start::Now).await.expect("open");
    let mut positions: Vec<Position> = vec![stream.position()];
    for round in 0..ROUNDS {
        for number in 0..EACH {
            put(probe, EACH * round + number, "one").await;
        }
        let last = probe.key(EACH * round + EACH - 1);
        let asked = Instant::now();
        loop {
            assert!(asked.elapsed() < super::PATIENCE, "the changes of round {round} are not delivered");
            let batch = next(&mut *stream).await;
            if batch.changes.iter().any(|change| change.key == last) {
                positions.push(batch.position);
                break;
            }
        }
    }
    drop(stream);
    for (round, pair) in positions.windows(2).enumerate() {
        assert!(pair[0].order < pair[1].order, "{:?} comes before {:?}, in round {round}", pair[0], pair[1]);
        assert!(pair[1].follows(&pair[0]) && !pair[0].follows(&pair[1]), "{pair:?} in round {round}");
    }
    assert!(positions.is_sorted_by(|one, two| one.order < two.order));
    for passed in [1, ROUNDS / 2, 63, 64, 65, ROUNDS - 1] {
        let mut stream = open(probe, Start::After(positions[passed as usize].clone())).await.expect("open");
        let behind: Vec<EntityKey> = (EACH * passed..EACH * ROUNDS).map(|number| probe.key(number)).collect();
        let last = probe.key(EACH * ROUNDS - 1);
        let mut found = Vec::new();
        while !found.contains(&last) {
            found.extend(next(&mut *stream).await.changes.into_iter().map(|change| change.key));
        }
        assert!(found.ends_with(&behind), "behind round {passed} come {found:?}");
    }
}

/// A batch that says that it is complete as of an instant: every write that was acknowledged before is in it or in an
/// earlier one, whichever of many writers it is of.
pub async fn batch_has_every_write_before_its_instant(harness: SourceHarness) {
    const WRITERS: u32 = 4;
    let each = harness.rounds(60);
    let probe = Arc::clone(harness.role());
    let mut stream = open(&*probe, Start::Now).await.expect("open");
    // When each write was acknowledged.
    let acknowledged: Arc<Mutex<BTreeMap<EntityKey, Instant>>> = Arc::default();
    let writers = tokio::spawn({
        let probe = Arc::clone(&probe);
        let acknowledged = Arc::clone(&acknowledged);
        all((0..WRITERS).map(move |writer| {
            let probe = Arc::clone(&probe);
            let acknowledged = Arc::clone(&acknowledged);
            let mut chance = Chance::new();
            async move {
                for number in 0..each {
                    let number = 1_000 * (writer + 1) + number;
                    put(&*probe, number, "one").await;
                    let now = Instant::now();
                    let key = probe.key(number);
                    acknowledged.lock().unwrap_or_else(PoisonError::into_inner).insert(key, now);
                    // Now and then the feed runs out of changes.
                    tokio::time::sleep(Duration::from_millis(u64::from(chance.below(4)))).await;
                }
            }
        }))
    });
    let mut batches: Vec<(Option<Instant>, usize)> = Vec::new();
    let mut delivered: BTreeMap<EntityKey, usize> = BTreeMap::new();
    let started = Instant::now();
    while delivered.len() < (WRITERS * each) as usize {
        assert!(started.elapsed() < 2 * super::PATIENCE, "only {} changes are delivered", delivered.len());
        let batch = next(&mut *stream).await;
        for change in &batch.changes {
            delivered.entry(change.key.clone()).or_insert(batches.len());
        }
        batches.push((batch.as_of, batch.changes.len()));
    }
    writers.await.expect("the writers");
    let acknowledged = acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
    for (key, at) in acknowledged.iter() {
        let by = delivered[key];
        for (number, (as_of, changes)) in batches[..by].iter().enumerate() {
            assert!(
                as_of.is_none_or(|as_of| as_of <= *at),
                "batch {number}, of {changes} changes, says that it is complete, and a write that was acknowledged \
                 {:?} before comes with batch {by}",
                as_of.map(|as_of| as_of.duration_since(*at)),
            );
        }
    }
}
