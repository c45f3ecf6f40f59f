//! Numbers of a namespace, kept without a key that every step writes.
//!
//! A step that changes a number adds a pair of the difference under a key that no other step has, in the same batch. So
//! the numbers are exact, and no two steps conflict over them. Maintenance, and the reservations of a queue alone, add
//! the pairs that are a second old to the totals. A reader takes the totals and the pairs of the last seconds, in one
//! transaction.

use std::{
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
    time::Duration,
};

use bytes::Bytes;
use smache_core::{JobCounts, JobState, Lane, Result, Staleness, StoreStats, Token, protocol::StoredJob};

use crate::{
    area::SharedArea,
    codec::{Persisted, Reader, Writer},
    keys::Role,
    step::Step,
};

/// How old a pair is before it is added to the totals: a step that is under way writes no earlier one, so that the two
/// do not conflict.
const FOLDED_AFTER: Duration = Duration::from_secs(1);

/// The most pairs that a step adds to the totals.
const FOLDED: usize = 1_000;

/// After how many reservations of a process on a queue alone it adds them.
const RESERVATIONS: u64 = 16;

/// The most pairs that are read at once.
const READ: usize = 4_096;

/// The roles whose pairs are counted.
const COUNTED: [Role; 4] = [Role::Head, Role::Run, Role::Changed, Role::Job];

/// No step of this process has read how many entries there are.
const UNKNOWN: i64 = i64::MAX;

/// The numbers, or differences of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    pub(crate) entries: i64,
    stale: i64,
    runs: i64,
    changes: i64,
    propagation: i64,
    recompute: i64,
    running: i64,
    dead_letters: i64,
}

impl Counts {
    fn all(&mut self) -> [&mut i64; 8] {
        let Self { entries, stale, runs, changes, propagation, recompute, running, dead_letters } = self;
        [entries, stale, runs, changes, propagation, recompute, running, dead_letters]
    }

    fn add(&mut self, mut other: Self) {
        for (own, other) in self.all().into_iter().zip(other.all()) {
            *own = own.saturating_add(*other);
        }
    }

    fn subtract(&mut self, mut other: Self) {
        for (own, other) in self.all().into_iter().zip(other.all()) {
            *own = own.saturating_sub(*other);
        }
    }

    /// Counts a value in or out. Returns whether it can be read.
    fn count(&mut self, role: Role, value: &Bytes, by: i64) -> bool {
        match role {
            Role::Run => self.runs += by,
            Role::Changed => self.changes += by,
            Role::Head => {
                self.entries += by;
                let Some((staleness, _)) = first_fields(value) else { return false };
                self.stale += if staleness == Staleness::Fresh as u8 { 0 } else { by };
            }
            Role::Job => {
                let Some(job) = StoredJob::decode(value) else { return false };
                *match (job.state().0, job.lane) {
                    (JobState::Queued, Lane::Propagation) => &mut self.propagation,
                    (JobState::Queued, Lane::Recompute) => &mut self.recompute,
                    (JobState::Running, _) => &mut self.running,
                    (JobState::DeadLetter, _) => &mut self.dead_letters,
                } += by;
            }
            _ => {}
        }
        true
    }

    pub(crate) fn jobs(self) -> JobCounts {
        JobCounts {
            propagation: known(self.propagation),
            recompute: known(self.recompute),
            running: known(self.running),
            dead_letters: known(self.dead_letters),
        }
    }

    pub(crate) fn stats(self, revision: u64) -> StoreStats {
        let mut stats = StoreStats::default();
        stats.entries = known(self.entries);
        stats.stale = known(self.stale);
        stats.running = known(self.runs);
        stats.revision = revision;
        stats.invalidations = known(self.changes);
        stats
    }
}

/// The staleness of a head and the time when it was stored. An invalidation writes a thousand heads, whose other fields
/// nothing here needs.
fn first_fields(head: &Bytes) -> Option<(u8, u64)> {
    Reader::read_first(head, |reader| {
        reader.u64()?;
        Some((reader.u8()?, reader.u64()?))
    })
}

fn known(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

impl Persisted for Counts {
    fn encode(&self) -> Bytes {
        let mut writer = Writer::new();
        let mut counts = *self;
        for number in counts.all() {
            writer.raw(&number.to_be_bytes());
        }
        writer.done()
    }

    fn decode(bytes: &Bytes) -> Option<Self> {
        Reader::read(bytes, |reader| {
            let mut counts = Self::default();
            for number in counts.all() {
                *number = i64::from_be_bytes(reader.array()?);
            }
            Some(counts)
        })
    }
}

/// What this process knows of the numbers.
#[derive(Debug)]
pub(crate) struct KnownCounts {
    /// The entries when a step last read them, with those that this process has stored and removed since.
    entries: AtomicI64,
    /// The reservations of this process.
    reservations: AtomicU64,
}

impl Default for KnownCounts {
    fn default() -> Self {
        Self { entries: AtomicI64::new(UNKNOWN), reservations: AtomicU64::new(0) }
    }
}

impl KnownCounts {
    pub(crate) fn entries(&self) -> i64 {
        self.entries.load(Ordering::Relaxed)
    }

    pub(crate) fn set_entries(&self, entries: i64) {
        self.entries.store(entries, Ordering::Relaxed);
    }

    pub(crate) fn written(&self, counts: &Counts) {
        if counts.entries != 0 && self.entries() != UNKNOWN {
            self.entries.fetch_add(counts.entries, Ordering::Relaxed);
        }
    }
}

/// Adds old pairs to the totals now and then: a queue alone has no maintenance. The reservation has succeeded in any
/// case.
pub(crate) async fn fold_after_reservation(area: &SharedArea) {
    if !area.shared.counts.reservations.fetch_add(1, Ordering::Relaxed).is_multiple_of(RESERVATIONS) {
        return;
    }
    loop {
        match area.write(|step| Box::pin(step.keep_counts(FOLDED))).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                tracing::debug!(error = %error.report(), "the numbers of a queue are added up later");
                return;
            }
        }
    }
}

impl Step<'_> {
    /// Adds what the writes of the step change in the numbers.
    pub(crate) async fn count_writes(&mut self) -> Result<Counts> {
        let keys = self.keys();
        let counted = |key: &Bytes| keys.one_of(&COUNTED, key).map(|role| (role, key.clone()));
        let written: Vec<(Role, Bytes)> = self.written().filter_map(counted).collect();
        // Usually each of them was read before.
        self.read_before(written.iter().map(|(_, key)| key)).await?;
        let mut counts = Counts::default();
        // The step may have removed a head whose first fields can be read.
        let mut damaged = self.repairs;
        for (role, key) in &written {
            let (old, new) = self.before_and_after(key);
            damaged |= old.as_ref().is_some_and(|old| !counts.count(*role, old, -1));
            damaged |= new.as_ref().is_some_and(|new| !counts.count(*role, new, 1));
            if *role == Role::Head && self.area.capacity.is_some() {
                self.place_by_storing(key, old.as_ref(), new.as_ref());
            }
        }
        if damaged {
            self.put(keys.of(Role::Recount, &[]), Vec::new());
        }
        if counts != Counts::default() {
            let now = self.now.as_millis().to_be_bytes();
            self.put(keys.of(Role::CountChange, &[&now, Token::random().as_bytes()]), counts.encode());
        }
        Ok(counts)
    }

    /// Keeps the index of entries by the time when they were stored.
    fn place_by_storing(&mut self, key: &Bytes, old: Option<&Bytes>, new: Option<&Bytes>) {
        let keys = self.keys();
        let Some(id) = keys.id_of(key) else { return };
        let place = |value: Option<&Bytes>| {
            value.and_then(first_fields).map(|(_, stored_at)| keys.index(Role::Stored, stored_at, &id))
        };
        let (old, new) = (place(old), place(new));
        if old != new {
            old.into_iter().for_each(|old| self.delete(old));
            new.into_iter().for_each(|new| self.put(new, Vec::new()));
        }
    }

    /// The numbers at this moment.
    pub(crate) async fn counts_now(&mut self) -> Result<Counts> {
        let mut counts = self.totals().await?;
        let mut range = self.keys().range(Role::CountChange, &[]);
        loop {
            let page = self.scan(&range, READ).await?;
            page.iter().filter_map(|(_, change)| Counts::decode(change)).for_each(|change| counts.add(change));
            match page.last() {
                Some((last, _)) if page.len() == READ => range.after_key(last),
                _ => return Ok(counts),
            }
        }
    }

    async fn totals(&mut self) -> Result<Counts> {
        let key = self.keys().of(Role::Count, &[]);
        let totals = self.decoded(key.clone(), "the numbers").await?;
        if totals.is_none() && self.removes() && self.get(&key).await?.is_some() {
            self.put(self.keys().of(Role::Recount, &[]), Vec::new());
        }
        Ok(totals.unwrap_or_default())
    }

    fn put_totals(&mut self, totals: Counts) {
        let key = self.keys().of(Role::Count, &[]);
        match totals == Counts::default() {
            true => self.delete(key),
            false => self.put(key, totals.encode()),
        }
    }

    /// Adds old pairs to the totals, and counts everything after damage. Returns whether there is more to do.
    pub(crate) async fn keep_counts(&mut self, limit: usize) -> Result<bool> {
        let keys = self.keys();
        let recount = keys.of(Role::Recount, &[]);
        self.prefetch([keys.of(Role::Count, &[]), recount.clone()]).await?;
        let mut totals = self.totals().await?;
        if self.get(&recount).await?.is_some() {
            self.recount().await?;
            self.delete(recount);
            return Ok(true);
        }
        let Some(before) = self.now.as_millis().checked_sub(FOLDED_AFTER.as_millis() as u64) else { return Ok(false) };
        let limit = self.within_limits(limit.min(FOLDED));
        let old = self.scan(&keys.up_to(Role::CountChange, &[], before), limit).await?;
        if old.is_empty() {
            return Ok(false);
        }
        for (key, change) in &old {
            match Counts::decode(change) {
                Some(change) => totals.add(change),
                None => self.put(keys.of(Role::Recount, &[]), Vec::new()),
            }
            self.delete(key.clone());
        }
        self.put_totals(totals);
        Ok(old.len() == limit)
    }

    /// Reads everything that is counted.
    async fn recount(&mut self) -> Result<()> {
        let mut totals = Counts::default();
        for role in COUNTED {
            let mut range = self.keys().range(role, &[]);
            loop {
                let page = self.scan(&range, READ).await?;
                for (_, value) in &page {
                    // What cannot be read counts as far as it is known. The step that removes it asks for another count.
                    totals.count(role, value, 1);
                }
                match page.last() {
                    Some((last, _)) if page.len() == READ => range.after_key(last),
                    _ => break,
                }
            }
        }
        // The pairs stay, and a reader adds them.
        let mut pairs = self.counts_now().await?;
        pairs.subtract(self.totals().await?);
        totals.subtract(pairs);
        self.put_totals(totals);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use smache_core::{Epoch, Epochs, Timestamp, protocol::Head};

    use super::*;

    #[test]
    fn numbers_are_read_as_they_were_written() {
        let counts = Counts { entries: 7, stale: -1, dead_letters: i64::MIN, ..Counts::default() };
        assert_eq!(Counts::decode(&counts.encode()), Some(counts));
        assert_eq!(Counts::decode(&counts.encode().slice(1..)), None);
    }

    #[test]
    fn first_fields_of_a_head_are_those_that_were_written() {
        let head = Head {
            version: 7,
            epochs: Epochs { global: Epoch::from_bytes([1; 16]), sources: Vec::new() },
            staleness: Staleness::MaybeStale,
            since: Some(Timestamp::from_millis(8)),
            stored_at: Timestamp::from_millis(9),
            expires: None,
            lazy: true,
            conflicts: 0,
            failures: 0,
            last_failure: None,
            causes: Vec::new(),
        };
        assert_eq!(first_fields(&head.encode()), Some((Staleness::MaybeStale as u8, 9)));
    }
}
