//! Runs: their begin, their leases, and their end without a value.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use smache_core::{
    Abort, Begin, BeginOutcome, Begun, EntryId, Result, Token,
    protocol::{self, Beginning, Ended, JobWrite, Run, Wait},
    support::{LATEST, log_damaged_state},
};

use super::record::Lineage;
use crate::{
    codec::{Persisted, Reader, Writer, number, whole_count},
    damage::Part,
    keys::Role,
    step::Step,
};

/// The most changes that are read at once.
const CHANGES: usize = 1_000;

impl Persisted for Run {
    fn encode(&self) -> Bytes {
        let mut writer = Writer::new();
        writer.raw(self.token.as_bytes()).u64(self.start_revision).time(self.until).count(self.waits.len());
        for wait in &self.waits {
            writer.raw(wait.child.as_bytes()).raw(wait.token.as_bytes()).time(wait.until);
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
                    Some(Wait {
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
        Ok(match self.part(id, Role::Run, "a run").await? {
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
        if let Some(number) = whole_count(&bytes) {
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
            last = number(self.keys().rest(key)).filter(|last| *last < LATEST).unwrap_or(last);
            range.after_key(key);
        }
    }

    pub(super) fn put_number(&mut self, role: Role, number: u64) {
        self.put(self.keys().of(role, &[]), number.to_be_bytes().to_vec());
    }

    pub(super) async fn begin(&mut self, begin: &Begin) -> Result<BeginOutcome> {
        let id = &begin.id;
        let keys = self.keys();
        let own = [keys.entry(Role::Run, id), keys.of(Role::Revision, &[])];
        self.prefetch(own.into_iter().chain(self.validity_keys()).chain(self.record_keys(id))).await?;
        let revision = self.revision().await?;
        let old = self.run(id).await?;
        let run = match protocol::begin(old.as_ref(), revision, self.now, begin) {
            Beginning::Busy(remaining) => return Ok(BeginOutcome::Busy { remaining }),
            Beginning::Begun(run) => run,
        };
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
            start_revision: run.start_revision,
            now: self.now,
            incarnation: self.incarnation.clone(),
            validity: Arc::new(self.validity_with_attached().await?),
            entry,
            call: lineage.map(|lineage| lineage.call),
            pending: protocol::is_pending(&used, |dependency| marked.contains(dependency)),
            used,
            conflicts,
        })))
    }

    pub(super) async fn abort(&mut self, abort: &Abort) -> Result<bool> {
        let id = &abort.id;
        let run = self.run(id).await?;
        let head = self.head(id).await?;
        let validity = self.validity().await?;
        let ended = Ended { now: self.now, run: run.as_ref(), head: head.as_ref(), validity: &validity };
        let Some(aborting) = protocol::abort(&ended, abort) else { return Ok(false) };
        if let Some(run) = &run {
            self.delete_run(id, run);
        }
        if let Some(failed) = &aborting.head {
            self.put_head(id, head.as_ref(), failed);
        }
        self.write_job(*id, aborting.job).await?;
        Ok(true)
    }

    pub(super) async fn extend_runs(&mut self, runs: &[(EntryId, Token)], lease: Duration) -> Result<Vec<bool>> {
        let keys = self.keys();
        self.prefetch(runs.iter().map(|(id, _)| keys.entry(Role::Run, id))).await?;
        let mut held = Vec::with_capacity(runs.len());
        for (id, token) in runs {
            let run = self.run(id).await?;
            let until = protocol::extend(run.as_ref(), *token, self.now, lease);
            if let Some((old, until)) = run.as_ref().zip(until) {
                self.put_run(id, Some(old), &Run { until, ..old.clone() });
            }
            held.push(until.is_some());
        }
        Ok(held)
    }

    pub(super) async fn remove(&mut self, id: &EntryId, token: Option<Token>) -> Result<bool> {
        let run = self.run(id).await?;
        if !protocol::may_remove(run.as_ref(), token) {
            return Ok(false);
        }
        if let Some(run) = &run {
            self.delete_run(id, run);
        }
        let record = self.forget(id).await?;
        if !record {
            self.write_job(*id, JobWrite::TakeBack).await?;
        }
        Ok(run.is_some() || record)
    }
}
