//! The promises: no false fresh, no lost work, monotone.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use smache_core::{Incarnation, Lane, Timestamp, Validity};
use smache_testkit::reference::{Moment, Partition};

use crate::{
    config::{Config, Reach, Rule},
    feed::{self, Leader},
    run,
    world::{Name, SOURCE, World, hash},
};

/// How often the clocks go on at the end: marks, leases and attached sources end, and a job that waits becomes due.
const LAST_TICKS: u8 = 5;
/// More steps than it takes to come to rest.
const ROUNDS: usize = 200;

/// States that were seen.
#[derive(Debug, Default)]
pub struct Seen(Mutex<HashSet<u64>>);

impl Seen {
    fn insert(&self, hash: u64) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(hash)
    }
}

/// No false fresh: each entry that a look-up would judge fresh equals the function at data that are not older than the
/// last acknowledged change, and than a feed may be behind.
#[must_use]
pub fn no_false_fresh(config: &Config, world: &World) -> bool {
    let now = world.now();
    world.parts.iter().enumerate().all(|(part, partition)| {
        let behind = overdue(config, world, world.back.saturating_sub(partition.confirmed_back));
        let required = [0, 1].map(|row| world.acked[row].max(behind[row]));
        let present = (&partition.store, &partition.incarnation);
        let superseded = partition.superseded.as_ref().is_none_or(|superseded| {
            let required = if config.is_fed() { behind } else { world.acked_before };
            judged(config, world, part, (&superseded.0, &superseded.1), now, required)
        });
        superseded && judged(config, world, part, present, now, required)
    })
}

/// How many writes of each row a fresh value has to show because they were long ago.
fn overdue(config: &Config, world: &World, back: u8) -> [u8; 2] {
    let mut writes = [0; 2];
    if config.is_fed() {
        for (row, at) in &world.log {
            writes[usize::from(*row)] += u8::from(at + 1 + back < world.real);
        }
    }
    writes
}

fn judged(
    config: &Config,
    world: &World,
    part: usize,
    (store, incarnation): (&Partition, &Incarnation),
    now: Timestamp,
    required: [u8; 2],
) -> bool {
    Name::ALL.into_iter().filter(|name| config.part_of(*name) == part).all(|name| {
        let lookup = store.lookup(Moment { now, incarnation }, &[name.id()]);
        let Some(entry) = lookup.entries.into_iter().flatten().next() else { return true };
        let validity = as_read(config, &lookup.validity, incarnation);
        if !validity.judge(&entry, lookup.now, incarnation).is_fresh() {
            return true;
        }
        config.reach(Reach::FreshHit);
        is_value(config, world, name, &entry.value, required)
    })
}

fn as_read(config: &Config, validity: &Validity, incarnation: &Incarnation) -> Validity {
    let mut validity = validity.clone();
    if config.breaks(Rule::IncarnationIgnored) {
        let known = validity.sources.values_mut().filter(|source| source.caught_up_on.is_some());
        known.for_each(|source| source.caught_up_on = Some(incarnation.clone()));
    }
    validity
}

/// Whether it is the value of the function at data with at least so many writes.
fn is_value(config: &Config, world: &World, name: Name, value: &[u8], required: [u8; 2]) -> bool {
    let of_row = |row: usize| required[row]..=world.rows[row];
    of_row(0).any(|a| {
        of_row(1).any(|b| {
            let child = run::child(config.functions, a, b);
            match name {
                Name::Child => child == value,
                // It reads `b` at another moment than its child.
                Name::Parent => of_row(1).any(|b| run::parent(config.functions, child.clone(), b) == value),
            }
        })
    })
}

/// No lost work: all processes crash now; others start, and after a while every entry is fresh, by the present data.
#[must_use]
pub fn no_lost_work(config: &Config, world: &World) -> bool {
    let crash = |leaders: Vec<Leader>| World {
        runs: Vec::new(),
        jobs: Vec::new(),
        reports: Vec::new(),
        redo: None,
        late: None,
        leaders,
        ..world.clone()
    };
    let others = if config.is_fed() { vec![Leader::new(9)] } else { Vec::new() };
    let mut starts = vec![crash(others)];
    if config.is_fed() {
        // The leaders live on.
        starts.push(crash(world.leaders.clone()));
    }
    starts.into_iter().all(|start| !config.converged.insert(hash(&start)) || converges(config, start))
}

fn converges(config: &Config, mut world: World) -> bool {
    let mut ticks = 0;
    for _ in 0..ROUNDS {
        let before = world.clone();
        round(config, &mut world);
        if !no_false_fresh(config, &world) {
            return false;
        }
        if world != before {
            continue;
        }
        if ticks == LAST_TICKS {
            return is_at_rest(config, &world);
        }
        ticks += 1;
        world.tick();
    }
    false
}

fn round(config: &Config, world: &mut World) {
    for index in (0..world.runs.len()).rev() {
        run::step(config, world, index);
    }
    while !world.jobs.is_empty() {
        run::start(config, world, 0);
    }
    for index in 0..world.leaders.len() {
        feed::step(config, world, index);
    }
    let overdue = world.redo.is_some() || world.parts.iter().any(|part| !part.store.marks.is_empty());
    if overdue {
        world.redo(config);
    }
    for part in 0..world.parts.len() {
        world.reap(config, part);
        world.sweep(config, part);
        if !config.is_fed() {
            world.attach(part);
            world.keep(config, part);
        }
        world.reconcile(config, part);
        for lane in Lane::ALL {
            if world.runs.is_empty() {
                run::reserve(config, world, part, lane);
            }
        }
    }
}

fn is_at_rest(config: &Config, world: &World) -> bool {
    let now = world.now();
    Name::ALL.into_iter().all(|name| {
        let part = &world.parts[config.part_of(name)];
        let lookup = part.store.lookup(Moment { now, incarnation: &part.incarnation }, &[name.id()]);
        let Some(entry) = lookup.entries.into_iter().flatten().next() else { return true };
        let is_fresh = lookup.validity.judge(&entry, now, &part.incarnation).is_fresh();
        let required = if config.is_fed() { world.rows } else { world.acked };
        is_fresh && is_value(config, world, name, &entry.value, required)
    })
}

/// Whether a reader of an entry begins a run.
#[must_use]
pub fn is_wanted(world: &World, part: usize, name: Name) -> bool {
    let partition = &world.parts[part];
    let lookup = partition.store.lookup(Moment { now: world.now(), incarnation: &partition.incarnation }, &[name.id()]);
    match lookup.entries.into_iter().flatten().next() {
        Some(entry) => lookup.validity.judge(&entry, lookup.now, &partition.incarnation).is_stale(),
        None => lookup.validity.sources.contains_key(&*SOURCE),
    }
}
