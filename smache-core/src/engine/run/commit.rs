//! The end of a run: its uses are validated and stored with its value, or its old value proves to be still right.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::{Ran, Run, Stored};
use crate::{
    Commit, CommitOutcome, Cx, Dependency, Epochs, Error, ErrorKind, Freshness, OnConflict, Result, SourceId,
    Staleness, StoredEntry, Timestamp, UsedDependency, Via,
    backoff::{conflict_delay, taint_delay},
    codec,
    counters::count,
    engine::{lease::Lease, registry::Output, remembered},
    tracking::{Meta, StoredUses, Tracked},
};

impl Run<'_> {
    /// The end of a run in a value.
    pub(super) async fn commit(&self, lease: Lease, cx: &Cx, output: Output) -> Result<Ran> {
        let begun = &self.begun;
        let elapsed = self.started.elapsed();
        let child_calls = cx.tracked().child_calls().to_vec();
        let called = cx.tracked().called();
        let reflects = cx.tracked().reflected(begun.now);
        let hash = output.encoded.hash;
        let form = output.encoded.form;
        let meta = Meta { check: self.key.check, hash, cost: elapsed, begun: reflects, form, called, child_calls };
        let mut commit = match self.what_to_commit(cx, output.encoded.bytes, meta.write(), elapsed) {
            Ok(commit) => commit,
            Err(error) => return Err(self.fail(lease, error).await),
        };
        if cx.tracked().may_be_repeated() {
            commit.on_conflict = OnConflict::Report;
        }
        let mut outcome = self.commit_surely(&commit).await;
        if let Ok(CommitOutcome::ConflictReported { revision, dependencies, .. }) = &outcome {
            commit = self.reread((cx, elapsed), commit, (*revision, dependencies)).await;
            outcome = self.commit_surely(&commit).await;
        }
        let Commit { conflict_delay, epochs, version, .. } = commit;
        // The data was read after the begin, whether the value is stored or not.
        let unconfirmed = Freshness::Unconfirmed { since: Some(reflects) };
        let ran = |freshness, at, stored| Ran { value: output.value, freshness, at, version, stored };
        Ok(match outcome {
            Ok(CommitOutcome::Fresh { now }) => {
                lease.settle();
                self.engine.outages.is_over(self.function.key);
                let freshness = self.confirmed(&epochs, (version, &meta), now).await;
                ran(freshness, now, Stored::Fresh)
            }
            Ok(CommitOutcome::Conflicted { now, .. }) => {
                lease.settle();
                count(&self.engine.tally.conflicts);
                if !self.function.lazy {
                    self.engine.enqueue_reported(&[self.key.id], conflict_delay).await;
                }
                ran(Freshness::Stale { since: reflects }, now, Stored::Stale(conflict_delay))
            }
            Ok(CommitOutcome::Lost | CommitOutcome::OtherIncarnation | CommitOutcome::ConflictReported { .. }) => {
                lease.settle();
                count(&self.engine.tally.lost);
                ran(unconfirmed, begun.now.after(elapsed), Stored::No)
            }
            // The caller gets its value; only the store does not.
            Err(error) if error.is_transient() => {
                if let Some(left_out) = self.engine.swarms.not_stored.warns() {
                    tracing::warn!(function = self.function.name, error = %error.report(), left_out, "a result could not be stored");
                }
                ran(unconfirmed, begun.now.after(elapsed), Stored::No)
            }
            Err(error) => return Err(self.fail(lease, error).await),
        })
    }

    /// The freshness of a value that was just stored as fresh. A commit compares the value with the delivered changes
    /// and says nothing of the feeds: either the validity that the begin has read still holds, or the run asks the
    /// store again.
    async fn confirmed(&self, epochs: &Epochs, (version, meta): (u64, &Meta), now: Timestamp) -> Freshness {
        let begun = &self.begun;
        if begun.validity.is_caught_up(epochs, &begun.incarnation) && begun.validity.silent_since(epochs, now).is_none()
        {
            return Freshness::Fresh { as_of: now };
        }
        let unknown = Freshness::Unconfirmed { since: Some(meta.begun) };
        let Ok(lookup) = self.engine.timed("lookup", self.engine.store.lookup(&[self.key.id])).await else {
            return unknown;
        };
        match lookup.entries.first().and_then(Option::as_ref).filter(|entry| entry.version == version) {
            Some(entry) => match meta.dated(lookup.validity.judge(entry, lookup.now, &lookup.incarnation), entry) {
                Freshness::Unconfirmed { since: None } => unknown,
                freshness => freshness,
            },
            None => unknown,
        }
    }

    /// The end of a run in an error. The error is stored if the function asks for it and no stored value is to stay
    /// instead.
    pub(super) async fn fail_or_remember(&self, lease: Lease, cx: &Cx, error: Error) -> Error {
        let begun = &self.begun;
        let elapsed = self.started.elapsed();
        let keeps_value = remembered::has_value(begun) && !self.removes(&error);
        let lasting = remembered::is_lasting(&error) && !keeps_value && !cx.tracked().is_tainted();
        let Some(time) = self.function.cache_errors.filter(|_| lasting) else { return self.fail(lease, error).await };
        let error = error.with_first_context("function", self.function.name);
        let value = remembered::write(&error);
        let hash = codec::hash_of_failure(&value);
        let called = cx.tracked().called();
        let begun_at = cx.tracked().reflected(begun.now);
        let child_calls = Vec::new();
        let meta =
            Meta { check: self.key.check, hash, cost: elapsed, begun: begun_at, form: [0; 8], called, child_calls };
        let Ok(mut commit) = self.what_to_commit(cx, value, meta.write(), elapsed) else {
            return self.fail(lease, error).await;
        };
        // No job for a stale one: the next reader runs the function.
        (commit.ttl, commit.lazy) = (Some(time), true);
        match self.commit_surely(&commit).await {
            Ok(_) => {
                if error.kind() != ErrorKind::Gone {
                    count(&self.engine.tally.failures);
                }
                lease.settle();
                error
            }
            Err(failed) => {
                tracing::warn!(function = self.function.name, error = %failed.report(), "an error could not be stored");
                self.fail(lease, error).await
            }
        }
    }

    pub(super) fn what_to_commit(&self, cx: &Cx, value: Bytes, meta: Bytes, elapsed: Duration) -> Result<Commit> {
        let begun = &self.begun;
        let tracked = cx.tracked();
        let mut used = self.used(&tracked)?;
        used.push(UsedDependency { dependency: Dependency::entry(&self.key.id), via: Via::Guard });
        // A value without a source depends on reports of the application alone: a replaced store may have lost them.
        let application = tracked.sources().is_empty().then(SourceId::application);
        Ok(Commit {
            id: self.key.id,
            token: self.token,
            start_revision: begun.start_revision,
            version: begun.start_revision,
            on_conflict: OnConflict::StoreStale,
            incarnation: begun.incarnation.clone(),
            epochs: begun.validity.epochs(tracked.sources().iter().chain(&application)),
            call: self.key.stored(self.function.name, self.function.version),
            value,
            meta,
            used,
            ttl: self.function.ttl,
            not_after: tracked.not_after(),
            tainted: tracked.is_tainted(),
            lazy: self.function.lazy,
            conflict_delay: match tracked.is_tainted() {
                true => taint_delay(elapsed, begun.conflicts),
                false => conflict_delay(elapsed),
            },
        })
    }

    /// The uses of the run, within the limit for an entry.
    fn used(&self, tracked: &Tracked) -> Result<Vec<UsedDependency>> {
        let limit = self.engine.settings.max_dependencies;
        let name = self.function.name;
        match tracked.used(limit) {
            StoredUses::All(used) => Ok(used),
            StoredUses::Coarse(used) => {
                count(&self.engine.tally.coarsened);
                tracing::warn!(
                    function = name,
                    limit,
                    "a result depends on too many entities: it depends on their whole sources instead"
                );
                Ok(used)
            }
            StoredUses::TooMuch(many) => {
                let fix = "raise `max_dependencies` of the builder, or split the function";
                let message = format!(
                    "a result of `{name}` depends on {many} nested calls, tags and sources, above the limit of {limit}: {fix}"
                );
                Err(Error::new(ErrorKind::TooLarge, message))
            }
        }
    }

    /// Early cut-off: an entry that is maybe stale is still right if the values of its children come out equal. Returns
    /// their present dependencies.
    pub(super) async fn is_unchanged(&self) -> Result<Option<(Cx, &StoredEntry)>> {
        let begun = &self.begun;
        let Some(entry) = &begun.entry else { return Ok(None) };
        let Some(meta) = Meta::read(&entry.meta) else { return Ok(None) };
        // A new version of a child may come out equal and still mean something else to this function.
        if self.engine.registry.has_replaced(&meta) {
            return Ok(None);
        }
        let only_through_children =
            entry.staleness == Staleness::MaybeStale && begun.validity.has_epochs(&entry.epochs);
        if !only_through_children
            || meta.child_calls.is_empty()
            || meta.check != self.key.check
            || entry.is_expired(begun.now)
        {
            return Ok(None);
        }
        let cx = Cx::new(Arc::clone(self.engine), self.frame);
        {
            let mut tracked = cx.tracked();
            meta.called.iter().for_each(|called| tracked.calls(*called));
            entry.epochs.sources.iter().for_each(|(source, _)| tracked.source(source));
            begun.used.iter().filter(|used| used.via == Via::Direct).for_each(|used| tracked.direct(used.dependency));
        }
        Ok(self.engine.children_are_unchanged(&cx, &meta.child_calls).await?.same().map(|()| (cx, entry)))
    }

    /// The end of an early cut-off: the value is stored again with the present dependencies of its children, under the
    /// revision of *this* begin. Its expiry stays, because its function has not run.
    pub(super) async fn store_again(&self, cx: &Cx, entry: &StoredEntry) -> Result<Stored> {
        let meta = match Meta::read(&entry.meta) {
            Some(meta) => Meta { called: cx.tracked().called(), ..meta }.write(),
            None => entry.meta.clone(),
        };
        let mut commit = self.what_to_commit(cx, entry.value.clone(), meta, self.started.elapsed())?;
        if commit.ttl.is_some() {
            commit.not_after = [commit.not_after, entry.expires].into_iter().flatten().min();
        }
        let delay = commit.conflict_delay;
        Ok(match self.commit_surely(&commit).await? {
            CommitOutcome::Fresh { .. } => {
                count(&self.engine.tally.cut_offs);
                Stored::Fresh
            }
            CommitOutcome::Conflicted { .. } => Stored::Stale(delay),
            CommitOutcome::Lost | CommitOutcome::OtherIncarnation | CommitOutcome::ConflictReported { .. } => {
                Stored::No
            }
        })
    }

    /// Commits, and again if the answer was lost: a second try that lost its token may have succeeded the first time.
    async fn commit_surely(&self, commit: &Commit) -> Result<CommitOutcome> {
        let mut pause = Duration::from_millis(20);
        let mut ambiguous = false;
        loop {
            match self.engine.timed("commit", self.engine.store.commit(commit.clone())).await {
                Ok(CommitOutcome::Lost) if ambiguous => return self.was_it_stored(commit).await,
                Ok(outcome) => return Ok(outcome),
                Err(error) if self.engine.breaker.is_open() => return Err(error),
                Err(error) if error.is_transient() && pause < Duration::from_millis(200) => ambiguous = true,
                Err(error) => return Err(error),
            }
            tokio::time::sleep(pause).await;
            pause *= 3;
        }
    }

    async fn was_it_stored(&self, commit: &Commit) -> Result<CommitOutcome> {
        let lookup = self.engine.timed("lookup", self.engine.store.lookup(&[self.key.id])).await?;
        let now = lookup.now;
        match lookup.entries.first() {
            Some(Some(entry)) if entry.version == commit.version && entry.meta == commit.meta => {
                Ok(if lookup.validity.is_stale(entry) {
                    CommitOutcome::Conflicted { now, dependencies: Vec::new() }
                } else {
                    CommitOutcome::Fresh { now }
                })
            }
            _ => Ok(CommitOutcome::Lost),
        }
    }
}
