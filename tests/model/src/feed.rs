//! The leader of the feed.

use smache_core::{ErrorKind, FeedStep, Incarnation, Invalidation, InvalidationAttempt, Leadership};

use crate::{
    change::{Change, dependencies_of, of_rows},
    config::{Config, Reach, Rule},
    run::note_change,
    world::{FEED, LEASE, SOURCE, VALIDITY, World, token},
};

/// A process that leads the feed or wants to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Leader {
    holder: u8,
    /// The fence in each partition where it leads.
    fences: Vec<u64>,
    /// The incarnation and the place that it has read in each partition.
    seen: Vec<(Incarnation, Option<u8>)>,
    /// The history that it reads.
    history: (u8, u8),
    /// The partitions whose source it has to restart.
    restarts: Vec<usize>,
    /// Behind which write it is.
    cursor: u8,
    /// The mutant: the cursor is still to be taken.
    behind: bool,
    /// When it last asked for the time of the stores, and how far that was set back.
    told: (u8, u8),
    batch: Option<Batch>,
    /// The mutant: its own place of before.
    own: Option<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Batch {
    /// Behind which write it ends.
    to: u8,
    /// Since when it was complete.
    as_of: Option<u8>,
    change: Change,
    /// The mutant: the partitions whose position is saved first.
    saved: usize,
}

impl Leader {
    /// A process that does not lead yet.
    #[must_use]
    pub fn new(holder: u8) -> Self {
        Self {
            holder: 0x40 + holder,
            fences: Vec::new(),
            seen: Vec::new(),
            history: (0, 0),
            restarts: Vec::new(),
            cursor: 0,
            behind: false,
            told: (0, 0),
            batch: None,
            own: None,
        }
    }

    fn reset(&mut self, config: &Config) {
        let own = (config.breaks(Rule::ResumesFromOwn) && !self.seen.is_empty()).then_some(self.cursor);
        *self = Self { own: own.or(self.own), ..Self::new(self.holder - 0x40) };
    }

    fn step(&self, world: &World, part: usize, writes: u8) -> FeedStep {
        FeedStep {
            feed: FEED.clone(),
            fence: self.fences[part],
            leadership: LEASE,
            incarnation: self.seen[part].0.clone(),
            positions: vec![(SOURCE.clone(), world.position(self.history, writes))],
            valid_for: None,
            deadline: None,
            caught_up: false,
        }
    }

    fn attempt(&self) -> InvalidationAttempt {
        let mut name = [1; InvalidationAttempt::LEN];
        name[6..10].copy_from_slice(&u32::try_from(self.fences[0]).unwrap_or(u32::MAX).to_be_bytes());
        name[10..].fill(self.cursor + 1);
        InvalidationAttempt::from_bytes(name)
    }
}

impl Batch {
    /// The part of the batch for a partition.
    fn invalidation(&self, config: &Config, world: &World, leader: &Leader, part: usize) -> Invalidation {
        let rows = world.log[leader.cursor.into()..self.to.into()].iter().map(|(row, _)| usize::from(*row));
        let early = config.breaks(Rule::CaughtUpBeforeReplay);
        let as_of = self.as_of.or(early.then_some(leader.told.0));
        let (told, back) = leader.told;
        // The time of the stores at that moment, by the clock that it was told.
        let deadline = |as_of: u8| world.clock_at(as_of.max(told), back).after(VALIDITY);
        let step = FeedStep {
            valid_for: as_of.map(|_| VALIDITY),
            deadline: as_of.map(deadline).filter(|_| !config.breaks(Rule::LateStepWithoutDeadline)),
            caught_up: as_of.is_some(),
            ..leader.step(world, part, self.to)
        };
        let step = Some(step).filter(|_| !config.breaks(Rule::PositionFirst));
        Invalidation { step, ..of_rows(rows) }
    }
}

/// The next step of a leader. Says whether it can take one.
pub fn step(config: &Config, world: &mut World, index: usize) -> bool {
    let mut leader = world.leaders[index].clone();
    let stepped = advance(config, world, &mut leader);
    if let Err(kind) = &stepped {
        if *kind == ErrorKind::Fenced {
            config.reach(Reach::Fenced);
        }
        leader.reset(config);
    }
    world.leaders[index] = leader;
    stepped != Ok(false)
}

fn advance(config: &Config, world: &mut World, leader: &mut Leader) -> Result<bool, ErrorKind> {
    let now = world.now();
    let parts = world.parts.len();
    if leader.fences.len() < parts {
        let part = leader.fences.len();
        let led = world.parts[part].step(now, |store, at| store.lead(at, &FEED, token(leader.holder), LEASE));
        return match led {
            Leadership::Leader { fence } => {
                leader.fences.push(fence);
                Ok(true)
            }
            // It waits until the other leader ends.
            Leadership::Follower { .. } => Ok(false),
        };
    }
    if leader.seen.len() < parts {
        let part = leader.seen.len();
        let saved = world.parts[part].step(now, |store, at| store.positions(at, std::slice::from_ref(&*SOURCE)));
        let place = saved.positions.into_iter().flatten().next().and_then(|position| world.place(&position));
        leader.seen.push((saved.incarnation, place));
        if leader.seen.len() == parts {
            open(config, world, leader);
        }
        return Ok(true);
    }
    if let Some(part) = leader.restarts.last().copied() {
        let step = leader.step(world, part, leader.cursor);
        let mut epochs = world.epochs;
        let restarted = world.parts[part].step(now, |store, at| {
            store.restart(at, &step, || {
                epochs += 1;
                crate::world::epoch(epochs)
            })
        });
        restarted.map_err(|error| error.kind())?;
        world.epochs = epochs;
        leads(world, leader, part);
        config.reach(Reach::Restart);
        leader.restarts.pop();
        leader.behind = config.breaks(Rule::PositionAfterEpoch);
        return Ok(true);
    }
    if leader.behind {
        (leader.behind, leader.cursor) = (false, world.end());
        return Ok(true);
    }
    let Some(batch) = leader.batch.take() else { return Ok(read(config, world, leader)) };
    hand_over(config, world, leader, batch)
}

/// Opens the feed behind the oldest place that is in its history.
fn open(config: &Config, world: &World, leader: &mut Leader) {
    let places = leader.seen.iter().filter_map(|(_, place)| *place);
    let oldest = if config.breaks(Rule::ResumesFromLatest) { places.max() } else { places.min() };
    let own = leader.own.filter(|_| config.breaks(Rule::ResumesFromOwn));
    leader.history = world.history;
    leader.told = (world.real, world.back);
    leader.cursor = own.or(oldest).unwrap_or(world.end());
    if config.breaks(Rule::ReconnectsSilently) && world.history.0 > 0 {
        return;
    }
    leader.restarts = (0..leader.seen.len()).filter(|part| leader.seen[*part].1.is_none()).collect();
}

/// Reads a batch, if there is something to hand over or to confirm.
fn read(config: &Config, world: &World, leader: &mut Leader) -> bool {
    if leader.history != world.history {
        // Lost: the feed goes on from the present, and all sources restart.
        (leader.history, leader.cursor) = (world.history, world.end());
        if !config.breaks(Rule::ReconnectsSilently) {
            leader.restarts = (0..world.parts.len()).collect();
        }
        return true;
    }
    leader.told = (world.real, world.back);
    let end = world.end();
    let until = world.now().after(VALIDITY);
    let is_confirmed = world.parts.iter().all(|part| {
        let source = part.store.validity.sources.get(&*SOURCE);
        source.is_some_and(|source| {
            source.caught_up_on.as_ref() == Some(&part.incarnation) && source.valid_until == Some(until)
        })
    });
    if leader.cursor >= end && is_confirmed {
        return false;
    }
    // A change at a time, so that a batch may end before the present.
    let to = end.min(leader.cursor + 1);
    let as_of = (to == end).then_some(world.real);
    leader.batch = Some(Batch { to, as_of, change: Change::default(), saved: 0 });
    true
}

fn hand_over(config: &Config, world: &mut World, leader: &mut Leader, mut batch: Batch) -> Result<bool, ErrorKind> {
    let now = world.now();
    if config.breaks(Rule::PositionFirst) && batch.saved < world.parts.len() {
        let part = batch.saved;
        let as_of = batch.as_of;
        let step = FeedStep {
            valid_for: as_of.map(|_| VALIDITY),
            caught_up: as_of.is_some(),
            ..leader.step(world, part, batch.to)
        };
        let only = Invalidation { step: Some(step), ..Invalidation::default() };
        let attempt = leader.attempt();
        let saved = world.parts[part]
            .step(now, |store, at| store.invalidate(at, &only, attempt, usize::MAX, || crate::world::epoch(0)));
        saved.map_err(|error| error.kind())?;
        batch.saved += 1;
        leader.batch = Some(batch);
        return Ok(true);
    }
    let mut change = std::mem::take(&mut batch.change);
    let attempt = leader.attempt();
    let replays = leader.cursor < batch.to
        && world.parts.iter().any(|part| {
            let saved = part.store.positions.get(&*SOURCE).and_then(|position| world.place(position));
            saved.is_some_and(|saved| saved >= batch.to)
        });
    let before: Vec<_> = world.parts.iter().map(|part| part.store.validity.clone()).collect();
    let over = change.step(config, world, attempt, |world, part| batch.invalidation(config, world, leader, part));
    let over = over.map_err(|error| error.kind())?;
    for (part, before) in before.iter().enumerate() {
        if world.parts[part].store.validity != *before {
            world.parts[part].confirmed_back = leader.told.1;
            leads(world, leader, part);
        }
    }
    if !over {
        batch.change = change;
        leader.batch = Some(batch);
        return Ok(true);
    }
    if replays {
        config.reach(Reach::Replay);
    }
    leader.cursor = batch.to;
    delivered(world, batch.to);
    Ok(true)
}

/// Changes up to a write are in all stores.
fn delivered(world: &mut World, to: u8) {
    for row in 0..world.acked.len() {
        world.acked[row] = world.acked[row].max(world.writes_to(row, to));
    }
}

/// A step of a leader was accepted: there must be no later one.
fn leads(world: &mut World, leader: &Leader, part: usize) {
    let present = world.parts[part].store.leaders.get(&*FEED);
    if present.is_none_or(|present| present.holder != token(leader.holder)) {
        world.broken = Some("a step of a leader that was replaced is accepted");
    }
}

/// A leader no longer waits for the answer to its step, which is still on its way, and begins again.
pub fn give_up(config: &Config, world: &mut World, index: usize) -> bool {
    let mut leader = world.leaders[index].clone();
    let Some(batch) = leader.batch.take() else { return false };
    if batch.change != Change::default() || world.parts.len() > 1 || config.page < usize::MAX {
        return false;
    }
    let invalidation = batch.invalidation(config, world, &leader, 0);
    world.late = Some((0, invalidation, leader.attempt()));
    leader.reset(config);
    world.leaders[index] = leader;
    true
}

/// The step arrives.
pub fn arrive(config: &Config, world: &mut World) -> bool {
    let Some((part, invalidation, attempt)) = world.late.take() else { return false };
    let now = world.now();
    note_change(config, world, part, &dependencies_of(&invalidation));
    let before = world.parts[part].store.positions.clone();
    let done = world.parts[part]
        .step(now, |store, at| store.invalidate(at, &invalidation, attempt, usize::MAX, || crate::world::epoch(0)));
    if done.is_ok() && before == world.parts[part].store.positions {
        config.reach(Reach::NotTaken);
    }
    true
}
