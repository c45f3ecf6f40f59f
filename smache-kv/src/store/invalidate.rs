//! Invalidations.
//!
//! An invalidation of up to a page of dependants is one step. A larger one first announces the changed dependencies, by
//! marks with a deadline. Then it marks the dependants stale page by page. Then it raises the revision, saves the
//! positions and removes the marks, in one step. A commit conflicts if one of its dependencies has a mark, so no
//! dependant that is stored behind a page is fresh. A process that finds a mark past its deadline redoes the
//! invalidation.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use smache_core::{
    ChangedDependency, Dependency, EntryId, Error, ErrorKind, Incarnation, Invalidated, Invalidation,
    InvalidationAttempt, Result, Timestamp, Via,
    protocol::{self, JobWrite, Opening},
    support::{kept_cause, log_damaged_mark},
};

use super::{commit::DAMAGED, record::edge_via};
use crate::{
    area::SharedArea,
    keys::{Range, Role},
    step::Step,
};

/// The most marks that are read at once.
const MARKS: usize = 1_000;

/// An entry that an invalidation affects.
pub(super) struct Target {
    pub(super) id: EntryId,
    pub(super) via: Via,
    pub(super) cause: Option<Arc<str>>,
}

/// A dependency that is being invalidated.
pub(super) struct Mark {
    key: Bytes,
    pub(super) dependency: Dependency,
    /// The name of its attempt.
    attempt: Bytes,
    pub(super) cause: Arc<str>,
}

/// The result of the first step.
enum First {
    Done(Invalidated),
    /// On that incarnation, until that deadline.
    Announced(Incarnation, u64),
}

/// Invalidates, in one step or several.
pub(super) async fn invalidate(area: &SharedArea, invalidation: &Invalidation) -> Result<Invalidated> {
    let attempt = InvalidationAttempt::next(invalidation.step.as_ref());
    let first = area.write_in_turn(|step| Box::pin(step.invalidate_or_announce(invalidation, attempt))).await?;
    let (incarnation, deadline) = match first {
        First::Done(done) => return Ok(done),
        First::Announced(incarnation, deadline) => (incarnation, AtomicU64::new(deadline)),
    };
    let mut marked = 0;
    let mut jobs = Vec::new();
    let walk = Walk { incarnation: &incarnation, announced: Some((invalidation, attempt, &deadline)) };
    for changed in &invalidation.changed {
        let of_changed = mark_dependants(area, changed, walk).await?;
        marked += of_changed.marked;
        jobs.extend(of_changed.jobs);
    }
    let last = area
        .write_in_turn(|step| {
            let incarnation = &incarnation;
            Box::pin(async move {
                step.check_incarnation(incarnation)?;
                step.finish(invalidation, attempt, named(invalidation)).await
            })
        })
        .await?;
    jobs.extend(last.jobs);
    Ok(Invalidated { revision: last.revision, marked: marked + last.marked, jobs })
}

/// The entries that an invalidation names.
fn named(invalidation: &Invalidation) -> Vec<Target> {
    let Invalidation { changed, entries, .. } = invalidation;
    let own = |id: &EntryId| {
        let own = Dependency::entry(id);
        changed.iter().find(|changed| changed.dependency == own).map(|changed| kept_cause(&changed.cause))
    };
    entries.iter().map(|id| Target { id: *id, via: Via::Direct, cause: own(id) }).collect()
}

/// The state that each page of a walk checks first.
#[derive(Clone, Copy)]
pub(super) struct Walk<'a> {
    /// The incarnation on which it began.
    pub(super) incarnation: &'a Incarnation,
    /// The announced invalidation, its attempt, and the deadline.
    pub(super) announced: Option<(&'a Invalidation, InvalidationAttempt, &'a AtomicU64)>,
}

/// Marks the dependants of one dependency, page by page. `revision` of the answer is not set.
pub(super) async fn mark_dependants(
    area: &SharedArea,
    changed: &ChangedDependency,
    walk: Walk<'_>,
) -> Result<Invalidated> {
    let mut all = Invalidated::default();
    let mut range = Some(area.keys.range(Role::Edge, &[changed.dependency.as_bytes()]));
    while let Some(rest) = range {
        let (renewed, page, next) = area
            .write(|step| {
                let rest = &rest;
                Box::pin(async move {
                    let renewed = step.go_on(walk).await?;
                    let (page, next) = step.mark_page(changed, rest).await?;
                    Ok((renewed, page, next))
                })
            })
            .await?;
        if let (Some(renewed), Some((.., deadline))) = (renewed, walk.announced) {
            deadline.store(renewed, Ordering::Relaxed);
        }
        all.marked += page.marked;
        all.jobs.extend(page.jobs);
        range = next;
    }
    Ok(all)
}

impl Step<'_> {
    /// Stops the walk of a replaced leader, which must not announce again. Returns until when renewed marks hold.
    async fn go_on(&mut self, walk: Walk<'_>) -> Result<Option<u64>> {
        self.check_incarnation(walk.incarnation)?;
        let Some((invalidation, attempt, deadline)) = walk.announced else { return Ok(None) };
        if let Some(step) = &invalidation.step {
            self.check_step(step).await?;
        }
        Ok(self.renew_marks(&invalidation.changed, attempt, deadline.load(Ordering::Relaxed)))
    }

    pub(super) fn check_incarnation(&mut self, incarnation: &Incarnation) -> Result<()> {
        if self.incarnation == *incarnation {
            return Ok(());
        }
        let message = "the store became another incarnation in the middle of an invalidation: invalidate again";
        Err(Error::new(ErrorKind::IncarnationChanged, message))
    }

    /// Invalidates in one step if there are few dependants; otherwise only announces.
    async fn invalidate_or_announce(
        &mut self,
        invalidation: &Invalidation,
        attempt: InvalidationAttempt,
    ) -> Result<First> {
        if let Some(step) = &invalidation.step {
            self.check_step(step).await?;
        }
        let page = self.page();
        let mut targets = Vec::new();
        for changed in &invalidation.changed {
            let cause = kept_cause(&changed.cause);
            let range = self.keys().range(Role::Edge, &[changed.dependency.as_bytes()]);
            let edges = self.scan(&range, page.saturating_sub(targets.len()) + 1).await?;
            if let Opening::Announced { deadline } = protocol::open(targets.len() + edges.len(), page, self.now) {
                let deadline = self.announce(&invalidation.changed, attempt, deadline);
                return Ok(First::Announced(self.incarnation.clone(), deadline));
            }
            self.touched += edges.len();
            targets.extend(self.targets(&edges, &cause));
        }
        // All at once: the highest staleness of an entry that is marked twice decides the lane of its job.
        targets.extend(named(invalidation));
        self.finish(invalidation, attempt, targets).await.map(First::Done)
    }

    /// Writes the marks of an attempt. Returns until when they hold.
    fn announce(&mut self, changed: &[ChangedDependency], attempt: InvalidationAttempt, deadline: Timestamp) -> u64 {
        let marks = protocol::announce(changed, deadline);
        let deadline = deadline.as_millis();
        for (dependency, mark) in marks {
            let key = self.mark_key(deadline, &dependency, attempt);
            self.put(key, mark.cause.as_bytes().to_vec());
        }
        deadline
    }

    fn mark_key(&self, deadline: u64, dependency: &Dependency, attempt: InvalidationAttempt) -> Bytes {
        self.keys().of(Role::Mark, &[&deadline.to_be_bytes(), dependency.as_bytes(), attempt.as_bytes()])
    }

    /// Moves the deadline of the marks of a walking attempt, before other processes take it for dead.
    fn renew_marks(&mut self, changed: &[ChangedDependency], attempt: InvalidationAttempt, before: u64) -> Option<u64> {
        let deadline = protocol::renew_marks(Timestamp::from_millis(before), self.now)?;
        for changed in changed {
            let key = self.mark_key(before, &changed.dependency, attempt);
            self.delete(key);
        }
        Some(self.announce(changed, attempt, deadline))
    }

    /// Marks a page of the dependants of one dependency. Returns the rest of the range.
    async fn mark_page(&mut self, changed: &ChangedDependency, range: &Range) -> Result<(Invalidated, Option<Range>)> {
        let cause = kept_cause(&changed.cause);
        let page = self.page();
        let edges = self.scan(range, page).await?;
        self.touched += edges.len();
        let next = edges.last().filter(|_| edges.len() == page).map(|(key, _)| {
            let mut rest = range.clone();
            rest.after_key(key);
            rest
        });
        let targets = self.targets(&edges, &cause).collect();
        let marked = self.mark_all(targets).await?;
        Ok((Invalidated { revision: 0, marked, jobs: std::mem::take(&mut self.reported) }, next))
    }

    fn targets(&mut self, edges: &[(Bytes, Bytes)], cause: &Arc<str>) -> impl Iterator<Item = Target> {
        edges.iter().filter_map(|(key, via)| {
            Some(Target { id: self.listed(key)?, via: edge_via(via), cause: Some(Arc::clone(cause)) })
        })
    }

    /// The last step: marks the rest, raises the revision, saves the positions and removes the marks.
    async fn finish(
        &mut self,
        invalidation: &Invalidation,
        attempt: InvalidationAttempt,
        targets: Vec<Target>,
    ) -> Result<Invalidated> {
        let Invalidation { changed, entries, step } = invalidation;
        if let Some(step) = step {
            self.check_step(step).await?;
        }
        let marked = self.mark_all(targets).await?;
        if !changed.is_empty() || !entries.is_empty() {
            let changed: HashSet<Dependency> = changed.iter().map(|changed| changed.dependency).collect();
            self.tick(&changed).await?;
            let ended =
                |mark: &&Mark| protocol::withdraws(&attempt, &mark.attempt) && changed.contains(&mark.dependency);
            for mark in self.marks().await?.iter().filter(ended) {
                self.delete(mark.key.clone());
            }
        }
        if let Some(step) = step {
            self.save_step(step).await?;
        }
        let revision = self.revision().await?;
        Ok(Invalidated { revision, marked, jobs: std::mem::take(&mut self.reported) })
    }

    /// Raises the revision and stores it for the changed dependencies.
    pub(super) async fn tick(&mut self, changed: &HashSet<Dependency>) -> Result<()> {
        let keys: Vec<Bytes> = changed.iter().map(|dependency| self.changed(dependency)).collect();
        self.prefetch(keys).await?;
        let revision = protocol::revise(self.revision().await?);
        self.put_number(Role::Revision, revision);
        for dependency in changed {
            // The place of a damaged one is unknown: trimming finds it.
            if let Some(before) = self.changed_at(dependency).await?.filter(|before| *before != DAMAGED) {
                self.delete(self.changed_index(before, dependency));
            }
            self.put_changed(revision, dependency);
        }
        Ok(())
    }

    pub(super) fn put_changed(&mut self, revision: u64, dependency: &Dependency) {
        self.put(self.changed_index(revision, dependency), Vec::new());
        self.put(self.changed(dependency), revision.to_be_bytes().to_vec());
    }

    fn changed_index(&self, revision: u64, dependency: &Dependency) -> Bytes {
        self.keys().of(Role::ChangedAt, &[&revision.to_be_bytes(), dependency.as_bytes()])
    }

    /// The dependencies that are being invalidated, by their deadline. Usually there are none.
    pub(super) async fn marks(&mut self) -> Result<Vec<Mark>> {
        let mut range = self.keys().range(Role::Mark, &[]);
        let mut marks = Vec::new();
        loop {
            let page = self.scan(&range, MARKS).await?;
            for (key, cause) in &page {
                match self.mark_of(key, cause) {
                    Some(mark) => marks.push(mark),
                    None => self.end_damaged_mark(key).await?,
                }
            }
            match page.last() {
                Some((last, _)) if page.len() == MARKS => range.after_key(last),
                _ => return Ok(marks),
            }
        }
    }

    /// The dependency of a damaged mark is unknown: a new epoch makes everything stale instead.
    async fn end_damaged_mark(&mut self, key: &Bytes) -> Result<()> {
        log_damaged_mark(key.escape_ascii());
        if self.removes() {
            self.delete(key.clone());
            self.new_epoch().await?;
        }
        Ok(())
    }

    pub(super) fn mark_of(&self, key: &Bytes, cause: &Bytes) -> Option<Mark> {
        let rest = self.keys().rest(key).get(8..)?;
        let (dependency, attempt) = rest.split_at_checked(Dependency::LEN)?;
        Some(Mark {
            key: key.clone(),
            dependency: Dependency::from_slice(dependency).ok()?,
            attempt: Bytes::copy_from_slice(attempt),
            cause: String::from_utf8_lossy(cause).into(),
        })
    }

    pub(super) async fn marked(&mut self) -> Result<HashSet<Dependency>> {
        Ok(self.marks().await?.into_iter().map(|mark| mark.dependency).collect())
    }

    /// Marks entries stale and writes the job of each. Returns how many there are.
    pub(super) async fn mark_all(&mut self, targets: Vec<Target>) -> Result<u64> {
        let keys = self.keys();
        self.prefetch(targets.iter().map(|target| keys.entry(Role::Head, &target.id))).await?;
        let mut marked: HashMap<EntryId, JobWrite> = HashMap::new();
        for target in targets {
            let Some(old) = self.head(&target.id).await? else { continue };
            let mut head = old.clone();
            let job = protocol::mark(&mut head, target.via, target.cause.as_ref(), self.now);
            if head != old {
                self.put_head(&target.id, Some(&old), &head);
            }
            marked.insert(target.id, job);
        }
        self.write_jobs(&marked).await?;
        Ok(marked.len() as u64)
    }

    /// Removes a mark after its invalidation was redone.
    pub(super) fn delete_mark(&mut self, mark: &Mark) {
        self.delete(mark.key.clone());
    }
}
