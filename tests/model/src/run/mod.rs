//! Runs and jobs: a process computes an entry, one step at a time. A process that crashed takes no step any more.

mod commit;

use std::time::Duration;

use smache_core::{
    Abort, Begin, BeginOutcome, Dependency, Epochs, Incarnation, JobEnd, Lane, Reserve, Settled, Settlement, Staleness,
    UsedDependency, Via,
};

use self::commit::commit;
use crate::{
    config::{Config, Functions, Reach, Rule},
    world::{LEASE, Name, SOURCE, World, row, token},
};

/// How often a parent computes a child that does not stay fresh.
const TRIES: u8 = 1;

/// A reserved job whose run has not begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Job {
    /// The entry.
    pub entry: Name,
    /// The token of the reservation.
    pub token: u8,
}

/// A run under way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Run {
    /// The entry.
    pub entry: Name,
    /// The token of the run.
    pub token: u8,
    /// The token of the reservation of its job.
    pub job: Option<u8>,
    start: u64,
    incarnation: Incarnation,
    epochs: Epochs,
    rows: [Option<u8>; 2],
    child: Option<Vec<u8>>,
    used: Vec<UsedDependency>,
    tainted: bool,
    /// The stored value, while the run looks whether it is still right.
    old: Option<Old>,
    /// The reads that are made again, and the revision under which the value is stored then.
    again: Option<(u64, Vec<Again>)>,
    next: Next,
    /// How often it has computed its child.
    tries: u8,
    /// How many runs of the entry began later.
    age: u8,
    /// Whether one of them has stored its value.
    overtaken: bool,
    /// What has changed since the begin.
    changed: Vec<Dependency>,
    forgotten: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Old {
    value: Vec<u8>,
    used: Vec<UsedDependency>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Again {
    Row(usize),
    Child,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Next {
    Work,
    Abort(End),
    Settle(End),
}

/// How a job ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum End {
    Done,
    Release(Duration),
}

/// The value of the child.
#[must_use]
pub fn child(functions: Functions, a: u8, b: u8) -> Vec<u8> {
    match functions {
        Functions::Dynamic if a % 2 == 1 => vec![a, b + 1],
        Functions::CutOff => vec![a / 2],
        Functions::Switch => vec![if a % 2 == 1 { b } else { 0 }],
        _ => vec![a],
    }
}

/// The value of the parent.
#[must_use]
pub fn parent(functions: Functions, mut child: Vec<u8>, b: u8) -> Vec<u8> {
    if functions == Functions::CutOff {
        child.push(b);
    }
    child
}

/// Takes a job of a lane, if one is due.
pub fn reserve(config: &Config, world: &mut World, part: usize, lane: Lane) {
    let number = world.free_token();
    let now = world.now();
    let reserve = Reserve { token: token(number), ..Reserve::new(lane, 1, LEASE) };
    let reserved = world.parts[part].step(now, |store, at| store.reserve(at, &reserve));
    for job in reserved.jobs {
        if job.crashes > 0 {
            config.reach(Reach::PutBack);
        }
        world.jobs.push(Job { entry: Name::of(&job.id), token: number });
    }
}

/// The next step of a reserved job.
pub fn start(config: &Config, world: &mut World, index: usize) {
    let job = world.jobs.remove(index);
    if !begin(config, world, job.entry, Some(job.token)) {
        settle(config, world, job, End::Release(LEASE));
    }
}

fn settle(config: &Config, world: &mut World, job: Job, end: End) {
    let end = match end {
        End::Done => JobEnd::Done,
        End::Release(delay) => JobEnd::Release { delay },
    };
    let settlement = Settlement { id: job.entry.id(), token: token(job.token), end };
    let now = world.now();
    let settled = world.parts[config.part_of(job.entry)].step(now, |store, at| store.settle(at, &settlement));
    if settled == Settled::Again {
        config.reach(Reach::JobAgain);
    }
}

/// Begins a run. Says whether it holds the lease.
pub fn begin(config: &Config, world: &mut World, entry: Name, job: Option<u8>) -> bool {
    let now = world.now();
    let part = config.part_of(entry);
    let present = world.parts[part].store.runs.get(&entry.id()).cloned();
    let number = match &present {
        Some(run) if config.breaks(Rule::TokenUsedAgain) && !run.holds(now) => run.token.as_bytes()[0],
        _ => world.free_token(),
    };
    let begin = Begin { id: entry.id(), token: token(number), lease: LEASE };
    let begun = match world.parts[part].step(now, |store, at| store.begin(at, &begin)) {
        BeginOutcome::Begun(begun) => begun,
        BeginOutcome::Busy { .. } => return false,
    };
    if present.is_some_and(|run| run.holds(now)) {
        world.broken = Some("two runs hold the lease of an entry");
    }
    world.runs.iter_mut().filter(|run| run.entry == entry).for_each(|run| run.age += 1);
    let stored = begun.entry.as_ref();
    let is_stale = stored.is_some_and(|entry| begun.validity.judge(entry, begun.now, &begun.incarnation).is_stale());
    let mut run = Run {
        entry,
        token: number,
        job,
        start: begun.start_revision,
        epochs: begun.validity.epochs([&*SOURCE]),
        incarnation: begun.incarnation.clone(),
        rows: [None; 2],
        child: None,
        used: Vec::new(),
        tainted: false,
        old: None,
        again: None,
        next: Next::Work,
        tries: 0,
        age: 0,
        overtaken: false,
        changed: world.parts[part].store.marks.keys().map(|(dependency, _)| *dependency).collect(),
        forgotten: false,
    };
    if job.is_some() && !is_stale {
        // Another run was faster, or the entry is gone.
        run.next = Next::Abort(End::Done);
    } else if let Some(stored) = stored.filter(|_| entry == Name::Parent) {
        let direct = config.breaks(Rule::RevalidatesDirect);
        let only_through_children =
            stored.staleness == Staleness::MaybeStale || direct && stored.staleness == Staleness::Stale;
        let has_epochs = begun.validity.has_epochs(&stored.epochs) || config.breaks(Rule::RevalidatesOldEpochs);
        let maybe = only_through_children || config.breaks(Rule::RevalidatesOldEpochs);
        if maybe && has_epochs {
            let kept = config.breaks(Rule::RevalidatesWithOldDependencies);
            let used = begun.used.iter().copied().filter(|used| kept || used.via == Via::Direct).collect();
            run.old = Some(Old { value: stored.value.to_vec(), used });
        }
    }
    world.runs.push(run);
    true
}

/// The run ends without a value, by itself.
pub fn fail(world: &mut World, index: usize) -> bool {
    let run = &mut world.runs[index];
    let works = run.next == Next::Work;
    if works {
        run.next = Next::Abort(End::Release(Duration::ZERO));
    }
    works
}

/// The parent gives up on a child that is not fresh.
pub fn give_up(config: &Config, world: &mut World, index: usize) -> bool {
    let run = &world.runs[index];
    let waits = run.entry == Name::Parent && run.child.is_none() && run.old.is_none() && run.next == Next::Work;
    waits && take_stale_child(config, world, index)
}

/// The parent takes a value of the child that is not fresh, and is stored as stale.
fn take_stale_child(config: &Config, world: &mut World, index: usize) -> bool {
    let part = &world.parts[config.part_of(Name::Child)];
    let Some(stored) = part.store.records.get(&Name::Child.id()) else { return false };
    let value = stored.value.to_vec();
    let run = &mut world.runs[index];
    run.child = Some(value);
    run.used.push(UsedDependency { dependency: Name::Child.dependency(), via: Via::Direct });
    run.tainted = true;
    config.reach(Reach::Tainted);
    true
}

/// The next step of a run. Says whether it can take one.
pub fn step(config: &Config, world: &mut World, index: usize) -> bool {
    let now = world.now();
    let run = &world.runs[index];
    let part = config.part_of(run.entry);
    match run.next {
        Next::Abort(end) => {
            let abort = Abort { id: run.entry.id(), token: token(run.token), failure: None, delay: Duration::ZERO };
            world.parts[part].step(now, |store, at| store.abort(at, &abort));
            ended(world, index, end);
            true
        }
        Next::Settle(end) => {
            let run = world.runs.remove(index);
            if let Some(token) = run.job {
                settle(config, world, Job { entry: run.entry, token }, end);
            }
            true
        }
        Next::Work if run.again.is_some() => read_again(config, world, index),
        Next::Work if run.entry == Name::Parent && run.child.is_none() => match read_child(config, world) {
            Ok((value, used)) => {
                let run = &mut world.runs[index];
                if let Some(old) = &run.old {
                    let same = old.value.starts_with(&value) || config.breaks(Rule::RevalidatesWithoutComparing);
                    if !same {
                        // The function runs, and reads its child again.
                        run.old = None;
                        return true;
                    }
                    run.used.extend(old.used.iter().copied());
                }
                if !config.breaks(Rule::RevalidatesWithOldDependencies) || run.old.is_none() {
                    run.used.extend(used);
                }
                run.child = Some(value);
                true
            }
            Err(wanted) => wanted && compute_child(config, world, index),
        },
        Next::Work => {
            if let Some(which) = next_row(config, &world.runs[index]) {
                let lag = u8::from(config.breaks(Rule::LaggingReads));
                let value = world.rows[which].saturating_sub(lag);
                let run = &mut world.runs[index];
                run.rows[which] = Some(value);
                run.used.push(UsedDependency { dependency: row(which), via: Via::Direct });
            } else {
                commit(config, world, index);
            }
            true
        }
    }
}

fn next_row(config: &Config, run: &Run) -> Option<usize> {
    let is_odd = run.rows[0].is_some_and(|a| a % 2 == 1);
    let wanted = match (run.entry, config.functions) {
        _ if run.old.is_some() => [false; 2],
        (Name::Child, Functions::Dynamic | Functions::Switch) => [true, is_odd],
        (Name::Child, _) => [true, false],
        (Name::Parent, Functions::CutOff) => [false, true],
        (Name::Parent, _) => [false; 2],
    };
    (0..2).find(|which| wanted[*which] && run.rows[*which].is_none())
}

/// A process of the parent computes a child that nothing else computes. After a few tries it goes on without.
fn compute_child(config: &Config, world: &mut World, index: usize) -> bool {
    let busy =
        world.runs.iter().any(|run| run.entry == Name::Child) || world.jobs.iter().any(|job| job.entry == Name::Child);
    if busy {
        return false;
    }
    let run = &mut world.runs[index];
    if run.tries < TRIES {
        run.tries += 1;
        return begin(config, world, Name::Child, None);
    }
    if run.old.is_some() {
        // Not known now: the job looks again.
        run.next = Next::Abort(End::Release(LEASE));
    } else if run.again.is_some() {
        run.again = Some((run.start, Vec::new()));
    } else {
        return take_stale_child(config, world, index);
    }
    true
}

/// The child with what it depends on, if it is fresh. Otherwise whether it is to be computed.
fn read_child(config: &Config, world: &mut World) -> Result<(Vec<u8>, Vec<UsedDependency>), bool> {
    let now = world.now();
    let part = config.part_of(Name::Child);
    let full = world.parts[part].step(now, |store, at| store.read_record(at, &Name::Child.id()));
    let Some(record) = full.record else { return Err(true) };
    let freshness = full.validity.judge(&record.entry, full.now, &full.incarnation);
    let stale = config.breaks(Rule::StaleChild) || config.breaks(Rule::RevalidatesWithStaleChild);
    let unconfirmed = config.breaks(Rule::UnconfirmedChild) && freshness.is_unconfirmed();
    if !(freshness.is_fresh() || unconfirmed || stale) {
        return Err(freshness.is_stale());
    }
    let own = UsedDependency { dependency: Name::Child.dependency(), via: Via::Child };
    let mut used = vec![own];
    if !config.breaks(Rule::ChildNotFlattened) {
        used.extend(record.used.iter().map(|used| UsedDependency { via: Via::Child, ..*used }));
    }
    Ok((record.entry.value.to_vec(), used))
}

fn read_again(config: &Config, world: &mut World, index: usize) -> bool {
    let Some((_, reads)) = &world.runs[index].again else { return false };
    let same = match reads.last() {
        None => {
            commit(config, world, index);
            return true;
        }
        Some(Again::Row(which)) => {
            config.breaks(Rule::RereadsNothing) || world.runs[index].rows[*which] == Some(world.rows[*which])
        }
        Some(Again::Child) => match read_child(config, world) {
            Ok((value, used)) => {
                let run = &mut world.runs[index];
                run.used.retain(|used| used.via != Via::Child);
                run.used.extend(used);
                run.child.as_ref() == Some(&value) || config.breaks(Rule::RereadsNothing)
            }
            Err(wanted) => return wanted && compute_child(config, world, index),
        },
    };
    let run = &mut world.runs[index];
    match &mut run.again {
        Some((_, reads)) if same => drop(reads.pop()),
        again => *again = Some((run.start, Vec::new())),
    }
    true
}

fn ended(world: &mut World, index: usize, end: End) {
    match world.runs[index].job {
        Some(_) => world.runs[index].next = Next::Settle(end),
        None => drop(world.runs.remove(index)),
    }
}

/// Runs of a partition learn in secret what changes, so that a conflict without a change is found.
pub fn note_change(config: &Config, world: &mut World, part: usize, changed: &[Dependency]) {
    for run in world.runs.iter_mut().filter(|run| config.part_of(run.entry) == part) {
        run.changed.extend(changed);
        run.changed.sort_unstable();
        run.changed.dedup();
    }
}

/// A store has forgotten changes that these runs compare with.
pub fn note_forgotten(config: &Config, world: &mut World, part: usize) {
    world.runs.iter_mut().filter(|run| config.part_of(run.entry) == part).for_each(|run| run.forgotten = true);
}
