//! Maintenance, and what goes wrong.

use smache_core::{Lane, Maintained, NewJob};

use smache_testkit::reference::{Moment, Partition};

use crate::{
    change::write,
    config::{Budget, Config, Reach, Rule},
    run::{note_change, note_forgotten},
    world::{Name, SOURCE, TICK, World, incarnation},
};

/// More than there is.
const ALL: usize = 100;

impl World {
    /// Ends the runs that lapsed some time ago.
    pub fn reap(&mut self, config: &Config, part: usize) {
        let now = self.now();
        let mut done = Maintained::default();
        self.parts[part].step(now, |store, at| store.reap(at, ALL, &mut done));
        if done.reaped > 0 {
            config.reach(Reach::Reap);
        }
    }

    /// Forgets changes that no run compares with.
    pub fn trim(&mut self, part: usize) {
        let now = self.now();
        self.parts[part].step(now, Partition::trim);
    }

    /// Marks an entry of an old epoch.
    pub fn sweep(&mut self, config: &Config, part: usize) {
        let now = self.now();
        let mut done = Maintained::default();
        self.parts[part].step(now, |store, at| store.sweep(at, 1, &mut done));
        if done.marked > 0 {
            config.reach(Reach::Sweep);
        }
    }

    /// A step of the redo of an invalidation whose author seems dead.
    pub fn redo(&mut self, config: &Config) {
        let now = self.now();
        match self.redo.take() {
            None => {
                let overdue = |part: usize| {
                    let partition = &self.parts[part];
                    let at = Moment { now, incarnation: &partition.incarnation };
                    partition.store.overdue(at).into_iter().next().map(|redo| (part, redo))
                };
                self.redo = (0..self.parts.len()).find_map(overdue);
            }
            Some((part, mut redo)) if !redo.is_over => {
                let page = config.page.max(1);
                if self.parts[part].step(now, |store, at| store.redo_page(at, &mut redo, page)).is_ok() {
                    self.redo = Some((part, redo));
                }
            }
            Some((part, redo)) => {
                config.reach(Reach::Redo);
                note_change(config, self, part, &[redo.dependency]);
                // On another incarnation the next one does it.
                let done = self.parts[part].step(now, |store, at| store.finish_redo(at, &redo));
                drop(done);
            }
        }
    }

    /// Attaches the source, which only the application reports.
    pub fn attach(&mut self, part: usize) {
        let now = self.now();
        let mut epochs = self.epochs;
        self.parts[part].step(now, |store, at| {
            store.attach(at, std::slice::from_ref(&*SOURCE), || {
                epochs += 1;
                crate::world::epoch(epochs)
            });
        });
        self.epochs = epochs;
    }

    /// Confirms attached sources.
    pub fn keep(&mut self, config: &Config, part: usize) {
        let now = self.now();
        let long = if config.breaks(Rule::KeptForever) { TICK * 100 } else { smache_core::ATTACHED_VALID_FOR };
        self.parts[part].step(now, |store, at| store.keep_attached(at, long));
    }

    /// Finds stale entries without a job, where the engine writes the jobs.
    pub fn reconcile(&mut self, config: &Config, part: usize) {
        if !config.reconciled || config.breaks(Rule::JobsApart) {
            return;
        }
        let now = self.now();
        self.parts[part].step(now, |store, at| {
            let lost = store.stale();
            let job =
                |(id, _): &(smache_core::EntryId, _)| NewJob { revive: false, ..NewJob::now(*id, Lane::Recompute) };
            let jobs: Vec<NewJob> = lost.iter().map(job).collect();
            store.enqueue(at, &jobs)
        });
    }

    /// A full store removes a record.
    pub fn evict(&mut self, part: usize, name: Name) {
        let now = self.now();
        self.parts[part].step(now, |store, at| store.evict(at, &name.id()));
    }

    /// A store remembers too many changes: it forgets them although runs compare with them.
    pub fn forget(&mut self, config: &Config, part: usize) {
        let store = &mut self.parts[part].store;
        let revision = store.revision;
        store.changed.clear();
        if !config.breaks(Rule::ChangesEvicted) {
            store.low_watermark = smache_core::protocol::raised(store.low_watermark, revision);
        }
        note_forgotten(config, self, part);
    }

    /// A standby keeps the present state.
    pub fn snapshot(&mut self, part: usize) {
        self.parts[part].backup = Some(Box::new(self.parts[part].store.clone()));
    }

    /// The standby takes over; the newest writes are lost.
    pub fn fail_over(&mut self, config: &Config, part: usize) {
        let part = &mut self.parts[part];
        let Some(backup) = part.backup.take() else { return };
        let old = std::mem::replace(&mut part.store, *backup);
        part.replaced += 1;
        let before = std::mem::replace(&mut part.incarnation, incarnation(part.replaced));
        part.superseded = config.superseded.then(|| Box::new((old, before)));
    }

    /// The clocks go on.
    pub fn tick(&mut self) {
        self.real += 1;
        self.acked_before = self.acked;
    }

    /// Something that its budget has to allow. Says whether it did.
    pub fn spend(&mut self, limits: &Budget, of: impl Fn(&mut Budget) -> &mut u8) -> bool {
        let mut limits = *limits;
        let spent = of(&mut self.spent);
        if *spent >= *of(&mut limits) {
            return false;
        }
        *spent += 1;
        true
    }

    /// The application writes a row.
    pub fn write(&mut self, config: &Config, row: usize) {
        write(config, self, row);
    }
}
