//! Hearing of changes.

use std::{sync::Arc, time::Instant};

use smache_core::{Capability, Change, ChangeKind, EntityKey, ErrorKind, Position, Start};

use super::{next, open, put, remove, shown, text, until};
use crate::{SourceHarness, steps::all};

fn keys(changes: &[Change]) -> Vec<EntityKey> {
    changes.iter().map(|change| change.key.clone()).collect()
}

/// A load that starts after a change was delivered sees it, or a later one.
pub async fn load_sees_delivered_changes(harness: SourceHarness) {
    let probe = Arc::clone(harness.role());
    let mut stream = open(&*probe, Start::Now).await.expect("open");
    let writer = tokio::spawn({
        let probe = Arc::clone(&probe);
        async move {
            for round in 1..=30 {
                put(&*probe, 1, &format!("{round:03}")).await;
            }
        }
    });
    let mut delivered = 0;
    while delivered < 30 {
        let batch = next(&mut *stream).await;
        delivered += batch.changes.len();
        if delivered > 0 {
            let seen = text(&*probe, 1).await.expect("the entity stays");
            assert!(seen >= format!("{delivered:03}"), "{seen} after {delivered} delivered changes");
        }
    }
    writer.await.expect("the writer");
}

/// A stream delivers every change after a position, in order and with no gap, however often it is opened there.
pub async fn feed_resumes_after_a_position(harness: SourceHarness) {
    let probe = &**harness.role();
    put(probe, 0, "before").await;
    let mut stream = open(probe, Start::Now).await.expect("open");
    let start = stream.position();
    let mut positions: Vec<(Position, usize)> = vec![(start, 0)];
    for number in 1..=6 {
        put(probe, number, "one").await;
        let changes = until(&mut *stream, |changes| changes.iter().any(|change| change.key == probe.key(number))).await;
        assert_eq!(keys(&changes), [probe.key(number)]);
        positions.push((stream.position(), number as usize));
    }
    drop(stream);
    put(probe, 7, "while no reader listened").await;
    assert!(positions.is_sorted_by(|(one, _), (two, _)| one.order < two.order), "{positions:?}");
    for (position, passed) in positions {
        let mut stream = open(probe, Start::After(position)).await.expect("open");
        let changes = until(&mut *stream, |changes| changes.iter().any(|change| change.key == probe.key(7))).await;
        let expected: Vec<_> = (1..=7).skip(passed).map(|number| probe.key(number)).collect();
        // At least once: earlier deliveries may repeat, in their old order, before the rest.
        let keys = keys(&changes);
        assert!(keys.ends_with(&expected), "{keys:?} after position {passed}");
        let repeated = keys.len() - expected.len();
        assert!(repeated <= passed && keys[..repeated].iter().all(|key| !expected.contains(key)), "{keys:?}");
    }
}

/// A position that is not in the history is an error, and not a gap.
pub async fn lost_history_is_an_error(harness: SourceHarness) {
    let probe = &**harness.role();
    put(probe, 1, "one").await;
    let lost = probe.lost_position().await;
    let error = match open(probe, Start::After(lost)).await {
        // Some servers report it at the first read of a change.
        Ok(mut stream) => stream.next().await.err(),
        Err(error) => Some(error),
    };
    assert_eq!(error.map(|error| error.kind()), Some(ErrorKind::HistoryLost));
    // The present is there to go on from.
    let mut stream = open(probe, Start::Now).await.expect("open");
    put(probe, 2, "two").await;
    let changes = until(&mut *stream, |changes| !changes.is_empty()).await;
    assert_eq!(keys(&changes), [probe.key(2)]);
}

/// A change has its kind, its source, and the entity before and after it; before images come where they are declared.
pub async fn changes_say_what_happened(harness: SourceHarness) {
    let probe = &**harness.role();
    let mut stream = open(probe, Start::Now).await.expect("open");
    put(probe, 1, "one").await;
    put(probe, 1, "two").await;
    remove(probe, 1).await;
    let changes = until(&mut *stream, |changes| changes.len() >= 3).await;
    let kinds: Vec<_> = changes.iter().map(|change| change.kind).collect();
    // A history that does not tell an insertion from an update says so of both.
    match kinds.first() {
        Some(ChangeKind::Put) => assert_eq!(kinds, [ChangeKind::Put, ChangeKind::Put, ChangeKind::Delete]),
        _ => assert_eq!(kinds, [ChangeKind::Insert, ChangeKind::Update, ChangeKind::Delete]),
    }
    let states = [None, Some("one".to_owned()), Some("two".to_owned()), None];
    for (index, change) in changes.iter().enumerate() {
        assert_eq!((&change.source, &change.key), (probe.source().id(), &probe.key(1)));
        let before = shown(probe, &change.before);
        let after = shown(probe, &change.after);
        if probe.source().capabilities().contains(&Capability::BeforeImages) {
            assert_eq!(before, Ok(states[index].clone()), "before change {index}");
        } else {
            assert!(before.is_err() || before == Ok(states[index].clone()), "before change {index}: {before:?}");
        }
        // An image that was looked up may be of a later state, but never of an earlier one.
        assert!(
            after.is_err() || after.is_ok_and(|after| states[index + 1..].contains(&after)),
            "after change {index}"
        );
    }
}

/// The present end of the history covers every earlier write, and an open stream reaches it without another change. A
/// barrier waits for that.
pub async fn streams_reach_the_present(harness: SourceHarness) {
    let probe = &**harness.role();
    let (feed, _) = probe.source().feed().expect("this suite is for sources with a feed");
    let mut stream = open(probe, Start::Now).await.expect("open");
    for round in 1..=5 {
        put(probe, round, "one").await;
        // A source that cannot tell its position opens its stream at the present one, and some servers get there with a
        // change alone.
        let Some(present) = feed.head().await.expect("head") else { return };
        let started = Instant::now();
        let mut delivered = Vec::new();
        while !stream.position().follows(&present) {
            assert!(started.elapsed() < super::PATIENCE, "{:?} does not come to {present:?}", stream.position());
            delivered.extend(keys(&next(&mut *stream).await.changes));
        }
        assert!(delivered.contains(&probe.key(round)), "the present does not cover the write of round {round}");
    }
}

/// Beyond the contract: without changes an empty batch comes soon, its feed up to date, so that the lease is renewed.
pub async fn quiet_feed_answers_an_empty_batch(harness: SourceHarness) {
    let probe = &**harness.role();
    put(probe, 1, "before").await;
    let mut stream = open(probe, Start::Now).await.expect("open");
    let position = stream.position();
    for _ in 0..2 {
        let asked = Instant::now();
        let batch = next(&mut *stream).await;
        assert!(batch.changes.is_empty(), "{:?}", batch.changes);
        let as_of = batch.as_of.expect("a feed without changes is up to date");
        assert!(as_of <= Instant::now(), "as of the future");
        assert!(asked.elapsed().as_secs() < 20, "the lease of the feed would be over");
        assert!(batch.position.order >= position.order && batch.position == stream.position());
    }
    let asked = Instant::now();
    put(probe, 2, "two").await;
    let changes = until(&mut *stream, |changes| !changes.is_empty()).await;
    assert_eq!(keys(&changes), [probe.key(2)]);
    let batch = next(&mut *stream).await;
    assert!(batch.as_of.is_none_or(|as_of| as_of >= asked), "the change was delivered, but the feed says it is older");
}

/// Beyond the contract: the feed delivers every write of many concurrent writers, each entity's changes in their order,
/// and a batch that says that it is complete as of an instant misses no earlier write.
pub async fn no_change_of_many_writers_is_lost(harness: SourceHarness) {
    const WRITERS: u32 = 4;
    const EACH: u32 = 25;
    let probe = Arc::clone(harness.role());
    let mut stream = open(&*probe, Start::Now).await.expect("open");
    let writers = tokio::spawn({
        let probe = Arc::clone(&probe);
        all((0..WRITERS).map(move |writer| {
            let probe = Arc::clone(&probe);
            async move {
                for number in 0..EACH {
                    put(&*probe, 1_000 * (writer + 1) + number, "one").await;
                    put(&*probe, writer, &number.to_string()).await;
                }
                Instant::now()
            }
        }))
    });
    let mut changes: Vec<Change> = Vec::new();
    let mut last = None;
    let written = loop {
        if writers.is_finished() {
            break writers.await.expect("the writers").into_iter().max();
        }
        let batch = next(&mut *stream).await;
        changes.extend(batch.changes);
        last = last.max(batch.as_of);
    };
    while last < written {
        let batch = next(&mut *stream).await;
        changes.extend(batch.changes);
        last = last.max(batch.as_of);
    }
    for writer in 0..WRITERS {
        let once: Vec<_> = (0..EACH).map(|number| probe.key(1_000 * (writer + 1) + number)).collect();
        let found: Vec<_> = keys(&changes).into_iter().filter(|key| once.contains(key)).collect();
        assert_eq!(found, once, "the entities of writer {writer}");
        let again = changes.iter().filter(|change| change.key == probe.key(writer));
        assert_eq!(again.count(), EACH as usize, "the changes of the one entity of writer {writer}");
    }
}

/// Beyond the contract: two readers of one feed each get everything.
pub async fn readers_do_not_take_from_each_other(harness: SourceHarness) {
    let probe = &**harness.role();
    let mut one = open(probe, Start::Now).await.expect("open");
    let mut two = open(probe, Start::Now).await.expect("open");
    for number in 0..5 {
        put(probe, number, "one").await;
    }
    let expected: Vec<_> = (0..5).map(|number| probe.key(number)).collect();
    for stream in [&mut one, &mut two] {
        assert_eq!(keys(&until(&mut **stream, |changes| changes.len() >= 5).await), expected);
    }
}

/// Beyond the contract: the end of the history is readable, and delivery reaches it.
pub async fn head_is_reached(harness: SourceHarness) {
    let probe = &**harness.role();
    let (feed, topic) = probe.source().feed().expect("this suite is for sources with a feed");
    let mut stream = feed.open(&[topic], Start::Now).await.expect("open");
    put(probe, 1, "one").await;
    put(probe, 2, "two").await;
    let head = feed.head().await.expect("head");
    let changes = until(&mut *stream, |changes| changes.len() >= 2).await;
    assert_eq!(keys(&changes), [probe.key(1), probe.key(2)]);
    // A head may be that of a whole server, whose other changes this feed passes with empty batches.
    for _ in 0..100 {
        if head.as_ref().is_none_or(|head| stream.position().order >= head.order) {
            return;
        }
        next(&mut *stream).await;
    }
    panic!("the feed stands at {:?} and never reaches its head {head:?}", stream.position());
}
