//! Nested calls: a run reads the result of another call, and inherits its dependencies.
//!
//! The child is read once and must be fresh. Its leaves become the parent's own, so that a change finds the parent
//! without the child, and the parent's commit validates them. The protocol says why one read is enough: every mark of
//! an invalidation precedes every step of its revision.

use std::sync::Arc;

use super::{Engine, Function, run::Seen};
use crate::{
    Cached, Call, Computed, Cx, Dependency, EntryId, Error, ErrorKind, Freshness, FullRecord, Record, Result,
    call_key::CallKey,
    codec,
    computed::Want,
    tracking::{CallFrame, ChildCall, Meta},
};

/// How deep calls may nest.
const MAX_DEPTH: u32 = 64;
/// How often a child that does not stay fresh is computed; after that the parent is stored as stale.
const TRIES: u32 = 5;

/// The result of comparing a run's uses with the present data.
#[derive(Debug)]
pub(crate) enum Compared<T> {
    Same(T),
    Changed,
    /// Not known now: a source is away, or other runs are at work on it.
    Unknown,
}

impl<T> Compared<T> {
    pub(crate) fn same(self) -> Option<T> {
        match self {
            Self::Same(same) => Some(same),
            Self::Changed | Self::Unknown => None,
        }
    }
}

impl Cx {
    /// The result of another call, fresh: a nested call. The caller depends on everything that the child depends on.
    ///
    /// A child that is missing or not fresh is computed first, once for all callers that wait for it. When it is
    /// recomputed to an equal value, its parents do not run again (early cut-off).
    ///
    /// Every outcome is a dependency of the caller. A function that tolerates an error of its nested call, or gives up
    /// waiting for it, goes stale when a change affects the reads of the failed run. An outcome that no data explain (a
    /// timeout, a panic, a failure of the store or a source, a cycle, a dropped future) makes a worker run the caller
    /// again.
    ///
    /// # Errors
    /// [`ErrorKind::Cycle`] with the path when calls wait for each other: at once within a process, and soon when the
    /// cycle runs through several. The same kind when calls nest more than 64 deep. Otherwise as
    /// [`Smache::get`](crate::Smache::get).
    ///
    /// # Cancel safety
    /// A dropped call leaves the computation of the child running, and makes a worker run the caller again.
    pub async fn get<F: Computed>(&self, call: Call<F>) -> Result<Cached<F::Output>> {
        let (function, key) = self.engine().key(&call).inspect_err(|error| {
            // Another release of the program may have the function.
            if !error.is_explained() {
                self.tracked().unexplained();
            }
        })?;
        self.tracked().calls(function.noted());
        let child = Dependency::entry(&key.id);
        let unanswered = Unanswered { cx: self, child, answered: false };
        let outcome = self.child::<F>(function, key).await;
        unanswered.answered();
        if let Err(error) = &outcome {
            self.tracked().failed_child(child, error, self.frame().start_revision);
        }
        outcome
    }

    async fn child<F: Computed>(&self, function: &Arc<Function>, key: CallKey) -> Result<Cached<F::Output>> {
        let engine = self.engine();
        let frame = self.frame();
        if frame.depth > MAX_DEPTH {
            let message =
                format!("calls nest more than {MAX_DEPTH} deep, the last one of `{}`: flatten them", function.name);
            return Err(Error::new(ErrorKind::Cycle, message));
        }
        let fresh = Want { fresh: true, ..Want::default() };
        let mut last: Option<Cached<F::Output>> = None;
        for _ in 0..TRIES {
            let full = match engine.asked(engine.may_compute(), "read_record", engine.store.read_record(&key.id)).await
            {
                // The caller runs without the store, too.
                Err(error) if engine.may_bypass(&error) => return self.child_around(function, key, error).await,
                full => full?,
            };
            if full.record.as_ref().is_some_and(|record| codec::is_failure(&record.entry.value))
                && let Some(error) = engine.remembered_for_caller(function, &key.id).await?
            {
                return Err(error);
            }
            let computed = last.as_ref().and_then(Cached::stored_version);
            if let Some((record, meta)) = engine.usable(&full, computed).filter(|(_, meta)| meta.check == key.check)
                && let Ok(value) = function.value::<F::Output>(&meta, &record.entry.value)
            {
                let entry = &record.entry;
                let freshness = Freshness::Fresh { as_of: full.now };
                let cached = Cached::new(Arc::new(value), freshness, entry.stored_at, full.now, entry.version);
                self.tracked().child(ChildCall { id: key.id, hash: meta.hash }, record, &meta);
                return Ok(cached);
            }
            last = match engine.read::<F>(function, key.clone(), fresh, Some(frame)).await {
                Err(error) if engine.may_bypass(&error) => return self.child_around(function, key, error).await,
                read => Some(read?),
            };
        }
        // The child changes all the time: the parent uses its present value, and is stored as stale.
        let last = last.expect("there was a try");
        tracing::debug!(function = function.name, "a nested call did not stay fresh: its caller is stored as stale");
        {
            let mut tracked = self.tracked();
            tracked.taint(Dependency::entry(&key.id));
            tracked.reflects(last.freshness());
        }
        Ok(last)
    }

    /// Computes the child without the store, which fails. The caller is stored as stale, if it can be.
    async fn child_around<T: Send + Sync + 'static>(
        &self,
        function: &Arc<Function>,
        key: CallKey,
        error: Error,
    ) -> Result<Cached<T>> {
        self.tracked().taint(Dependency::entry(&key.id));
        self.engine().read_around(function, key, Want::default(), error, Some(self.frame())).await
    }
}

/// A nested call without an answer yet. If it is dropped before the answer, its caller must run again.
struct Unanswered<'a> {
    cx: &'a Cx,
    child: Dependency,
    answered: bool,
}

impl Unanswered<'_> {
    fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.cx.tracked().taint(self.child);
        }
    }
}

impl Engine {
    /// The record with its notes, if it is fresh. The version that was just computed for this run needs no feed to
    /// confirm it: a change that is not delivered yet finds its reader by the same leaves. So while a feed is down,
    /// functions work with nested calls as without.
    fn usable<'a>(&self, full: &'a FullRecord, computed: Option<u64>) -> Option<(&'a Record, Meta)> {
        let record = full.record.as_ref()?;
        let entry = &record.entry;
        let validity = &full.validity;
        let meta = Meta::read(&entry.meta).filter(|meta| !self.registry.has_replaced(meta))?;
        let just_now = computed == Some(entry.version) && !validity.is_stale(entry);
        let fresh = just_now && validity.is_caught_up(&entry.epochs, &full.incarnation)
            || validity.judge(entry, full.now, &full.incarnation).is_fresh();
        (fresh && !entry.is_expired(full.now)).then_some((record, meta))
    }

    /// Whether every child of a stored value still has the value that was used; computes the children that are not
    /// fresh. Tracks their present dependencies on the way.
    pub(crate) async fn children_are_unchanged(
        self: &Arc<Self>,
        cx: &Cx,
        child_calls: &[ChildCall],
    ) -> Result<Compared<()>> {
        for child in child_calls {
            let (record, meta) = match self.child(cx.frame(), child.id).await? {
                Compared::Same((_, meta)) if meta.hash != child.hash => return Ok(Compared::Changed),
                Compared::Same(present) => present,
                Compared::Changed => return Ok(Compared::Changed),
                Compared::Unknown => return Ok(Compared::Unknown),
            };
            let mut tracked = cx.tracked();
            if let Some(function) = self.registry.by_key(child.id.function()) {
                tracked.calls(function.noted());
            }
            tracked.child(*child, &record, &meta);
        }
        Ok(Compared::Same(()))
    }

    /// A child by its id, fresh. `Changed` when it is missing or ends in an error that the data explain; `Unknown` when
    /// its function is not known here, it does not stay fresh or it cannot be computed now.
    async fn child(self: &Arc<Self>, frame: CallFrame, id: EntryId) -> Result<Compared<(Record, Meta)>> {
        let mut computed = None;
        for _ in 0..TRIES {
            let full = self.timed("read_record", self.store.read_record(&id)).await?;
            if let Some((record, meta)) = self.usable(&full, computed) {
                return Ok(Compared::Same((record.clone(), meta)));
            }
            let Some(record) = full.record else { return Ok(Compared::Changed) };
            let Some(function) = self.registry.by_key(id.function()) else { return Ok(Compared::Unknown) };
            let Ok(key) = CallKey::read(id, &record.call) else { return Ok(Compared::Unknown) };
            let joined = self.join(function, &key, Seen::Version(Some(record.entry.version)), Some(frame))?;
            match joined.outcome().await {
                // After some tries the function itself runs, and waits as a reader of the child.
                Ok(attempt) if attempt.is_elsewhere() => tokio::time::sleep(super::read::FIRST_PAUSE * 5).await,
                Ok(attempt) => computed = attempt.fresh_version().or(computed),
                // Its run lost its lease, or its worker shuts down: look again for the present run.
                Err(error) if error.kind() == ErrorKind::Cancelled => {}
                // Only a run of the parent shows what the error means for it.
                Err(error) if error.is_explained() => return Ok(Compared::Changed),
                Err(_) => return Ok(Compared::Unknown),
            }
        }
        Ok(Compared::Unknown)
    }

    /// The path of a cycle, readable.
    pub(super) fn cycle(&self, path: &[EntryId]) -> Error {
        let name = |id: &EntryId| self.registry.by_key(id.function()).map_or("?", |function| function.name);
        let path = path.iter().map(name).collect::<Vec<_>>().join(" → ");
        Error::new(ErrorKind::Cycle, format!("computed functions wait for each other: {path}; break the cycle"))
    }
}
