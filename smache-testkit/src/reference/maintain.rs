//! Maintenance, piece by piece.

use std::{ops::Bound, sync::Arc};

use smache_core::{
    Dependency, EntryId, Incarnation, InvalidationAttempt, Maintained, Result,
    protocol::{self, Mark},
    support::NEW_EPOCH,
};

use super::{
    Moment, Partition,
    invalidate::{Marked, check_incarnation},
};

/// An invalidation whose author seems dead, while maintenance does it again.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Redo {
    /// The dependency that was being invalidated.
    pub dependency: Dependency,
    /// The attempt that announced it.
    pub attempt: InvalidationAttempt,
    /// Its mark, as it was read.
    pub mark: Mark,
    /// The incarnation on which it was read.
    pub incarnation: Incarnation,
    /// Behind which dependant the walk goes on.
    pub after: Option<EntryId>,
    /// Whether all dependants are marked, so that [`Partition::finish_redo`] is the next step.
    pub is_over: bool,
    /// The entries that need a job, where the engine writes the jobs.
    pub jobs: Vec<EntryId>,
}

impl Partition {
    /// **M**: a whole piece of maintenance, without steps of others in between.
    pub fn maintain(&mut self, at: Moment<'_>, limit: usize) -> Maintained {
        let limit = limit.max(1);
        let mut done = Maintained::default();
        let overdue = self.overdue(at);
        done.more |= overdue.len() > limit;
        for mut redo in overdue.into_iter().take(limit) {
            while !redo.is_over && self.redo_page(at, &mut redo, limit).is_ok() {}
            done.jobs.append(&mut redo.jobs);
            done.redone += u64::from(self.finish_redo(at, &redo).is_ok());
        }
        self.expire(at, limit, &mut done);
        self.reap(at, limit, &mut done);
        done.trimmed = self.trim(at);
        self.sweep(at, limit, &mut done);
        done
    }

    /// **M**: removes expired entries.
    pub fn expire(&mut self, at: Moment<'_>, limit: usize, done: &mut Maintained) {
        let goes =
            |(id, entry): &(&EntryId, &super::Entry)| protocol::is_removed(&entry.head, self.runs.get(*id), at.now);
        let mut due: Vec<_> = self.records.iter().filter(goes).map(|(id, entry)| (entry.head.expires, *id)).collect();
        due.sort();
        done.more |= due.len() > limit;
        for (_, id) in due.iter().take(limit) {
            done.expired += u64::from(self.forget(at, id));
        }
    }

    /// **A**: ends the runs whose lease lapsed some time ago.
    pub fn reap(&mut self, at: Moment<'_>, limit: usize, done: &mut Maintained) {
        let lapsed = self.runs.keys().filter_map(|id| Some((*id, protocol::reap(&self.ended(at, id))?)));
        let lapsed: Vec<_> = lapsed.collect();
        done.more |= lapsed.len() > limit;
        for (id, job) in lapsed.into_iter().take(limit) {
            self.runs.remove(&id);
            self.write_job(at, id, job, &mut done.jobs);
            done.reaped += 1;
        }
    }

    /// **M**: forgets the invalidations that no present run compares with. Says how many there were.
    pub fn trim(&mut self, at: Moment<'_>) -> u64 {
        let trimmed = protocol::trim(self.revision, at.now, self.runs.values());
        let before = self.changed.len();
        self.changed.retain(|_, changed| *changed > trimmed);
        self.low_watermark = protocol::raised(self.low_watermark, trimmed);
        (before - self.changed.len()) as u64
    }

    /// **M**: the invalidations whose author seems dead, the oldest deadline first.
    #[must_use]
    pub fn overdue(&self, at: Moment<'_>) -> Vec<Redo> {
        let overdue = self.marks.iter().filter(|(_, mark)| mark.is_overdue(at.now));
        let redo = |(&(dependency, attempt), mark): (&(Dependency, InvalidationAttempt), &Mark)| Redo {
            dependency,
            attempt,
            mark: mark.clone(),
            incarnation: at.incarnation.clone(),
            after: None,
            is_over: false,
            jobs: Vec::new(),
        };
        let mut all: Vec<Redo> = overdue.map(redo).collect();
        all.sort_by_key(|redo| redo.mark.deadline);
        all
    }

    /// **M**: marks a page of the dependants of an unfinished invalidation.
    ///
    /// # Errors
    /// When the store is another incarnation by now.
    pub fn redo_page(&mut self, at: Moment<'_>, redo: &mut Redo, page: usize) -> Result<()> {
        check_incarnation(at, &redo.incarnation)?;
        let dependants = self.dependants_after(&redo.dependency, redo.after, page);
        let mut marked = Marked::default();
        for (id, via) in &dependants {
            self.mark(at, id, *via, Some(&redo.mark.cause), &mut marked);
        }
        redo.after = dependants.last().map(|(id, _)| *id);
        redo.is_over = dependants.len() < page;
        self.write_jobs(at, marked, &mut redo.jobs);
        Ok(())
    }

    /// **M**: the last step of a redo. It withdraws the mark that was read; a renewed one stays.
    ///
    /// # Errors
    /// When the store is another incarnation by now.
    pub fn finish_redo(&mut self, at: Moment<'_>, redo: &Redo) -> Result<()> {
        check_incarnation(at, &redo.incarnation)?;
        let name = (redo.dependency, redo.attempt);
        if self.marks.get(&name).is_some_and(|mark| mark.deadline == redo.mark.deadline) {
            self.marks.remove(&name);
        }
        self.revision = protocol::revise(self.revision);
        self.changed.insert(redo.dependency, self.revision);
        Ok(())
    }

    /// **M**: marks a page of the entries of old epochs, if an epoch has changed.
    pub fn sweep(&mut self, at: Moment<'_>, limit: usize, done: &mut Maintained) {
        let Some(after) = self.sweep else { return };
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let page: Vec<EntryId> = self.records.range((from, Bound::Unbounded)).take(limit).map(|(id, _)| *id).collect();
        let cause: Arc<str> = NEW_EPOCH.into();
        let mut marked = Marked::default();
        for id in &page {
            let Some(entry) = self.records.get_mut(id) else { continue };
            if let Some(job) = protocol::sweep(&mut entry.head, &self.validity, &cause, at.now) {
                marked.note(*id, job);
            }
        }
        done.marked += self.write_jobs(at, marked, &mut done.jobs);
        self.sweep = page.last().filter(|_| page.len() == limit).map(|last| Some(*last));
        done.more |= self.sweep.is_some();
    }
}
