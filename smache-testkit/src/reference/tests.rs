//! The reference by itself: what it adds to the functions of the protocol.

use std::time::Duration;

use bytes::Bytes;
use smache_core::{
    Begin, BeginOutcome, ChangedDependency, Commit, CommitOutcome, Dependency, EntryId, Epoch, Incarnation,
    Invalidation, InvalidationAttempt, Maintained, OnConflict, Staleness, Timestamp, Token, UsedDependency, Via,
    protocol::{JobStage, JobWrite},
    support::limits::{MARK_LIFETIME, MARK_RENEWAL},
};

use super::{Moment, Opened, Partition};

const LEASE: Duration = Duration::from_secs(5);

fn id(number: u8) -> EntryId {
    EntryId::from_bytes([number; EntryId::LEN])
}

fn token(number: u8) -> Token {
    Token::from_bytes([number; Token::LEN])
}

fn epoch() -> Epoch {
    Epoch::from_bytes([1; Epoch::LEN])
}

fn change(name: &str) -> Invalidation {
    let changed = vec![ChangedDependency { dependency: Dependency::tag(name), cause: name.into() }];
    Invalidation { changed, ..Invalidation::default() }
}

fn attempt(number: u8) -> InvalidationAttempt {
    InvalidationAttempt::from_bytes([0x80 | number; InvalidationAttempt::LEN])
}

/// One partition on one incarnation.
struct World {
    partition: Partition,
    incarnation: Incarnation,
    now: Timestamp,
}

impl World {
    fn new() -> Self {
        let now = Timestamp::from_millis(1_000);
        Self { partition: Partition::new(epoch()), incarnation: Incarnation::new("one"), now }
    }

    fn step<T>(&mut self, step: impl FnOnce(&mut Partition, Moment<'_>) -> T) -> T {
        step(&mut self.partition, Moment { now: self.now, incarnation: &self.incarnation })
    }

    fn begin(&mut self, number: u8) -> Commit {
        let begin = Begin { id: id(number), token: token(number), lease: LEASE };
        let BeginOutcome::Begun(begun) = self.step(|partition, at| partition.begin(at, &begin)) else {
            panic!("no other run")
        };
        Commit {
            id: id(number),
            token: token(number),
            start_revision: begun.start_revision,
            version: begun.start_revision,
            on_conflict: OnConflict::StoreStale,
            incarnation: begun.incarnation,
            epochs: begun.validity.epochs([]),
            call: Bytes::new(),
            value: Bytes::from_static(b"value"),
            meta: Bytes::new(),
            used: vec![UsedDependency { dependency: Dependency::tag("a"), via: Via::Direct }],
            ttl: None,
            not_after: None,
            tainted: false,
            lazy: false,
            conflict_delay: Duration::ZERO,
        }
    }

    fn store(&mut self, number: u8) {
        let commit = self.begin(number);
        let outcome = self.step(|partition, at| partition.commit(at, commit));
        assert!(matches!(outcome, CommitOutcome::Fresh { .. }), "{outcome:?}");
    }

    fn staleness(&self, number: u8) -> Staleness {
        self.partition.records[&id(number)].head.staleness
    }
}

#[test]
fn an_invalidation_in_pages_ends_as_one_in_a_step() {
    let mut whole = World::new();
    let mut paged = World::new();
    for world in [&mut whole, &mut paged] {
        (1..=5).for_each(|number| world.store(number));
    }
    let invalidate = |world: &mut World, page| {
        world.step(|partition, at| partition.invalidate(at, &change("a"), attempt(1), page, epoch)).expect("no feed")
    };
    assert_eq!(invalidate(&mut whole, usize::MAX), invalidate(&mut paged, 2));
    assert_eq!(whole.partition, paged.partition);
    assert_eq!((whole.partition.revision, whole.partition.jobs.len()), (1, 5));
}

#[test]
fn a_run_that_ends_behind_a_page_meets_the_mark() {
    let mut world = World::new();
    (1..=2).for_each(|number| world.store(number));
    let late = world.begin(0);
    let opened = world.step(|partition, at| partition.open(at, &change("a"), attempt(1), 1, epoch)).expect("no feed");
    let Opened::Announced(mut walk) = opened else { panic!("two dependants do not fit into a page") };
    world.step(|partition, at| partition.walk(at, &mut walk, 1)).expect("no feed");
    assert_eq!((world.staleness(1), world.staleness(2)), (Staleness::Stale, Staleness::Fresh));

    let outcome = world.step(|partition, at| partition.commit(at, late));
    assert!(matches!(outcome, CommitOutcome::Conflicted { .. }), "{outcome:?}");
    while !walk.is_over() {
        world.step(|partition, at| partition.walk(at, &mut walk, 1)).expect("no feed");
    }
    let done = world.step(|partition, at| partition.finish(at, *walk, epoch)).expect("no feed");
    assert_eq!((done.revision, done.marked), (1, 2));
    assert!(
        world.partition.marks.is_empty() && world.partition.records.values().all(|entry| entry.head.since.is_some())
    );
}

#[test]
fn maintenance_redoes_a_mark_that_was_not_renewed() {
    let mut world = World::new();
    (1..=3).for_each(|number| world.store(number));
    let open = |world: &mut World, number| {
        let opened = world.step(|partition, at| partition.open(at, &change("a"), attempt(number), 1, epoch));
        let Ok(Opened::Announced(walk)) = opened else { panic!("three dependants do not fit into a page") };
        walk
    };
    let mut alive = open(&mut world, 1);
    drop(open(&mut world, 2));
    world.now = world.now.after(MARK_RENEWAL);
    world.step(|partition, at| partition.renew(at, &mut alive)).expect("no feed");
    world.now = world.now.after(MARK_LIFETIME - MARK_RENEWAL);
    let done = world.step(|partition, at| partition.maintain(at, 10));
    assert_eq!(done, Maintained { redone: 1, trimmed: 1, ..Maintained::default() });
    let left: Vec<_> = world.partition.marks.keys().map(|(_, attempt)| *attempt).collect();
    assert_eq!((left, world.partition.revision), (vec![attempt(1)], 1));
    assert!(world.partition.records.values().all(|entry| entry.head.staleness == Staleness::Stale));

    world.incarnation = Incarnation::new("two");
    assert!(world.step(|partition, at| partition.walk(at, &mut alive, 1)).is_err());
}

#[test]
fn an_old_epoch_is_swept_page_by_page() {
    let mut world = World::new();
    (1..=3).for_each(|number| world.store(number));
    world.partition.new_epoch(Epoch::from_bytes([2; Epoch::LEN]));
    let mut marked = Vec::new();
    loop {
        let done = world.step(|partition, at| partition.maintain(at, 2));
        marked.push(done.marked);
        if !done.more {
            break;
        }
    }
    assert_eq!((marked, world.partition.jobs.len()), (vec![2, 1], 3));
}

#[test]
fn removing_leaves_nothing_and_evicting_leaves_the_run() {
    let mut world = World::new();
    world.store(1);
    let run = world.begin(1);
    assert!(world.step(|partition, at| partition.evict(at, &id(1))));
    assert_eq!((world.partition.records.len(), world.partition.edges.len(), world.partition.runs.len()), (0, 0, 1));
    world.step(|partition, at| partition.write_job(at, id(1), JobWrite::Keep, &mut Vec::new()));
    assert!(world.step(|partition, at| partition.remove(at, &id(1), None)));
    assert_eq!(world.step(|partition, at| partition.commit(at, run)), CommitOutcome::Lost);
    assert_eq!(world.partition, World::new().partition);
}

#[test]
fn a_job_is_delivered_by_priority_then_by_time() {
    use smache_core::{Enqueued, Lane, NewJob, Reserve};

    let mut world = World::new();
    let job = |number, priority| NewJob { priority, ..NewJob::now(id(number), Lane::Recompute) };
    let added = world.step(|partition, at| partition.enqueue(at, &[job(1, 4), job(2, 4), job(3, 1), job(1, 4)]));
    assert_eq!(added, [Enqueued::Queued, Enqueued::Queued, Enqueued::Queued, Enqueued::Merged]);
    let reserve = Reserve { token: token(1), ..Reserve::new(Lane::Recompute, 2, LEASE) };
    let reserved = world.step(|partition, at| partition.reserve(at, &reserve));
    let ids: Vec<_> = reserved.jobs.iter().map(|job| job.id).collect();
    assert_eq!((ids, reserved.next_due), (vec![id(3), id(1)], Some(Duration::ZERO)));
    assert!(matches!(world.partition.jobs[&id(3)].stage, JobStage::Running { .. }));
    let again = world.step(|partition, at| partition.reserve(at, &reserve.clone().again()));
    assert_eq!(again.jobs.len(), 2);
    world.now = world.now.after(LEASE);
    let lapsed = world.step(|partition, at| partition.reserve(at, &Reserve { token: token(2), ..reserve }));
    assert_eq!(lapsed.jobs.iter().map(|job| job.crashes).collect::<Vec<_>>(), [1, 0]);
}
