//! The limits of a store, and what fits into them.

use smache_core::{Commit, Dependency, Error, ErrorKind, Examination, Finding, Invalidation, Result, Severity, Via};

use crate::{key_value::Write, keys::Keys};

/// The most a store takes at once. The default has no limit.
///
/// The steps stay within it: pages get shorter, long lists are cut into several steps, and a result that does not fit
/// is refused with [`ErrorKind::TooLarge`]. `doctor` has a finding for a limit that is too small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The most writes of a batch.
    pub batch_writes: usize,
    /// The most bytes of a batch, keys and values together.
    pub batch_bytes: usize,
    /// The most bytes of one value.
    pub value_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { batch_writes: usize::MAX, batch_bytes: usize::MAX, value_bytes: usize::MAX }
    }
}

/// The limits below which a step on a single entry may not fit.
const SMALLEST: Limits = Limits { batch_writes: 64, batch_bytes: 64 << 10, value_bytes: 8 << 10 };

/// The most single dependencies and bytes of a result, unless its program says otherwise.
const USUAL_DEPENDENCIES: usize = 10_000;
const USUAL_VALUE: usize = 16 << 20;

/// The writes of a step beside those that are counted: the revision, the validity, the leader, positions, the record
/// and the run, with their places in the indexes and in the numbers.
const FIXED: usize = 24;

/// The bytes of those: causes and the last error of a record, the epochs of its sources.
const FIXED_BYTES: usize = 16 << 10;

/// The writes and bytes for an entry that goes stale: its record, its job, and their places in the indexes.
const ENTRY: usize = 8;
const ENTRY_BYTES: usize = 2 << 10;

/// The writes for a changed dependency: its mark and its revision, with their places.
const CHANGED: usize = 4;

/// The writes for a job.
const JOB: usize = 6;

/// The bytes that surround a value and its notes.
const AROUND: usize = 64;

impl Limits {
    /// Sets the most writes of a batch.
    #[must_use]
    pub fn batch_writes(mut self, writes: usize) -> Self {
        self.batch_writes = writes;
        self
    }

    /// Sets the most bytes of a batch, keys and values together.
    #[must_use]
    pub fn batch_bytes(mut self, bytes: usize) -> Self {
        self.batch_bytes = bytes;
        self
    }

    /// Sets the most bytes of one value.
    #[must_use]
    pub fn value_bytes(mut self, bytes: usize) -> Self {
        self.value_bytes = bytes;
        self
    }

    fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// How many dependants of at most that many a step may touch. A change of few dependencies shares the batch with
    /// the dependants, so each has a half.
    pub(crate) fn page(&self, longest: usize) -> usize {
        let by_writes = (self.batch_writes / 2).saturating_sub(FIXED) / ENTRY;
        let by_bytes = (self.batch_bytes / 2).saturating_sub(FIXED_BYTES) / ENTRY_BYTES;
        longest.min(by_writes).min(by_bytes).max(1)
    }

    /// How many jobs a step may write.
    pub(crate) fn jobs(&self) -> usize {
        let by_writes = self.batch_writes.saturating_sub(FIXED) / JOB;
        let by_bytes = self.batch_bytes.saturating_sub(FIXED_BYTES) / ENTRY_BYTES;
        by_writes.min(by_bytes).max(1)
    }

    /// How many dependencies a result may have. A commit that replaces a result may remove as many edges as it writes,
    /// and a result that was stored must fit into the batch that removes it.
    fn dependencies(&self, keys: &Keys) -> usize {
        let edge = keys.edge_bytes() * 2 + Dependency::LEN + 1;
        let by_writes = self.batch_writes.saturating_sub(FIXED) / 2;
        let by_bytes = self.batch_bytes.saturating_sub(FIXED_BYTES) / edge;
        by_writes.min(by_bytes)
    }

    /// Refuses a result that is too large for the store.
    pub(crate) fn admit(&self, commit: &Commit, keys: &Keys) -> Result<()> {
        if self.is_none() {
            return Ok(());
        }
        let many = commit.used.iter().filter(|used| used.via != Via::Guard).count();
        let body = commit.value.len() + commit.meta.len() + AROUND;
        let lineage = commit.call.len() + many * (Dependency::LEN + 1) + AROUND;
        let edges = many * keys.edge_bytes() * 2;
        let most = self.dependencies(keys);
        let too_large = |what: String, fix: String| {
            let message = format!("{what}: {fix}, or raise the limit of the store");
            Err(Error::new(ErrorKind::TooLarge, message).with_context("entry", commit.id))
        };
        if many > most {
            let what = format!("the result has {many} dependencies, and a batch of the key-value store takes {most}");
            return too_large(what, format!("set `max_dependencies({most})` of the builder"));
        }
        let (value, limit) = (body.max(lineage), self.value_bytes);
        if value > limit {
            let what = format!(
                "the result and its notes have {value} bytes, and a value of the key-value store takes at most {limit}"
            );
            return too_large(what, "return less, or depend on fewer entities".to_owned());
        }
        let (bytes, limit) = (body + lineage + edges + FIXED_BYTES, self.batch_bytes);
        if bytes > limit {
            let what =
                format!("the result takes up to {bytes} bytes, and a batch of the key-value store has at most {limit}");
            return too_large(what, "return less, or depend on fewer entities".to_owned());
        }
        Ok(())
    }

    /// Refuses a batch that is too large for the store.
    pub(crate) fn check(&self, writes: &[Write]) -> Result<()> {
        if self.is_none() {
            return Ok(());
        }
        let value = |write: &Write| write.value.as_ref().map_or(0, bytes::Bytes::len);
        let bytes = writes.iter().map(|write| write.key.len() + value(write)).sum::<usize>();
        let largest = writes.iter().map(value).max().unwrap_or_default();
        for (size, limit, what) in [
            (writes.len(), self.batch_writes, "writes"),
            (bytes, self.batch_bytes, "bytes"),
            (largest, self.value_bytes, "bytes of one value"),
        ] {
            if size > limit {
                let message = format!(
                    "a step has {size} {what}, above the limit of the key-value store, which is {limit}: raise it"
                );
                return Err(Error::new(ErrorKind::TooLarge, message));
            }
        }
        Ok(())
    }

    /// Cuts an invalidation into parts whose last steps fit. The last one saves the position: until then nothing of the
    /// feed's step counts as done, and doing a part again does no harm.
    pub(crate) fn parts(&self, invalidation: Invalidation) -> Vec<Invalidation> {
        if self.is_none() {
            return vec![invalidation];
        }
        let room = (self.batch_writes / 2).saturating_sub(FIXED).min(self.batch_bytes / 2 / ENTRY_BYTES * CHANGED);
        let Invalidation { mut changed, entries, step } = invalidation;
        let weight = |part: &Invalidation| part.changed.len() * CHANGED + part.entries.len() * ENTRY;
        let mut parts = vec![Invalidation { changed: Vec::new(), entries: Vec::new(), step: None }];
        let mut add = |more: Invalidation| {
            match parts.last_mut().filter(|part| weight(part) == 0 || weight(part) + weight(&more) <= room) {
                Some(part) => {
                    part.changed.extend(more.changed);
                    part.entries.extend(more.entries);
                }
                None => parts.push(more),
            };
        };
        // An entry that is named stays with the change of itself, which is its cause.
        for id in entries {
            let own = Dependency::entry(&id);
            let place = changed.iter().position(|changed| changed.dependency == own);
            let changed = place.map(|place| changed.swap_remove(place)).into_iter().collect();
            add(Invalidation { changed, entries: vec![id], step: None });
        }
        for changed in changed {
            add(Invalidation { changed: vec![changed], entries: Vec::new(), step: None });
        }
        if let Some(last) = parts.last_mut() {
            last.step = step;
        }
        parts
    }

    /// Adds the findings about limits that are too small.
    pub(crate) fn examined(&self, examination: Examination, keys: &Keys) -> Examination {
        let too_small = [
            (self.batch_writes, SMALLEST.batch_writes, "writes of a batch"),
            (self.batch_bytes, SMALLEST.batch_bytes, "bytes of a batch"),
            (self.value_bytes, SMALLEST.value_bytes, "bytes of a value"),
        ];
        let most = self.dependencies(keys);
        let value = self.value_bytes.min(self.batch_bytes).saturating_sub(FIXED_BYTES);
        let mut examination = examination
            .finding(most < USUAL_DEPENDENCIES, || {
                let problem = format!("a batch is too small for a result with more than {most} dependencies");
                let fix = format!("set `max_dependencies({most})` of the builder, or raise the limit of the store");
                Finding::new(Severity::Advice, problem, fix)
            })
            .finding(value < USUAL_VALUE, || {
                let problem = format!("the limits of the store refuse a result of more than {value} bytes");
                let fix = format!("set `max_value_bytes({value})` of the builder, or raise the limits of the store");
                Finding::new(Severity::Advice, problem, fix)
            });
        for (limit, smallest, what) in too_small {
            examination = examination.finding(limit < smallest, || {
                let problem = format!("the limit of {limit} {what} is too small for the steps on a single entry");
                Finding::new(Severity::Danger, problem, format!("raise it to {smallest} at least"))
            });
        }
        examination
    }
}
