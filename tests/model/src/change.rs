//! Changes: an invalidation on all partitions, step by step, and the application that reports one.

use std::sync::Arc;

use smache_core::{ChangedDependency, Dependency, Error, Invalidation, InvalidationAttempt};
use smache_testkit::reference::{Opened, Walk};

use crate::{
    config::{Config, Reach, Rule},
    run::note_change,
    world::{World, row},
};

/// How far an invalidation is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Change {
    /// Of the partitions that it has announced itself to.
    walks: Vec<Walk>,
    /// In so many partitions the last step is done.
    finished: usize,
}

/// A change that the application has made and is reporting.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Report {
    row: usize,
    /// How many writes of the row are acknowledged at the end.
    writes: u8,
    attempt: InvalidationAttempt,
    change: Change,
}

/// The invalidation of rows.
#[must_use]
pub fn of_rows(rows: impl IntoIterator<Item = usize>) -> Invalidation {
    let mut dependencies: Vec<Dependency> = rows.into_iter().map(row).collect();
    dependencies.sort_unstable();
    dependencies.dedup();
    let cause: Arc<str> = "a change".into();
    let changed =
        dependencies.into_iter().map(|dependency| ChangedDependency { dependency, cause: Arc::clone(&cause) });
    Invalidation { changed: changed.collect(), ..Invalidation::default() }
}

/// The dependencies that an invalidation changes.
#[must_use]
pub fn dependencies_of(invalidation: &Invalidation) -> Vec<Dependency> {
    invalidation.changed.iter().map(|changed| changed.dependency).collect()
}

impl Change {
    /// The next step. Says whether it was the last one.
    ///
    /// # Errors
    /// Those of the store: the change has to begin again.
    pub fn step(
        &mut self,
        config: &Config,
        world: &mut World,
        attempt: InvalidationAttempt,
        of_part: impl Fn(&World, usize) -> Invalidation,
    ) -> Result<bool, Error> {
        let now = world.now();
        let parts = world.parts.len();
        let alone = parts == 1 || config.breaks(Rule::NoBarrier);
        if self.finished == self.walks.len() && self.finished < parts && alone || !alone && self.walks.len() < parts {
            let part = self.walks.len();
            let invalidation = of_part(world, part);
            note_change(config, world, part, &dependencies_of(&invalidation));
            let mut epochs = world.epochs;
            let new_epoch = || {
                epochs += 1;
                crate::world::epoch(epochs)
            };
            let page = config.page;
            let opened = world.parts[part].step(now, |store, at| match alone {
                true => store.open(at, &invalidation, attempt, page, new_epoch),
                false => store.announce(at, &invalidation, attempt).map(|walk| Opened::Announced(Box::new(walk))),
            })?;
            world.epochs = epochs;
            match opened {
                Opened::Done(_) if parts == 1 => return Ok(true),
                Opened::Done(_) => {
                    // Its place in the list is that of a walk which is over.
                    let walk = world.parts[part]
                        .step(now, |store, at| store.announce(at, &Invalidation::default(), attempt))?;
                    self.walks.push(walk);
                    self.finished += 1;
                    return Ok(self.finished == parts);
                }
                Opened::Announced(walk) => self.walks.push(*walk),
            }
            return Ok(false);
        }
        if config.breaks(Rule::RevisionFirst) && self.finished < parts {
            let walk = self.walks[self.finished].clone();
            world.parts[self.finished].step(now, |store, at| store.finish(at, walk, || crate::world::epoch(0)))?;
            self.finished += 1;
            return Ok(self.finished == parts && self.walks.iter().all(Walk::is_over));
        }
        if let Some((part, walk)) = self.walks.iter_mut().enumerate().find(|(_, walk)| !walk.is_over()) {
            config.reach(Reach::Walk);
            // It may write its marks again, after maintenance took it for dead and withdrew them.
            note_change(config, world, part, &dependencies_of(&walk.invalidation));
            let page = config.page.max(1);
            world.parts[part].step(now, |store, at| store.walk(at, walk, page))?;
            return Ok(self.finished == parts && self.walks.iter().all(Walk::is_over));
        }
        let part = self.finished;
        let walk = self.walks[part].clone();
        note_change(config, world, part, &dependencies_of(&walk.invalidation));
        let mut epochs = world.epochs;
        world.parts[part].step(now, |store, at| {
            store.finish(at, walk, || {
                epochs += 1;
                crate::world::epoch(epochs)
            })
        })?;
        world.epochs = epochs;
        self.finished += 1;
        Ok(self.finished == parts)
    }
}

/// The application writes a row. With a feed that is all.
pub fn write(config: &Config, world: &mut World, row: usize) {
    world.rows[row] += 1;
    let at = world.real;
    world.log.push((u8::try_from(row).unwrap_or(u8::MAX), at));
    if !config.is_fed() {
        let number = if config.breaks(Rule::OneNameForAllAttempts) { 0 } else { world.end() };
        let attempt = InvalidationAttempt::from_bytes([0x80 | number; InvalidationAttempt::LEN]);
        world.reports.push(Report { row, writes: world.rows[row], attempt, change: Change::default() });
    }
}

/// The next step of a report.
pub fn report(config: &Config, world: &mut World, index: usize) {
    let mut report = world.reports.remove(index);
    let row = report.row;
    match report.change.step(config, world, report.attempt, |_, _| of_rows([row])) {
        Ok(true) => world.acked[row] = world.acked[row].max(report.writes),
        Ok(false) => world.reports.push(report),
        // On another incarnation it begins again.
        Err(_) => world.reports.push(Report { change: Change::default(), ..report }),
    }
}
