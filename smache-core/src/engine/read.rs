//! Reading: one look-up for a stored value; one computation for all readers of a missing one.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use tokio::time::Instant;

use super::{
    Engine, Function,
    accept::suffices,
    run::{Attempt, Mode, Seen, attempt, bypass},
    single_flight::JoinedRun,
    wait_graph::RemoteWait,
};
use crate::{
    Cached, Call, Computed, Error, ErrorKind, Freshness, Lookup, Result, StoreFailure, StoredEntry, Timestamp,
    backoff::jittered,
    call_key::CallKey,
    codec,
    computed::Want,
    counters::count,
    error::Verdict,
    tracking::{CallFrame, Meta},
};

/// How many runs a reader that wants a fresh value tries, while changes come in between.
const MAX_TRIES: u32 = 10;
/// The pause between two looks at a computation of another process.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LAST_PAUSE: Duration = Duration::from_millis(100);
/// `Instant` cannot represent much longer waits.
const LONGEST_WAIT: Duration = Duration::from_secs(30 * 365 * 86_400);
/// How many steps of the store a reader waits for beyond the timeout of the function: one look-up, one begin, and a
/// commit with its further tries.
const STEPS_AROUND: u32 = 6;

/// The answer of the store for a call.
struct Looked<T> {
    /// The stored value.
    found: Option<Cached<T>>,
    /// The error that is stored in the place of a value.
    failed: Option<(Error, Freshness)>,
    /// The stored version.
    seen: Seen,
    /// The whole answer.
    lookup: Lookup,
}

impl Engine {
    /// See [`Smache::get_many`](crate::Smache::get_many).
    pub(crate) async fn get_many<F: Computed>(
        self: &Arc<Self>,
        calls: impl IntoIterator<Item = Call<F>>,
    ) -> Vec<Result<Cached<F::Output>>> {
        let keyed = calls.into_iter().map(|call| self.key(&call).map(|(function, key)| (function, key, call.want)));
        let keyed: Vec<_> = keyed.collect();
        let ids: Vec<_> = keyed.iter().filter_map(|call| call.as_ref().ok()).map(|(_, key, _)| key.id).collect();
        let all_may = self.may_compute() && keyed.iter().flatten().all(|(.., want)| *want == Want::default());
        let lookup = self.asked(all_may, "lookup", self.store.lookup(&ids)).await;
        let mut entries = lookup.as_ref().map(|lookup| lookup.entries.iter()).ok();
        let each = keyed.into_iter().map(|call| {
            let entry = call.is_ok().then(|| entries.as_mut().and_then(Iterator::next).cloned().flatten()).flatten();
            let lookup = &lookup;
            async move {
                let (function, key, want) = call?;
                if let (Ok(lookup), Some(entry)) = (lookup, entry)
                    && let Some(found) = self.judge::<F>(function, &key, lookup, &entry)
                    && suffices(function, want.on(lookup), &found)
                {
                    self.count_hit(found.freshness());
                    self.revive_for_reader(function, key.id, found.stale_for());
                    return Ok(found);
                }
                self.read::<F>(function, key, want, None).await
            }
        });
        join_all(each).await
    }

    /// See [`Smache::refresh`](crate::Smache::refresh).
    pub(crate) async fn refresh<F: Computed>(self: &Arc<Self>, call: &Call<F>) -> Result<Cached<F::Output>> {
        let (function, key) = self.key(call)?;
        let deadline = self.deadline(function);
        let mut pause = FIRST_PAUSE;
        loop {
            let joined = self.join(function, &key, Seen::Any, None)?;
            let mine = joined.mine;
            match with_timeout(deadline, function, joined.outcome()).await {
                // A run that began before this call may have read older data than the caller knows.
                Ok(Attempt::Ran(ran)) if mine => return ran.cached(),
                Err(error) if mine && error.kind() != ErrorKind::Cancelled => return Err(error),
                _ => wait(deadline, function, &mut pause).await?,
            }
        }
    }

    /// See [`Smache::peek`](crate::Smache::peek).
    pub(crate) async fn peek<F: Computed>(self: &Arc<Self>, call: &Call<F>) -> Result<Option<Cached<F::Output>>> {
        let (function, key) = self.key(call)?;
        self.look::<F>(function, &key, false).await.map(|looked| looked.found)
    }

    pub(crate) fn key<F: Computed>(&self, call: &Call<F>) -> Result<(&Arc<Function>, CallKey)> {
        let function = self.registry.get::<F>()?;
        if call.want.at_least.is_some_and(|token| !token.is_of(&self.namespace)) {
            let fix = "keep the tokens of applications apart";
            let message = format!("the token of a change is not of the namespace `{}`: {fix}", self.namespace);
            return Err(Error::new(ErrorKind::Argument, message));
        }
        Ok((function, CallKey::of(function.key, function.name, &call.args, self.settings.max_argument_bytes)?))
    }

    /// The time by which a reader stops waiting: by the builder's `wait_timeout`, or by the length of one run.
    fn deadline(&self, function: &Function) -> Instant {
        let around = self.settings.store_timeout.saturating_mul(STEPS_AROUND);
        let bound = self.settings.wait_timeout.unwrap_or(function.timeout.saturating_add(around));
        Instant::now() + bound.min(LONGEST_WAIT)
    }

    pub(crate) async fn read<F: Computed>(
        self: &Arc<Self>,
        function: &Arc<Function>,
        key: CallKey,
        want: Want,
        frame: Option<CallFrame>,
    ) -> Result<Cached<F::Output>> {
        let mut waiting: Option<(Instant, Duration, u32, Timestamp)> = None;
        let mut elsewhere: Option<RemoteWait> = None;
        loop {
            let may_go_around = self.may_compute() && want == Want::default();
            let Looked { found, failed, seen, lookup } = match self.look::<F>(function, &key, may_go_around).await {
                Ok(looked) => looked,
                Err(error) if self.may_bypass(&error) => {
                    return match self.read_around(function, key.clone(), want, error, frame).await {
                        Err(failed) if may_go_around && failed.is_outage() => {
                            self.stored_after_all::<F>(function, &key, want).await.ok_or(failed)
                        }
                        around => around,
                    };
                }
                Err(error) => return Err(error),
            };
            let want = want.on(&lookup);
            let asked = lookup.now;
            if let Some(found) = found.as_ref().filter(|found| suffices(function, want, found)) {
                self.count_hit(found.freshness());
                self.revive_for_reader(function, key.id, found.stale_for());
                return Ok(found.clone());
            }
            match (failed, frame) {
                (Some((error, freshness)), None) if freshness.is_fresh() || want == Want::default() => {
                    self.count_hit(freshness);
                    return Err(error);
                }
                (Some(_), Some(_)) => {
                    if let Some(error) = self.remembered_for_caller(function, &key.id).await? {
                        return Err(error);
                    }
                }
                _ => {}
            }
            let (deadline, pause, tries, came) = waiting.get_or_insert_with(|| {
                count(&self.tally.misses);
                (self.deadline(function), FIRST_PAUSE, 0, asked)
            });
            let joined = self.join(function, &key, seen, frame)?;
            let mine = joined.mine;
            match with_timeout(*deadline, function, joined.outcome()).await {
                // The result may have been stored before this reader came, and affected since: the store knows.
                Ok(Attempt::Ran(ran)) if !mine && ran.freshness.is_fresh() && ran.at <= asked => continue,
                Ok(Attempt::Ran(ran)) => {
                    let ran: Cached<F::Output> = ran.cached()?;
                    // A nested call checks the stored record itself, and its caller is stored as stale if the child is
                    // not fresh. An unconfirmed value must not be older than the caller.
                    let nested = frame.is_some() && (mine || !ran.freshness().is_unconfirmed());
                    if want.accepts(&ran) || want.accepts_run(&ran, *came) || nested {
                        return Ok(ran);
                    }
                    *tries += 1;
                    if *tries == MAX_TRIES {
                        return if frame.is_some() { Ok(ran) } else { Err(contended(function, want)) };
                    }
                }
                Ok(attempt) => {
                    if let Some(frame) = frame.filter(|_| attempt.is_elsewhere()) {
                        elsewhere.get_or_insert_with(|| RemoteWait::new(self, frame, key.id)).look().await?;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Cancelled => {}
                // The caller only joined this run, which had read before the caller began.
                Err(error) if !mine && is_older(&error, frame) && *tries + 1 < MAX_TRIES => *tries += 1,
                // The last good value is better than the error, where the call accepts it.
                Err(error) => match found.filter(|found| want.accepts(found) && !removed(function, &error)) {
                    Some(found) => {
                        if let Some(left_out) = self.swarms.served_stale.warns() {
                            tracing::warn!(function = function.name, error = %error.report(), left_out, "a stale value is served: its function fails");
                        }
                        return Ok(found);
                    }
                    None if self.may_bypass(&error) => {
                        return self.read_around(function, key, want, error, frame).await;
                    }
                    None => return Err(error),
                },
            }
            wait(*deadline, function, pause).await?;
        }
    }

    /// Computes without the store, if the caller accepts an unconfirmed value.
    pub(super) async fn read_around<T: Send + Sync + 'static>(
        self: &Arc<Self>,
        function: &Arc<Function>,
        key: CallKey,
        want: Want,
        error: Error,
        frame: Option<CallFrame>,
    ) -> Result<Cached<T>> {
        if want != Want::default() {
            return Err(error);
        }
        if let Some(left_out) = self.swarms.around.warns() {
            tracing::warn!(function = function.name, error = %error.report(), left_out, "computing without the store: it fails");
        }
        let engine = Arc::clone(self);
        let deadline = self.deadline(function);
        let (id, depth) = (key.id, frame.map_or(0, |frame| frame.depth));
        let work = {
            let function = Arc::clone(function);
            || bypass(engine, function, key, depth)
        };
        let joined = match frame {
            Some(frame) => self.single_flight.join_from(frame, id, work).map_err(|path| self.cycle(&path))?,
            None => self.single_flight.join(id, work),
        };
        let attempt = with_timeout(deadline, function, joined.outcome()).await?;
        attempt.value().ok_or(error)?.cached()
    }

    /// The stored value, with the full time of a step: the function cannot run either.
    async fn stored_after_all<F: Computed>(
        self: &Arc<Self>,
        function: &Function,
        key: &CallKey,
        want: Want,
    ) -> Option<Cached<F::Output>> {
        let looked = self.look::<F>(function, key, false).await.ok()?;
        let found = looked.found.filter(|found| want.accepts(found))?;
        self.count_hit(found.freshness());
        Some(found)
    }

    pub(super) fn may_bypass(&self, error: &Error) -> bool {
        error.is_of_backend() && error.is_transient() && self.may_compute()
    }

    pub(super) fn may_compute(&self) -> bool {
        self.settings.store_failure == StoreFailure::Compute
    }

    /// Starts a computation for a reader, or joins the one under way.
    pub(super) fn join(
        self: &Arc<Self>,
        function: &Arc<Function>,
        key: &CallKey,
        seen: Seen,
        frame: Option<CallFrame>,
    ) -> Result<JoinedRun> {
        let engine = Arc::clone(self);
        let function = Arc::clone(function);
        let key = key.clone();
        let (id, depth) = (key.id, frame.map_or(0, |frame| frame.depth));
        let work = || attempt(engine, function, id, Mode::Reader { key, seen, depth });
        match frame {
            Some(frame) => self.single_flight.join_from(frame, id, work).map_err(|path| self.cycle(&path)),
            None => Ok(self.single_flight.join(id, work)),
        }
    }

    /// Asks the store for the entry of a call.
    async fn look<F: Computed>(
        self: &Arc<Self>,
        function: &Function,
        key: &CallKey,
        may_go_around: bool,
    ) -> Result<Looked<F::Output>> {
        let looking = self.store.lookup(std::slice::from_ref(&key.id));
        let lookup = self.asked(may_go_around, "lookup", looking).await?;
        let entry = lookup.entries.first().and_then(Option::as_ref);
        let seen = Seen::Version(entry.map(|entry| entry.version));
        let failed = entry.and_then(|entry| self.remembered(function, key, &lookup, entry));
        let found = entry.and_then(|entry| self.judge::<F>(function, key, &lookup, entry));
        Ok(Looked { found, failed, seen, lookup })
    }

    /// The value of an entry with its freshness; `None` when it is expired, of another call or not readable.
    fn judge<F: Computed>(
        self: &Arc<Self>,
        function: &Function,
        key: &CallKey,
        lookup: &Lookup,
        entry: &StoredEntry,
    ) -> Option<Cached<F::Output>> {
        if entry.is_expired(lookup.now) || codec::is_failure(&entry.value) {
            return None;
        }
        let value = match Meta::read(&entry.meta).filter(|meta| meta.check == key.check) {
            Some(meta) => function.value::<F::Output>(&meta, &entry.value).map(|value| (value, meta)),
            None => Err(Error::new(ErrorKind::Corrupt, "the notes of a stored value are not of this call")),
        };
        match value {
            Ok((value, meta)) => {
                let validity = &lookup.validity;
                let freshness = self.freshness(validity, entry, Some(&meta), lookup.now, &lookup.incarnation);
                if freshness.is_unconfirmed() {
                    self.attach_again(lookup);
                } else if matches!(freshness, Freshness::Stale { .. }) && !validity.is_stale(entry) && !function.lazy {
                    self.ask_for_run(key.id);
                }
                Some(Cached::new(Arc::new(value), freshness, entry.stored_at, lookup.now, entry.version))
            }
            Err(error) => {
                count(&self.tally.undecodable);
                if let Some(left_out) = self.swarms.unreadable.warns() {
                    tracing::warn!(function = function.name, entry = %key.id, error = %error.report(), left_out, "a stored entry is treated as absent");
                }
                None
            }
        }
    }

    fn count_hit(&self, freshness: Freshness) {
        let counter = match freshness {
            Freshness::Fresh { .. } => &self.tally.fresh_hits,
            Freshness::Stale { .. } => &self.tally.stale_hits,
            Freshness::Unconfirmed { .. } => &self.tally.unconfirmed_hits,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Whether an error removes the value that a reader could get instead.
fn removed(function: &Function, error: &Error) -> bool {
    error.is_gone() || error.verdict() == Verdict::Permanent && function.remove_on_permanent
}

/// Whether an error is of a run that began before the parent of a nested call.
fn is_older(error: &Error, frame: Option<CallFrame>) -> bool {
    let began = frame.and_then(|frame| frame.start_revision);
    began.is_some_and(|began| error.reads().is_some_and(|reads| reads.began_before(began)))
}

async fn with_timeout(
    deadline: Instant,
    function: &Function,
    joined: impl Future<Output = Result<Attempt>>,
) -> Result<Attempt> {
    tokio::time::timeout_at(deadline, joined).await.unwrap_or_else(|_| Err(busy(function)))
}

/// Waits a little longer than last time, with jitter so that waiting processes spread out.
async fn wait(deadline: Instant, function: &Function, pause: &mut Duration) -> Result<()> {
    if Instant::now() + *pause > deadline {
        return Err(busy(function));
    }
    tokio::time::sleep(jittered(*pause)).await;
    *pause = (*pause * 2).min(LAST_PAUSE);
    Ok(())
}

fn busy(function: &Function) -> Error {
    let fix = "ask again later, or raise `wait_timeout` of the builder";
    Error::new(ErrorKind::Busy, format!("the computation of `{}` did not finish in time: {fix}", function.name))
}

fn contended(function: &Function, want: Want) -> Error {
    let fix = match want {
        Want { fresh: true, .. } => "read without `.fresh()`, or make the function faster",
        Want { max_stale: Some(_), .. } => "let `.max_stale(…)` be longer than the function takes, or make it faster",
        _ => "make the function faster, or report its changes less often",
    };
    Error::new(
        ErrorKind::Contended,
        format!("the data of `{}` changed during {MAX_TRIES} runs in a row: {fix}", function.name),
    )
}
