//! The model as the checker sees it: which steps are possible, and what each does.

use smache_core::Lane;
use stateright::{Model, Property};

use crate::{
    check::{is_wanted, no_false_fresh, no_lost_work},
    config::Config,
    feed, run,
    world::{Name, World},
};

/// A step of one process, of a store, or of fate. Numbers name a partition, a row, or the place of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it; the methods they call have the documentation")]
pub enum Action {
    Write(usize),
    Report(usize),
    Read(Name),
    Reserve(usize, Lane),
    Start(usize),
    Run(usize),
    Fail(usize),
    GiveUp(usize),
    Lead(usize),
    GiveUpStep(usize),
    Arrive,
    Reap(usize),
    Trim(usize),
    Sweep(usize),
    Redo,
    Attach(usize),
    Keep(usize),
    Tick,
    StepBack,
    NewEpoch(usize),
    Evict(usize, Name),
    Forget(usize),
    Snapshot(usize),
    FailOver(usize),
    LoseHistory,
}

impl Config {
    /// Does a step. Says whether it was possible.
    fn apply(&self, world: &mut World, action: Action) -> bool {
        let limits = &self.limits;
        match action {
            Action::Write(row) => {
                let may = world.spend(limits, |budget| &mut budget.writes);
                if may {
                    world.write(self, row);
                }
                may
            }
            Action::Report(index) => {
                crate::change::report(self, world, index);
                true
            }
            Action::Read(name) => {
                world.spend(limits, |budget| &mut budget.reads) && run::begin(self, world, name, None)
            }
            Action::Reserve(part, lane) => {
                run::reserve(self, world, part, lane);
                true
            }
            Action::Start(index) => {
                run::start(self, world, index);
                true
            }
            Action::Run(index) => run::step(self, world, index),
            Action::Fail(index) => world.spend(limits, |budget| &mut budget.aborts) && run::fail(world, index),
            Action::GiveUp(index) => {
                world.spend(limits, |budget| &mut budget.taints) && run::give_up(self, world, index)
            }
            Action::Lead(index) => feed::step(self, world, index),
            Action::GiveUpStep(index) => {
                world.spend(limits, |budget| &mut budget.late) && feed::give_up(self, world, index)
            }
            Action::Arrive => feed::arrive(self, world),
            Action::Reap(part) => {
                world.reap(self, part);
                true
            }
            Action::Trim(part) => {
                world.trim(part);
                true
            }
            Action::Sweep(part) => {
                world.sweep(self, part);
                true
            }
            Action::Redo => {
                world.redo(self);
                true
            }
            Action::Attach(part) => {
                world.attach(part);
                true
            }
            Action::Keep(part) => {
                world.keep(self, part);
                true
            }
            Action::Tick => {
                let may = world.spend(limits, |budget| &mut budget.ticks);
                if may {
                    world.tick();
                }
                may
            }
            Action::StepBack => {
                let may = world.back < world.real && world.spend(limits, |budget| &mut budget.backs);
                if may {
                    world.back += 1;
                }
                may
            }
            Action::NewEpoch(part) => {
                let may = world.spend(limits, |budget| &mut budget.epochs);
                if may {
                    let epoch = world.new_epoch();
                    world.parts[part].store.new_epoch(epoch);
                }
                may
            }
            Action::Evict(part, name) => {
                let may = world.spend(limits, |budget| &mut budget.evictions);
                if may {
                    world.evict(part, name);
                }
                may
            }
            Action::Forget(part) => {
                let may = world.spend(limits, |budget| &mut budget.forgets);
                if may {
                    world.forget(self, part);
                }
                may
            }
            Action::Snapshot(part) => {
                let may = world.spend(limits, |budget| &mut budget.snapshots);
                if may {
                    world.snapshot(part);
                }
                may
            }
            Action::FailOver(part) => {
                let may = world.parts[part].backup.is_some() && world.spend(limits, |budget| &mut budget.failovers);
                if may {
                    world.fail_over(self, part);
                }
                may
            }
            Action::LoseHistory => {
                let may = world.spend(limits, |budget| &mut budget.histories);
                if may {
                    world.history = (world.history.0 + 1, world.end());
                }
                may
            }
        }
    }

    fn of_processes(&self, world: &World, actions: &mut Vec<Action>) {
        actions.extend((0..world.reports.len()).map(Action::Report));
        for index in 0..world.runs.len() {
            actions.extend([Action::Run(index), Action::Fail(index), Action::GiveUp(index)]);
        }
        actions.extend((0..world.jobs.len()).map(Action::Start));
        for index in 0..world.leaders.len() {
            actions.extend([Action::Lead(index), Action::GiveUpStep(index)]);
        }
        if world.runs.len() + world.jobs.len() >= self.actors {
            return;
        }
        let readers = if self.has_parent() { &Name::ALL[..] } else { &[Name::Child] };
        let wanted = readers.iter().filter(|name| is_wanted(world, self.part_of(**name), **name));
        actions.extend(wanted.map(|name| Action::Read(*name)));
        if self.workers {
            for part in 0..self.parts {
                actions.extend(Lane::ALL.map(|lane| Action::Reserve(part, lane)));
            }
        }
    }
}

impl Model for Config {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let mut world = World::new(self);
        if self.prepared {
            run::begin(self, &mut world, Name::Parent, None);
            while !world.runs.is_empty() {
                for index in (0..world.runs.len()).rev() {
                    run::step(self, &mut world, index);
                }
            }
        }
        vec![world]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if world.broken.is_some() {
            return;
        }
        actions.extend((0..self.rows).map(Action::Write));
        self.of_processes(world, actions);
        if world.late.is_some() {
            actions.push(Action::Arrive);
        }
        if world.redo.is_some() || world.parts.iter().any(|part| !part.store.marks.is_empty()) {
            actions.push(Action::Redo);
        }
        actions.extend([Action::Tick, Action::StepBack, Action::LoseHistory]);
        for part in 0..self.parts {
            if self.maintained {
                actions.extend([Action::Reap(part), Action::Trim(part), Action::Sweep(part)]);
            }
            if !self.is_fed() {
                if world.parts[part].replaced > 0 {
                    actions.push(Action::Attach(part));
                }
                if world.real > 0 {
                    actions.push(Action::Keep(part));
                }
            }
            actions.extend([Action::NewEpoch(part), Action::Forget(part)]);
            if self.fails.is_none_or(|fails| fails == part) {
                actions.extend([Action::Snapshot(part), Action::FailOver(part)]);
            }
            let there = Name::ALL.into_iter().filter(|name| world.parts[part].store.records.contains_key(&name.id()));
            actions.extend(there.map(|name| Action::Evict(part, name)));
        }
    }

    fn next_state(&self, last: &World, action: Action) -> Option<World> {
        let mut world = last.clone();
        if !self.apply(&mut world, action) {
            return None;
        }
        world.normalize();
        (world != *last).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("no false fresh", no_false_fresh),
            Property::always("no broken promise", |_: &Self, world: &World| world.broken.is_none()),
            Property::always("no lost work", no_lost_work),
        ]
    }
}
