//! Maintenance.

use std::{ops::Bound, sync::Arc};

use smache_core::{
    EntryId, Maintained, Timestamp,
    protocol::{self, Ended, JobWrite},
    support::{NEW_EPOCH, limits::REMEMBERED_CHANGES},
};

use super::{sink::JobSink, state::Cache};

impl Cache {
    pub(crate) fn maintain(&mut self, limit: usize, now: Timestamp, sink: &mut JobSink<'_>) -> Maintained {
        let limit = limit.max(1);
        let mut done = Maintained::default();
        self.expire(limit, now, sink, &mut done);
        self.reap(limit, now, sink, &mut done);
        done.trimmed = self.trim(now);
        self.sweep(limit, now, sink, &mut done);
        done.jobs = sink.take_reported();
        self.shrink();
        done
    }

    fn expire(&mut self, limit: usize, now: Timestamp, sink: &mut JobSink<'_>, done: &mut Maintained) {
        let goes = |id: &EntryId| {
            self.records.get(id).is_some_and(|slot| protocol::is_removed(&slot.entry.head, self.runs.get(id), now))
        };
        let due = self.expiring.iter().take_while(|(expires, _)| *expires <= now).map(|(_, id)| *id);
        let mut due: Vec<EntryId> = due.filter(|id| goes(id)).take(limit + 1).collect();
        done.more |= due.len() > limit;
        due.truncate(limit);
        for id in due {
            self.forget(&id, sink);
            done.expired += 1;
        }
    }

    fn reap(&mut self, limit: usize, now: Timestamp, sink: &mut JobSink<'_>, done: &mut Maintained) {
        let ended = |id: &EntryId| Ended {
            now,
            run: self.runs.get(id),
            head: self.records.get(id).map(|slot| &slot.entry.head),
            validity: &self.validity,
        };
        let lapsed = self.runs.keys().filter_map(|id| Some((*id, protocol::reap(&ended(id))?)));
        let mut lapsed: Vec<(EntryId, JobWrite)> = lapsed.take(limit + 1).collect();
        done.more |= lapsed.len() > limit;
        lapsed.truncate(limit);
        for (id, job) in lapsed {
            self.runs.remove(&id);
            done.reaped += 1;
            sink.write(id, job);
        }
    }

    /// Removes the invalidations that no present run compares with.
    fn trim(&mut self, now: Timestamp) -> u64 {
        self.trim_up_to(protocol::trim(self.revision, now, self.runs.values()))
    }

    fn trim_up_to(&mut self, revision: u64) -> u64 {
        let before = self.changed.len();
        self.changed.retain(|_, changed| *changed > revision);
        self.low_watermark = protocol::raised(self.low_watermark, revision);
        (before - self.changed.len()) as u64
    }

    /// Keeps the remembered invalidations bounded between two pieces of maintenance.
    pub(super) fn bound_changed(&mut self, now: Timestamp) {
        // The capacity bounds them, but a small store may remember more.
        let bound = self.capacity.max(REMEMBERED_CHANGES);
        if self.changed.len() <= bound {
            return;
        }
        self.trim(now);
        if self.changed.len() > bound {
            // A very long run holds them: the older half goes, and that run commits its value as stale.
            let mut revisions: Vec<u64> = self.changed.values().copied().collect();
            let middle = revisions.len() / 2;
            let (_, revision, _) = revisions.select_nth_unstable(middle);
            let revision = *revision;
            self.trim_up_to(revision);
        }
    }

    /// An epoch changed: the walk starts over.
    pub(super) fn start_sweep(&mut self) {
        self.sweep = Some(0);
    }

    /// Marks entries of old epochs. An entry that is stored or moved meanwhile goes to the end of the order, ahead of
    /// the walk, so the walk misses none.
    fn sweep(&mut self, limit: usize, now: Timestamp, sink: &mut JobSink<'_>, done: &mut Maintained) {
        let Some(after) = self.sweep else { return };
        let mut walk = self.order.range((Bound::Excluded(after), Bound::Unbounded));
        let page: Vec<(u64, EntryId)> = walk.by_ref().take(limit).map(|(order, id)| (*order, *id)).collect();
        let more = walk.next().is_some();
        let cause: Arc<str> = NEW_EPOCH.into();
        for (_, id) in &page {
            let Some(slot) = self.records.get_mut(id) else { continue };
            if let Some(job) = protocol::sweep(&mut slot.entry.head, &self.validity, &cause, now) {
                self.stale.insert(*id);
                done.marked += 1;
                sink.write(*id, job);
            }
        }
        self.sweep = page.last().filter(|_| more).map(|(order, _)| *order);
        done.more |= more;
    }

    /// Releases memory after a burst.
    fn shrink(&mut self) {
        fn spare(capacity: usize, len: usize) -> bool {
            capacity > 1024 && capacity / 8 > len
        }
        if spare(self.records.capacity(), self.records.len()) {
            self.records.shrink_to_fit();
        }
        if spare(self.edges.capacity(), self.edges.len()) {
            self.edges.shrink_to_fit();
        }
        if spare(self.changed.capacity(), self.changed.len()) {
            self.changed.shrink_to_fit();
        }
    }
}
