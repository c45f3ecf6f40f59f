//! Runs: their begin, their leases, and their end without a value.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use smache_core::{
    Abort, Begin, BeginOutcome, Begun, EntryId, Result, RunFailure, Timestamp, Token,
    support::{clip, limits::ERROR_BYTES, log_damaged_state},
};

use super::record::Lineage;
use crate::{
    codec::{Reader, Writer, number, whole_number},
    damage::Part,
    keys::Role,
    step::Step,
};

/// The most changes that are read at once.
const CHANGES: usize = 1_000;

/// A computation under way.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Run {
    pub(super) token: Token,
    pub(super) start_revision: u64,
    pub(super) until: Timestamp,
    /// The waits of the run, the newest last.
    pub(super) waits: Vec<Note>,
}

/// A wait of a run for another one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Note {
    pub(super) child: EntryId,
    /// Of the awaited run: the note does not hold for a later run of the child.
    pub(super) token: Token,
    pub(super) until: Timestamp,
}

impl Run {
    fn encode(&self) -> Bytes {
        let mut writer = Writer::new();
        writer.raw(self.token.as_bytes()).u64(self.start_revision).time(self.until).count(self.waits.len());
        for note in &self.waits {
            writer.raw(note.child.as_bytes()).raw(note.token.as_bytes()).time(note.until);
        }
        writer.done()
    }

    fn decode(bytes: &Bytes) -> Option<Self> {
        Reader::read(bytes, |reader| {
            Some(Self {
                token: Token::from_bytes(reader.array()?),
                start_revision: reader.u64()?,
                until: reader.time()?,
                waits: reader.list(|reader| {
                    Some(Note {
                        child: EntryId::from_bytes(reader.array()?),
                        token: Token::from_bytes(reader.array()?),
                        until: reader.time()?,
                    })
                })?,
            })
        })
    }
}

impl Step<'_> {
    pub(super) async fn run(&mut self, id: &EntryId) -> Result<Option<Run>> {
        Ok(match self.part(id, Role::Run, "a run", Run::decode).await? {
            Part::There(run) => Some(run),
            Part::Absent => None,
            // Maintenance removes its places in the indexes.
            Part::Damaged => {
                if self.removes() {
                    self.delete(self.keys().entry(Role::Run, id));
                }
                None
            }
        })
    }

    /// Replaces a run, with its places in the indexes.
    pub(super) fn put_run(&mut self, id: &EntryId, old: Option<&Run>, run: &Run) {
        if let Some(old) = old {
            self.delete_run(id, old);
        }
        let keys = self.keys();
        self.put(keys.index(Role::RunLease, run.until.as_millis(), id), Vec::new());
        self.put(keys.index(Role::RunStart, run.start_revision, id), Vec::new());
        self.put(keys.entry(Role::Run, id), run.encode());
    }

    pub(super) fn delete_run(&mut self, id: &EntryId, run: &Run) {
        let keys = self.keys();
        self.delete(keys.index(Role::RunLease, run.until.as_millis(), id));
        self.delete(keys.index(Role::RunStart, run.start_revision, id));
        self.delete(keys.entry(Role::Run, id));
    }

    /// The present run of an entry, if the token holds it. A lapsed lease that no other run has taken counts.
    pub(super) async fn held_run(&mut self, id: &EntryId, token: Token) -> Result<Option<Run>> {
        Ok(self.run(id).await?.filter(|run| run.token == token))
    }

    pub(super) async fn revision(&mut self) -> Result<u64> {
        self.number(Role::Revision).await
    }

    /// A revision. A damaged one goes on at the time, in microseconds, which no counted revision has reached.
    /// Everything starts a new epoch, so that no run compares with earlier revisions.
    pub(super) async fn number(&mut self, role: Role) -> Result<u64> {
        let key = self.keys().of(role, &[]);
        let Some(bytes) = self.get(&key).await? else { return Ok(0) };
        if let Some(number) = whole_number(&bytes) {
            return Ok(number);
        }
        log_damaged_state(key.escape_ascii(), "a revision");
        let number = match role {
            // Earlier runs cannot be validated; those that begin now can.
            Role::LowWatermark => Box::pin(self.revision()).await?,
            _ => self.now.as_millis().saturating_mul(1_000).max(self.last_change().await?.saturating_add(1)),
        };
        if self.removes() {
            self.put_number(role, number);
            self.new_epoch().await?;
        }
        Ok(number)
    }

    /// The revision of the last stored change.
    async fn last_change(&mut self) -> Result<u64> {
        let mut range = self.keys().range(Role::ChangedAt, &[]);
        let mut last = 0;
        loop {
            let page = self.scan(&range, CHANGES).await?;
            let Some((key, _)) = page.last() else { return Ok(last) };
            last = number(self.keys().rest(key)).unwrap_or(last);
            range.after_key(key);
        }
    }

    pub(super) fn put_number(&mut self, role: Role, number: u64) {
        self.put(self.keys().of(role, &[]), number.to_be_bytes().to_vec());
    }

    pub(super) async fn begin(&mut self, begin: &Begin) -> Result<BeginOutcome> {
        let Begin { id, token, lease } = begin;
        let keys = self.keys();
        let own = [keys.entry(Role::Run, id), keys.of(Role::Revision, &[])];
        self.prefetch(own.into_iter().chain(self.validity_keys()).chain(self.record_keys(id))).await?;
        let mut start_revision = self.revision().await?;
        let old = self.run(id).await?;
        if let Some(run) = &old {
            if run.token == *token {
                start_revision = run.start_revision;
            } else if run.until > self.now {
                return Ok(BeginOutcome::Busy { remaining: run.until.since(self.now) });
            }
        }
        let run = Run { token: *token, start_revision, until: self.now.after(*lease), waits: Vec::new() };
        self.put_run(id, old.as_ref(), &run);
        // The whole record or none: without its dependencies no re-validation may keep its value.
        let mut entry = self.entry(id).await?;
        let mut lineage = self.lineage(id).await?;
        if entry.is_none() || lineage.is_none() {
            (entry, lineage) = (None, None);
        }
        let conflicts = self.head(id).await?.map_or(0, |head| head.conflicts);
        let used = lineage.as_ref().map(|Lineage { used, .. }| used.clone()).unwrap_or_default();
        let marked = self.marked().await?;
        Ok(BeginOutcome::Begun(Box::new(Begun {
            start_revision,
            now: self.now,
            incarnation: self.incarnation.clone(),
            validity: Arc::new(self.validity_with_attached().await?),
            entry,
            call: lineage.map(|lineage| lineage.call),
            pending: used.iter().any(|used| marked.contains(&used.dependency)),
            used,
            conflicts,
        })))
    }

    pub(super) async fn abort(&mut self, abort: &Abort) -> Result<bool> {
        let id = &abort.id;
        let Some(run) = self.held_run(id, abort.token).await? else { return Ok(false) };
        self.delete_run(id, &run);
        let Some(mut head) = self.head(id).await? else { return Ok(true) };
        if let Some(message) = &abort.failure {
            let old = head.clone();
            head.failures = head.failures.saturating_add(1);
            let message = clip(message, ERROR_BYTES).to_owned();
            head.last_failure = Some(RunFailure { message, at: self.now });
            self.put_head(id, Some(&old), &head);
        }
        if let Some(lane) = self.lane_of_need(&head).await? {
            self.need_after_run(*id, lane, abort.delay).await?;
        }
        Ok(true)
    }

    pub(super) async fn extend_runs(&mut self, runs: &[(EntryId, Token)], lease: Duration) -> Result<Vec<bool>> {
        let keys = self.keys();
        self.prefetch(runs.iter().map(|(id, _)| keys.entry(Role::Run, id))).await?;
        let mut held = Vec::with_capacity(runs.len());
        for (id, token) in runs {
            let run = self.held_run(id, *token).await?;
            if let Some(old) = &run {
                let until = self.now.after(lease);
                self.put_run(id, Some(old), &Run { until, ..old.clone() });
            }
            held.push(run.is_some());
        }
        Ok(held)
    }

    pub(super) async fn remove(&mut self, id: &EntryId, token: Option<Token>) -> Result<bool> {
        let run = self.run(id).await?;
        if token.is_some_and(|token| run.as_ref().is_none_or(|run| run.token != token)) {
            return Ok(false);
        }
        if let Some(run) = &run {
            self.delete_run(id, run);
        }
        let record = self.forget(id).await?;
        if !record {
            self.take_back(id).await?;
        }
        Ok(run.is_some() || record)
    }
}
