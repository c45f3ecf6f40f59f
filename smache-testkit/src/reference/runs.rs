//! Runs: begin, commit, abort and what goes on meanwhile.

use std::{sync::Arc, time::Duration};

use smache_core::{
    Abort, Begin, BeginOutcome, Begun, ChangedSince, Commit, CommitOutcome, Dependency, EntryId, RecordWaits, Token,
    protocol::{self, Beginning, ChangeLog, CommitView, Committing, Ended},
    support::WaitWalk,
};

use super::{Entry, Moment, Partition};

impl Partition {
    /// **B**: starts a run.
    pub fn begin(&mut self, at: Moment<'_>, begin: &Begin) -> BeginOutcome {
        let run = match protocol::begin(self.runs.get(&begin.id), self.revision, at.now, begin) {
            Beginning::Busy(remaining) => return BeginOutcome::Busy { remaining },
            Beginning::Begun(run) => run,
        };
        let start_revision = run.start_revision;
        self.runs.insert(begin.id, run);
        let stored = self.records.get(&begin.id);
        let used = stored.map(|stored| stored.used.clone()).unwrap_or_default();
        BeginOutcome::Begun(Box::new(Begun {
            start_revision,
            now: at.now,
            incarnation: at.incarnation.clone(),
            validity: Arc::new(self.validity.clone()),
            entry: stored.map(Entry::stored),
            call: stored.map(|stored| stored.call.clone()),
            conflicts: stored.map_or(0, |stored| stored.head.conflicts),
            pending: protocol::is_pending(&used, |dependency| self.is_marked(dependency)),
            used,
        }))
    }

    /// **C**: stores the value of a run. With [`JobWrites::Reported`](smache_core::JobWrites::Reported), the answer says
    /// whether the entry needs a job.
    pub fn commit(&mut self, at: Moment<'_>, commit: Commit) -> CommitOutcome {
        let id = commit.id;
        let view = CommitView {
            now: at.now,
            incarnation: at.incarnation,
            run: self.runs.get(&id),
            head: self.records.get(&id).map(|entry| &entry.head),
            validity: &self.validity,
            changes: self,
        };
        let stored = match protocol::commit(&view, &commit) {
            Committing::Refused(outcome) => return outcome,
            Committing::Stored(stored) => stored,
        };
        self.runs.remove(&id);
        let Commit { call, value, meta, .. } = commit;
        self.put(id, Entry { head: stored.head, value, meta, call, used: stored.edges });
        self.write_job(at, id, stored.job, &mut Vec::new());
        stored.outcome
    }

    /// **C**: the conflicts that a commit with that version would find.
    #[must_use]
    pub fn changed_since(&self, at: Moment<'_>, version: u64, dependencies: &[Dependency]) -> ChangedSince {
        ChangedSince {
            incarnation: at.incarnation.clone(),
            revision: self.revision,
            dependencies: protocol::changed_since(self, version, dependencies),
        }
    }

    /// **A**: gives a run up. Says whether the token held it.
    pub fn abort(&mut self, at: Moment<'_>, abort: &Abort) -> bool {
        let Some(aborting) = protocol::abort(&self.ended(at, &abort.id), abort) else { return false };
        self.runs.remove(&abort.id);
        if let (Some(entry), Some(head)) = (self.records.get_mut(&abort.id), aborting.head) {
            entry.head = head;
        }
        self.write_job(at, abort.id, aborting.job, &mut Vec::new());
        true
    }

    /// **X**: extends leases. Says for each whether the token holds it.
    pub fn extend(&mut self, at: Moment<'_>, runs: &[(EntryId, Token)], lease: Duration) -> Vec<bool> {
        let extend = |(id, token): &(EntryId, Token)| {
            let until = protocol::extend(self.runs.get(id), *token, at.now, lease);
            if let Some((run, until)) = self.runs.get_mut(id).zip(until) {
                run.until = until;
            }
            until.is_some()
        };
        runs.iter().map(extend).collect()
    }

    /// **W**: notes waits, and answers those that lead on from a child's run.
    pub fn record_waits(&mut self, at: Moment<'_>, wait: &RecordWaits) -> Vec<(EntryId, EntryId)> {
        let until = at.now.after(wait.lease);
        for waiting in &wait.runs {
            let awaited = self.runs.get(&waiting.child).map(|run| run.token);
            if let Some(run) = self.runs.get_mut(&waiting.id).filter(|run| run.token == waiting.token) {
                protocol::note_wait(run, waiting.child, awaited, until, at.now);
            }
        }
        let mut walk = WaitWalk::from(wait.child);
        while let Some(id) = walk.next_run() {
            let notes = self.runs.get(&id).into_iter().flat_map(|run| &run.waits);
            let counting = notes.filter(|wait| protocol::counts(wait, self.runs.get(&wait.child), at.now));
            walk.waits_for(id, counting.map(|wait| wait.child));
        }
        walk.into_waits()
    }

    /// **A**: removes an entry with its run and its job, with a token only under that one. Says whether it removed
    /// something.
    pub fn remove(&mut self, at: Moment<'_>, id: &EntryId, token: Option<Token>) -> bool {
        if !protocol::may_remove(self.runs.get(id), token) {
            return false;
        }
        let run = self.runs.remove(id).is_some();
        let record = self.forget(at, id);
        if !record {
            self.write_job(at, *id, protocol::JobWrite::TakeBack, &mut Vec::new());
        }
        run || record
    }

    /// A store that is full removes a record: only values may go, so the run and everything else stays.
    pub fn evict(&mut self, at: Moment<'_>, id: &EntryId) -> bool {
        self.forget(at, id)
    }

    /// What the end of a run reads.
    pub(super) fn ended<'a>(&'a self, at: Moment<'_>, id: &EntryId) -> Ended<'a> {
        let head = self.records.get(id).map(|entry| &entry.head);
        Ended { now: at.now, run: self.runs.get(id), head, validity: &self.validity }
    }
}
