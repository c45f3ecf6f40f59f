//! Invalidations, as a whole and as their parts.

use std::{collections::BTreeMap, ops::Bound};

use smache_core::{
    Dependency, EntryId, Epoch, Error, ErrorKind, Incarnation, Invalidated, Invalidation, InvalidationAttempt, Result,
    Timestamp, Via,
    protocol::{self, FeedWrites, JobWrite, Opening},
    support::{kept_cause, limits::MARK_LIFETIME},
};

use super::{Moment, Partition};

/// The answer to the first step of an invalidation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// There were few dependants: it is done.
    Done(Invalidated),
    /// Its marks are there, and its dependants are to be walked over.
    Announced(Box<Walk>),
}

/// An invalidation of several steps, as its author remembers it between two of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Walk {
    /// The change.
    pub invalidation: Invalidation,
    /// Names its marks.
    pub attempt: InvalidationAttempt,
    /// The incarnation on which it began.
    pub incarnation: Incarnation,
    /// The deadline of its marks.
    pub deadline: Timestamp,
    /// Which of the changed dependencies it is at, and behind which of its dependants.
    pub place: (usize, Option<EntryId>),
    /// How many entries it has marked.
    pub marked: u64,
    /// The entries that need a job, where the engine writes the jobs.
    pub jobs: Vec<EntryId>,
}

impl Walk {
    fn new(at: Moment<'_>, invalidation: &Invalidation, attempt: InvalidationAttempt) -> Self {
        Self {
            invalidation: invalidation.clone(),
            attempt,
            incarnation: at.incarnation.clone(),
            deadline: at.now,
            place: (0, None),
            marked: 0,
            jobs: Vec::new(),
        }
    }

    /// Whether all dependants are marked, so that [`Partition::finish`] is the next step.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.place.0 >= self.invalidation.changed.len()
    }
}

/// The entries that a step has marked, with the job of each. A job is written after all marks, as it may take another
/// lane by the last one.
#[derive(Default)]
pub(super) struct Marked(BTreeMap<EntryId, JobWrite>);

impl Partition {
    /// **I**: invalidates as a whole, without steps of others in between. `page` is the largest number of dependants of
    /// a step.
    ///
    /// # Errors
    /// Those of the parts.
    pub fn invalidate(
        &mut self,
        at: Moment<'_>,
        invalidation: &Invalidation,
        attempt: InvalidationAttempt,
        page: usize,
        mut new_epoch: impl FnMut() -> Epoch,
    ) -> Result<Invalidated> {
        let mut walk = match self.open(at, invalidation, attempt, page, &mut new_epoch)? {
            Opened::Done(done) => return Ok(done),
            Opened::Announced(walk) => walk,
        };
        while !walk.is_over() {
            self.walk(at, &mut walk, page)?;
        }
        self.finish(at, *walk, new_epoch)
    }

    /// **I**: the first step: everything if there are few dependants, or else the marks of the attempt.
    ///
    /// # Errors
    /// For a step of a feed that is fenced or of another incarnation: then nothing happens.
    pub fn open(
        &mut self,
        at: Moment<'_>,
        invalidation: &Invalidation,
        attempt: InvalidationAttempt,
        page: usize,
        new_epoch: impl FnMut() -> Epoch,
    ) -> Result<Opened> {
        self.check(at, invalidation)?;
        let dependants: usize =
            invalidation.changed.iter().map(|changed| self.dependants(&changed.dependency).len()).sum();
        let mut walk = Walk::new(at, invalidation, attempt);
        match protocol::open(dependants, page, at.now) {
            Opening::OneStep => {
                let mut marked = Marked::default();
                for changed in &invalidation.changed {
                    for (id, via) in self.dependants(&changed.dependency) {
                        self.mark(at, &id, via, Some(&kept_cause(&changed.cause)), &mut marked);
                    }
                }
                self.finish_with(at, walk, marked, new_epoch).map(Opened::Done)
            }
            Opening::Announced { deadline } => {
                walk.deadline = deadline;
                self.write_marks(&walk);
                Ok(Opened::Announced(Box::new(walk)))
            }
        }
    }

    /// **I**: the first step of an invalidation that spans several partitions: only the marks, however few dependants
    /// there are. The first [`finish`](Self::finish) follows the last walk of all partitions.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn announce(
        &mut self,
        at: Moment<'_>,
        invalidation: &Invalidation,
        attempt: InvalidationAttempt,
    ) -> Result<Walk> {
        self.check(at, invalidation)?;
        let walk = Walk { deadline: at.now.after(MARK_LIFETIME), ..Walk::new(at, invalidation, attempt) };
        self.write_marks(&walk);
        Ok(walk)
    }

    /// **I**: moves the deadline of the marks of a walk, if it is time.
    ///
    /// # Errors
    /// When the walk has to stop: its leader was replaced, or the store is another incarnation.
    pub fn renew(&mut self, at: Moment<'_>, walk: &mut Walk) -> Result<()> {
        check_incarnation(at, &walk.incarnation)?;
        self.check(at, &walk.invalidation)?;
        if let Some(deadline) = protocol::renew_marks(walk.deadline, at.now) {
            walk.deadline = deadline;
            self.write_marks(walk);
        }
        Ok(())
    }

    /// **I**: marks a page of the dependants of one dependency, after a look at whether the marks need a later deadline.
    ///
    /// # Errors
    /// As [`renew`](Self::renew).
    pub fn walk(&mut self, at: Moment<'_>, walk: &mut Walk, page: usize) -> Result<()> {
        self.renew(at, walk)?;
        let (place, after) = walk.place;
        let Some(changed) = walk.invalidation.changed.get(place) else { return Ok(()) };
        let mut marked = Marked::default();
        let dependants = self.dependants_after(&changed.dependency, after, page);
        for (id, via) in &dependants {
            self.mark(at, id, *via, Some(&kept_cause(&changed.cause)), &mut marked);
        }
        walk.place = match dependants.last().filter(|_| dependants.len() >= page) {
            Some((last, _)) => (place, Some(*last)),
            None => (place + 1, None),
        };
        walk.marked += self.write_jobs(at, marked, &mut walk.jobs);
        Ok(())
    }

    /// **I**: the last step of a walk: the named entries, the revision, the end of the marks and the progress of the feed.
    ///
    /// # Errors
    /// As [`renew`](Self::renew).
    pub fn finish(&mut self, at: Moment<'_>, walk: Walk, new_epoch: impl FnMut() -> Epoch) -> Result<Invalidated> {
        check_incarnation(at, &walk.incarnation)?;
        self.finish_with(at, walk, Marked::default(), new_epoch)
    }

    fn finish_with(
        &mut self,
        at: Moment<'_>,
        mut walk: Walk,
        mut marked: Marked,
        new_epoch: impl FnMut() -> Epoch,
    ) -> Result<Invalidated> {
        let Invalidation { changed, entries, step } = &walk.invalidation;
        let progress: Option<FeedWrites> = step.as_ref().map(|step| self.progress(at, step, new_epoch)).transpose()?;
        for id in entries {
            let own = Dependency::entry(id);
            let cause =
                changed.iter().find(|changed| changed.dependency == own).map(|changed| kept_cause(&changed.cause));
            self.mark(at, id, Via::Direct, cause.as_ref(), &mut marked);
        }
        if !changed.is_empty() || !entries.is_empty() {
            self.revision = protocol::revise(self.revision);
            for changed in changed {
                self.changed.insert(changed.dependency, self.revision);
                self.marks.retain(|(dependency, attempt), _| {
                    *dependency != changed.dependency || !protocol::withdraws(&walk.attempt, attempt.as_bytes())
                });
            }
        }
        if let Some((step, progress)) = step.as_ref().zip(progress) {
            self.write_progress(step, progress);
        }
        walk.marked += self.write_jobs(at, marked, &mut walk.jobs);
        Ok(Invalidated { revision: self.revision, marked: walk.marked, jobs: walk.jobs })
    }

    fn check(&self, at: Moment<'_>, invalidation: &Invalidation) -> Result<()> {
        let Some(step) = &invalidation.step else { return Ok(()) };
        step.check(self.leaders.get(&step.feed).map(|leader| leader.fence), at.incarnation)
    }

    fn write_marks(&mut self, walk: &Walk) {
        let marks = protocol::announce(&walk.invalidation.changed, walk.deadline);
        self.marks.extend(marks.into_iter().map(|(dependency, mark)| ((dependency, walk.attempt), mark)));
    }

    /// A page of the dependants of a dependency.
    pub(super) fn dependants_after(
        &self,
        dependency: &Dependency,
        after: Option<EntryId>,
        page: usize,
    ) -> Vec<(EntryId, Via)> {
        let from = match after {
            Some(after) => Bound::Excluded((*dependency, after)),
            None => Bound::Included((*dependency, EntryId::from_bytes([0; EntryId::LEN]))),
        };
        let rest = self.edges.range((from, Bound::Unbounded)).take_while(|((of, _), _)| of == dependency);
        rest.take(page).map(|((_, id), via)| (*id, *via)).collect()
    }

    /// Marks an entry, if there is one.
    pub(super) fn mark(
        &mut self,
        at: Moment<'_>,
        id: &EntryId,
        via: Via,
        cause: Option<&std::sync::Arc<str>>,
        marked: &mut Marked,
    ) {
        if let Some(entry) = self.records.get_mut(id) {
            let job = protocol::mark(&mut entry.head, via, cause, at.now);
            marked.note(*id, job);
        }
    }

    /// Writes the jobs of the marked entries. Returns how many entries there are.
    pub(super) fn write_jobs(&mut self, at: Moment<'_>, marked: Marked, reported: &mut Vec<EntryId>) -> u64 {
        let count = marked.0.len() as u64;
        for (id, job) in marked.0 {
            self.write_job(at, id, job, reported);
        }
        count
    }
}

impl Marked {
    pub(super) fn note(&mut self, id: EntryId, job: JobWrite) {
        let noted = self.0.entry(id).or_insert(JobWrite::Keep);
        if job.is_need() {
            *noted = job;
        }
    }
}

/// A step of several that began on another incarnation: what they have written may be lost.
pub(super) fn check_incarnation(at: Moment<'_>, incarnation: &Incarnation) -> Result<()> {
    if at.incarnation == incarnation {
        return Ok(());
    }
    let message = "the store became another incarnation in the middle of an invalidation: invalidate again";
    Err(Error::new(ErrorKind::IncarnationChanged, message))
}
