//! Changes.
//!
//! Up to a page of dependants, an invalidation is one step. Above it the changed dependencies are announced first, by
//! marks with a deadline; then the dependants go stale page by page; then the clock ticks, the positions are saved and the
//! marks go, in one step. A commit that meets a mark of something that it used is a conflict, so that no dependant that
//! is stored behind a page is fresh. Whoever finds a mark past its deadline does the invalidation again.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use smache_core::{
    Attempt, Dependency, EntryId, Error, ErrorKind, Hit, Incarnation, Invalidated, Invalidation, Lane, Result,
    Staleness, Via,
};

use super::{
    commit::DAMAGED,
    record::{Head, edge_via},
};
use crate::{
    keys::{Range, Role},
    space::Space,
    step::{Step, shortened},
};

/// How many changes a record names.
const KEPT_CAUSES: usize = 8;

/// How many bytes of a cause are kept.
const KEPT_CAUSE: usize = 200;

/// How long an invalidation of several steps may take before somebody else does it again.
const DEADLINE: Duration = Duration::from_secs(30);

/// How long before its deadline a walk renews its marks: one that takes long is not one that was given up.
const RENEW_BEFORE: Duration = Duration::from_secs(20);

/// How many marks are read at once.
const MARKS: usize = 1_000;

/// An entry that an invalidation hits.
pub(super) struct Target {
    pub(super) id: EntryId,
    pub(super) to: Staleness,
    pub(super) cause: Option<Arc<str>>,
}

/// A dependency that is being invalidated.
pub(super) struct Mark {
    key: Bytes,
    pub(super) dependency: Dependency,
    /// The name of the attempt that left it.
    attempt: Bytes,
    pub(super) cause: Arc<str>,
}

/// What the first step came to.
enum First {
    Done(Invalidated),
    /// On that incarnation, until that deadline.
    Announced(Incarnation, u64),
}

/// Invalidates, in as many steps as it takes.
pub(super) async fn invalidate(space: &Space, invalidation: &Invalidation) -> Result<Invalidated> {
    let attempt = Attempt::next(invalidation.step.as_ref());
    let first = space.write(|step| Box::pin(step.invalidate_or_announce(invalidation, attempt))).await?;
    let (life, deadline) = match first {
        First::Done(done) => return Ok(done),
        First::Announced(life, deadline) => (life, AtomicU64::new(deadline)),
    };
    let (mut marked, mut jobs) = (0, Vec::new());
    let walk = Walk { life: &life, announced: Some((invalidation, attempt, &deadline)) };
    for hit in &invalidation.hits {
        let of_hit = mark_dependants(space, hit, walk).await?;
        marked += of_hit.marked;
        jobs.extend(of_hit.jobs);
    }
    let last = space
        .write(|step| {
            let life = &life;
            Box::pin(async move {
                step.check_life(life)?;
                step.finish(invalidation, attempt).await
            })
        })
        .await?;
    jobs.extend(last.jobs);
    Ok(Invalidated { clock: last.clock, marked: marked + last.marked, jobs })
}

/// What each page of a walk looks at first.
#[derive(Clone, Copy)]
pub(super) struct Walk<'a> {
    /// On which incarnation it began.
    pub(super) life: &'a Incarnation,
    /// What its author has announced, and until when.
    pub(super) announced: Option<(&'a Invalidation, Attempt, &'a AtomicU64)>,
}

/// Marks the dependants of one dependency, page by page. `clock` of the answer is not set.
pub(super) async fn mark_dependants(space: &Space, hit: &Hit, walk: Walk<'_>) -> Result<Invalidated> {
    let mut all = Invalidated::default();
    let mut range = Some(space.keys.range(Role::Edge, &[hit.dependency.as_bytes()]));
    while let Some(rest) = range {
        let (renewed, page, next) = space
            .write(|step| {
                let rest = &rest;
                Box::pin(async move {
                    let renewed = step.go_on(walk).await?;
                    let (page, next) = step.mark_page(hit, rest).await?;
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
    /// A leader that was replaced walks no further, and announces nothing again. Says until when the marks hold if they are
    /// renewed.
    async fn go_on(&mut self, walk: Walk<'_>) -> Result<Option<u64>> {
        self.check_life(walk.life)?;
        let Some((invalidation, attempt, deadline)) = walk.announced else { return Ok(None) };
        if let Some(step) = &invalidation.step {
            self.check_step(step).await?;
        }
        Ok(self.renew_marks(&invalidation.hits, attempt, deadline.load(Ordering::Relaxed)))
    }

    pub(super) fn check_life(&mut self, life: &Incarnation) -> Result<()> {
        if self.incarnation == *life {
            return Ok(());
        }
        let message = "the store became another incarnation in the middle of an invalidation: invalidate again";
        Err(Error::new(ErrorKind::IncarnationChanged, message))
    }

    /// Everything in one step if there are few dependants, else the marks alone.
    async fn invalidate_or_announce(&mut self, invalidation: &Invalidation, attempt: Attempt) -> Result<First> {
        if let Some(step) = &invalidation.step {
            self.check_step(step).await?;
        }
        let mut targets = Vec::new();
        for hit in &invalidation.hits {
            let cause = kept_cause(&hit.cause);
            let range = self.keys().range(Role::Edge, &[hit.dependency.as_bytes()]);
            let room = self.page().saturating_sub(targets.len());
            let edges = self.scan(&range, room + 1).await?;
            if edges.len() > room {
                let deadline = self.announce(&invalidation.hits, attempt);
                return Ok(First::Announced(self.incarnation.clone(), deadline));
            }
            self.touched += edges.len();
            targets.extend(self.targets(&edges, &cause));
        }
        let marked = self.mark_all(targets).await?;
        let last = self.finish(invalidation, attempt).await?;
        Ok(First::Done(Invalidated { marked: marked + last.marked, ..last }))
    }

    /// Puts the marks of an attempt; says until when they hold.
    fn announce(&mut self, hits: &[Hit], attempt: Attempt) -> u64 {
        let deadline = self.now.after(DEADLINE).as_millis();
        for hit in hits {
            let key = self.mark_key(deadline, hit, attempt);
            self.put(key, kept_cause(&hit.cause).as_bytes().to_vec());
        }
        deadline
    }

    fn mark_key(&self, deadline: u64, hit: &Hit, attempt: Attempt) -> Bytes {
        self.keys().of(Role::Mark, &[&deadline.to_be_bytes(), hit.dependency.as_bytes(), attempt.as_bytes()])
    }

    /// Moves the deadline of the marks of an attempt that is at its walk, before others take it for dead.
    fn renew_marks(&mut self, hits: &[Hit], attempt: Attempt, before: u64) -> Option<u64> {
        if self.now.after(RENEW_BEFORE).as_millis() < before {
            return None;
        }
        for hit in hits {
            let key = self.mark_key(before, hit, attempt);
            self.delete(key);
        }
        Some(self.announce(hits, attempt))
    }

    /// A page of the dependants of one dependency, and what is left of the range.
    async fn mark_page(&mut self, hit: &Hit, range: &Range) -> Result<(Invalidated, Option<Range>)> {
        let cause = kept_cause(&hit.cause);
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
        Ok((Invalidated { clock: 0, marked, jobs: std::mem::take(&mut self.reported) }, next))
    }

    fn targets(&mut self, edges: &[(Bytes, Bytes)], cause: &Arc<str>) -> impl Iterator<Item = Target> {
        edges.iter().filter_map(|(key, via)| {
            let to = if edge_via(via) == Via::Child { Staleness::Child } else { Staleness::Hard };
            Some(Target { id: self.listed(key)?, to, cause: Some(Arc::clone(cause)) })
        })
    }

    /// The last step: the entries that are named themselves, the clock, the positions, and the marks go.
    async fn finish(&mut self, invalidation: &Invalidation, attempt: Attempt) -> Result<Invalidated> {
        let Invalidation { hits, entries, step } = invalidation;
        if let Some(step) = step {
            self.check_step(step).await?;
        }
        let own = |id: &EntryId| {
            let own = Dependency::entry(id);
            hits.iter().find(|hit| hit.dependency == own).map(|hit| kept_cause(&hit.cause))
        };
        let targets = entries.iter().map(|id| Target { id: *id, to: Staleness::Hard, cause: own(id) }).collect();
        let marked = self.mark_all(targets).await?;
        if !hits.is_empty() || !entries.is_empty() {
            let hit: HashSet<Dependency> = hits.iter().map(|hit| hit.dependency).collect();
            self.tick(&hit).await?;
            let ended = |mark: &&Mark| attempt.ends(&mark.attempt) && hit.contains(&mark.dependency);
            for mark in self.marks().await?.iter().filter(ended) {
                self.delete(mark.key.clone());
            }
        }
        if let Some(step) = step {
            self.save_step(step).await?;
        }
        let clock = self.clock().await?;
        Ok(Invalidated { clock, marked, jobs: std::mem::take(&mut self.reported) })
    }

    /// Ticks the clock and remembers it for what was invalidated.
    pub(super) async fn tick(&mut self, hit: &HashSet<Dependency>) -> Result<()> {
        let changed: Vec<Bytes> = hit.iter().map(|dependency| self.changed(dependency)).collect();
        self.prefetch(changed).await?;
        let clock = self.clock().await? + 1;
        self.put_number(Role::Clock, clock);
        for dependency in hit {
            // Where the damaged one is listed nobody knows: trimming meets it.
            if let Some(before) = self.changed_at(dependency).await?.filter(|before| *before != DAMAGED) {
                self.delete(self.changed_index(before, dependency));
            }
            self.put_changed(clock, dependency);
        }
        Ok(())
    }

    pub(super) fn put_changed(&mut self, clock: u64, dependency: &Dependency) {
        self.put(self.changed_index(clock, dependency), Vec::new());
        self.put(self.changed(dependency), clock.to_be_bytes().to_vec());
    }

    fn changed_index(&self, clock: u64, dependency: &Dependency) -> Bytes {
        self.keys().of(Role::ChangedAt, &[&clock.to_be_bytes(), dependency.as_bytes()])
    }

    /// The dependencies that are being invalidated, by their deadline. Mostly there are none.
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

    /// Nobody knows what is being invalidated: everything starts a new epoch instead.
    async fn end_damaged_mark(&mut self, key: &Bytes) -> Result<()> {
        tracing::warn!(key = %key.escape_ascii(), "a mark that cannot be read is ended by a new epoch");
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

    /// Marks entries stale and gives each one job. Says how many there are of them.
    pub(super) async fn mark_all(&mut self, targets: Vec<Target>) -> Result<u64> {
        let keys = self.keys();
        self.prefetch(targets.iter().map(|target| keys.entry(Role::Head, &target.id))).await?;
        let mut marked: HashMap<EntryId, Head> = HashMap::new();
        for target in targets {
            let Some(old) = self.head(&target.id).await? else { continue };
            let mut head = old.clone();
            head.staleness = head.staleness.max(target.to);
            head.since = head.since.or(Some(self.now));
            if let Some(cause) = &target.cause {
                note(&mut head.causes, cause);
            }
            if head != old {
                self.put_head(&target.id, Some(&old), &head);
            }
            marked.insert(target.id, head);
        }
        let needy: Vec<EntryId> = marked.iter().filter(|(_, head)| !head.lazy).map(|(id, _)| *id).collect();
        self.prefetch_jobs(&needy).await?;
        for id in needy {
            let hard = marked.get(&id).is_some_and(|head| head.staleness == Staleness::Hard);
            let lane = if hard { Lane::Recompute } else { Lane::Propagation };
            self.need(id, lane, Duration::ZERO).await?;
        }
        Ok(marked.len() as u64)
    }

    /// Forgets a mark whose invalidation was done again.
    pub(super) fn delete_mark(&mut self, mark: &Mark) {
        self.delete(mark.key.clone());
    }
}

fn kept_cause(cause: &Arc<str>) -> Arc<str> {
    if cause.len() <= KEPT_CAUSE { Arc::clone(cause) } else { shortened(cause, KEPT_CAUSE).into() }
}

fn note(causes: &mut Vec<Arc<str>>, cause: &Arc<str>) {
    if causes.last() != Some(cause) {
        if causes.len() >= KEPT_CAUSES {
            causes.remove(0);
        }
        causes.push(Arc::clone(cause));
    }
}
