//! Maintenance: each task is a separate step, and any number of processes may run it.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use smache_core::{
    ChangedDependency, Dependency, EntryId, Incarnation, Maintained, Result,
    protocol::{self, Ended, Run},
    support::{NEW_EPOCH, limits::REAP_AFTER},
};

use super::{
    commit::DAMAGED,
    evict::evict,
    invalidate::{Mark, Walk, mark_dependants},
};
use crate::{area::SharedArea, codec::number, keys::Role, step::Step};

pub(super) async fn maintain(area: &SharedArea, limit: usize) -> Result<Maintained> {
    let limit = limit.max(1);
    let mut done = Maintained::default();
    redo(area, limit, &mut done).await?;
    for task in [Task::Expire, Task::Reap, Task::Trim, Task::Sweep, Task::Repair, Task::Count] {
        let part = area.write(|step| Box::pin(step.maintenance(task, limit))).await?;
        done.expired += part.expired;
        done.reaped += part.reaped;
        done.trimmed += part.trimmed;
        done.marked += part.marked;
        done.jobs.extend(part.jobs);
        done.more |= part.more;
    }
    done.more |= evict(area, limit, None).await?;
    Ok(done)
}

#[derive(Clone, Copy)]
enum Task {
    Expire,
    Reap,
    Trim,
    Sweep,
    Repair,
    Count,
}

/// Redoes the invalidations whose author died half-way, under the marks that it left, those of a feed included. Its
/// leader may be alive and late, but the data changed before the mark was written, so a whole walk that began after the
/// mark was read has found every dependant. It removes only that mark at the end; a renewed one has another key.
async fn redo(area: &SharedArea, limit: usize, done: &mut Maintained) -> Result<()> {
    let (incarnation, overdue) = area.read(|step| Box::pin(step.overdue(limit))).await?;
    for mark in &overdue {
        let changed = ChangedDependency { dependency: mark.dependency, cause: Arc::clone(&mark.cause) };
        let marked = mark_dependants(area, &changed, Walk { incarnation: &incarnation, announced: None }).await?;
        area.write(|step| {
            let incarnation = &incarnation;
            Box::pin(async move {
                step.check_incarnation(incarnation)?;
                step.delete_mark(mark);
                step.tick(&[mark.dependency].into()).await
            })
        })
        .await?;
        done.redone += 1;
        done.jobs.extend(marked.jobs);
    }
    done.more |= overdue.len() >= limit;
    Ok(())
}

impl Step<'_> {
    async fn maintenance(&mut self, task: Task, limit: usize) -> Result<Maintained> {
        let mut done = Maintained::default();
        let limit = self.within_limits(limit);
        match task {
            Task::Expire => self.expire(limit, &mut done).await?,
            Task::Reap => self.reap(limit, &mut done).await?,
            Task::Trim => self.trim(limit, &mut done).await?,
            Task::Sweep => self.sweep(limit, &mut done).await?,
            Task::Repair => self.repair(limit, &mut done).await?,
            Task::Count => done.more = self.keep_counts(limit).await?,
        }
        done.jobs = std::mem::take(&mut self.reported);
        Ok(done)
    }

    async fn overdue(&mut self, limit: usize) -> Result<(Incarnation, Vec<Mark>)> {
        let range = self.keys().up_to(Role::Mark, &[], self.now.as_millis());
        let marks = self.scan(&range, limit).await?;
        let marks = marks.iter().filter_map(|(key, cause)| self.mark_of(key, cause)).collect();
        Ok((self.incarnation.clone(), marks))
    }

    async fn expire(&mut self, limit: usize, done: &mut Maintained) -> Result<()> {
        let keys = self.keys();
        let mut range = keys.up_to(Role::Expiry, &[], self.now.as_millis());
        let mut due: Vec<(Bytes, EntryId)> = Vec::new();
        while due.len() <= limit {
            let page = self.scan(&range, limit + 1).await?;
            let mut listed = Vec::with_capacity(page.len());
            for (key, _) in &page {
                listed.extend(self.listed(key).map(|id| (key.clone(), id)));
            }
            let parts = listed.iter().flat_map(|(_, id)| [Role::Run, Role::Head].map(|role| keys.entry(role, id)));
            self.prefetch(parts).await?;
            for (key, id) in listed {
                // A place without its record, which a damaged one has left, goes too.
                let run = self.run(&id).await?;
                let head = self.head(&id).await?;
                if head.is_none_or(|head| {
                    !self.is_listed(&id, &head, &key) || protocol::is_removed(&head, run.as_ref(), self.now)
                }) {
                    due.push((key, id));
                }
            }
            match page.last() {
                Some((last, _)) if page.len() > limit => range.after_key(last),
                _ => break,
            }
        }
        done.more |= due.len() > limit;
        due.truncate(limit);
        let ids: Vec<EntryId> = due.iter().map(|(_, id)| *id).collect();
        self.prefetch(ids.iter().flat_map(|id| [Role::Head, Role::Lineage].map(|role| keys.entry(role, id)))).await?;
        self.prefetch_jobs(&ids).await?;
        for (key, id) in due {
            // A damaged record may have left its place to one that lives longer.
            if self.head(&id).await?.is_some_and(|head| self.is_listed(&id, &head, &key)) {
                self.forget(&id).await?;
                done.expired += 1;
            } else {
                self.delete(key);
            }
        }
        Ok(())
    }

    async fn reap(&mut self, limit: usize, done: &mut Maintained) -> Result<()> {
        let Some(before) = self.now.as_millis().checked_sub(REAP_AFTER.as_millis() as u64 + 1) else { return Ok(()) };
        let keys = self.keys();
        let range = keys.up_to(Role::RunLease, &[], before);
        let lapsed = self.scan(&range, limit + 1).await?;
        done.more |= lapsed.len() > limit;
        for (key, _) in lapsed.iter().take(limit) {
            let Some(id) = self.listed(key) else { continue };
            let lapsed = self.run(&id).await?.filter(|run| number(keys.rest(key)) == Some(run.until.as_millis()));
            // A place without its run was left by a damaged one.
            let Some(run) = lapsed else {
                self.delete(key.clone());
                continue;
            };
            let head = self.head(&id).await?;
            let validity = self.validity().await?;
            let ended = Ended { now: self.now, run: Some(&run), head: head.as_ref(), validity: &validity };
            let Some(job) = protocol::reap(&ended) else { continue };
            self.delete_run(&id, &run);
            done.reaped += 1;
            self.write_job(id, job).await?;
        }
        Ok(())
    }

    /// Removes the invalidations that no present run compares with: those up to the start of the oldest one, lapsed
    /// ones included.
    async fn trim(&mut self, limit: usize, done: &mut Maintained) -> Result<()> {
        let keys = self.keys();
        let oldest = self.oldest_run().await?;
        let needed = protocol::trim(self.revision().await?, self.now, &oldest);
        let old = self.scan(&keys.up_to(Role::ChangedAt, &[], needed), limit + 1).await?;
        done.more |= old.len() > limit;
        let dependencies = old.iter().filter_map(|(key, _)| trimmed(keys.rest(key)));
        self.prefetch(dependencies.map(|(_, dependency)| keys.of(Role::Changed, &[dependency.as_bytes()]))).await?;
        let mut low_watermark = None;
        for (key, _) in old.iter().take(limit) {
            self.delete(key.clone());
            let Some((revision, dependency)) = trimmed(keys.rest(key)) else { continue };
            match self.changed_at(&dependency).await? {
                // It may have been any revision up to the present one.
                Some(DAMAGED) => {
                    let present = self.revision().await?;
                    self.put_changed(present, &dependency);
                }
                // An old place of a dependency that was invalidated later, while the revision in between was damaged.
                Some(at) if at > revision => {}
                _ => self.delete(self.changed(&dependency)),
            }
            done.trimmed += 1;
            low_watermark = Some(revision);
        }
        if let Some(low_watermark) = low_watermark {
            let before = self.number(Role::LowWatermark).await?;
            self.put_number(Role::LowWatermark, protocol::raised(before, low_watermark));
        }
        Ok(())
    }

    /// The oldest run. The place of a damaged run does not hold trimming back.
    async fn oldest_run(&mut self) -> Result<Option<Run>> {
        let range = self.keys().range(Role::RunStart, &[]);
        while let Some((key, _)) = self.scan(&range, 1).await?.first() {
            let Some(id) = self.listed(key) else { continue };
            let run = self.run(&id).await?;
            if run.as_ref().is_some_and(|run| number(self.keys().rest(key)) == Some(run.start_revision)) {
                return Ok(run);
            }
            self.delete(key.clone());
        }
        Ok(None)
    }

    /// An epoch changed: the walk starts over.
    pub(super) fn start_sweep(&mut self) {
        self.put(self.keys().of(Role::Sweep, &[]), Vec::new());
    }

    /// Marks entries of old epochs. An entry that is stored behind the walk has the present epochs, or is stale with a
    /// job: its commit compared them.
    async fn sweep(&mut self, limit: usize, done: &mut Maintained) -> Result<()> {
        let keys = self.keys();
        let place = self.keys().of(Role::Sweep, &[]);
        if self.get(&keys.of(Role::Validity, &[])).await?.is_some() {
            // Damage to it starts a new epoch.
            self.validity().await?;
        }
        let Some(after) = self.get(&place).await? else { return Ok(()) };
        // From the beginning if the place is damaged.
        let after = Some(after.as_ref()).filter(|after| after.len() == EntryId::LEN);
        let range = keys.range(Role::Head, &[]).after(after, EntryId::LEN)?;
        let page = self.scan(&range, limit).await?;
        let validity = self.validity().await?;
        let cause: Arc<str> = NEW_EPOCH.into();
        let mut marked = HashMap::new();
        for (key, _) in &page {
            let Some(id) = self.listed(key) else { continue };
            let Some(old) = self.head(&id).await? else { continue };
            let mut head = old.clone();
            if let Some(job) = protocol::sweep(&mut head, &validity, &cause, self.now) {
                self.put_head(&id, Some(&old), &head);
                marked.insert(id, job);
            }
        }
        self.write_jobs(&marked).await?;
        done.marked = marked.len() as u64;
        done.more = page.len() == limit;
        match page.last().filter(|_| done.more) {
            Some((last, _)) => self.put(place, keys.rest(last).to_vec()),
            None => self.delete(place),
        }
        Ok(())
    }
}

/// The revision and the dependency in a place of the index by revision.
fn trimmed(rest: &[u8]) -> Option<(u64, Dependency)> {
    number(rest).zip(rest.get(8..).and_then(|rest| Dependency::from_slice(rest).ok()))
}
