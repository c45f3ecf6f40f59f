//! One run of a function: begin, run, commit. Two round trips, for any number of dependencies.

mod commit;
mod overtaken;
mod reread;

use std::{any::Any, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio::{
    sync::{oneshot, watch},
    time::Instant,
};

pub(crate) use self::overtaken::EndedEarly;
use super::{
    CallFrame, CallKey, Engine, Function, audit::current::RUN, counters::count, lease::Lease, meta::Meta,
    registry::Output,
};
use crate::{
    Abort, Begin, BeginOutcome, Begun, Cached, Cx, Dependency, EntityKey, EntryId, Error, ErrorKind, Freshness, Result,
    Retry, SourceId, Timestamp, Token, canonical, computed::panic_text, cx::FailedReads, error::Verdict,
};

/// The longest delay of an entry's job after a conflict, or after a run that could not read everything.
const MAX_CONFLICT_DELAY: Duration = Duration::from_secs(60);
/// The delay of a stale entry's job after the failure of a reader's run.
const FAILURE_DELAY: Duration = Duration::from_secs(1);

/// Why a run is attempted.
#[derive(Clone)]
pub(crate) enum Mode {
    /// A reader wants the value: the call is known.
    Reader {
        /// The call.
        key: CallKey,
        /// The stored version when the reader looked. If the store has another one now that is not stale, another
        /// process has computed it in between, and nothing runs: N processes that miss together compute once.
        seen: Seen,
        /// The depth of nested calls.
        depth: u32,
    },
    /// A job: the call is in the record, and a fresh value needs no run.
    Job {
        /// Becomes true when the worker wants its jobs back.
        stop: watch::Receiver<bool>,
    },
}

/// The stored version that a reader found before it computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// The reader computes, whatever is stored.
    Any,
    /// No value, or one of this version.
    Version(Option<u64>),
}

impl Seen {
    fn is_outdated_by(self, engine: &Engine, begun: &Begun) -> bool {
        match self {
            Self::Any => false,
            Self::Version(seen) => begun.entry.as_ref().is_some_and(|entry| {
                Some(entry.version) != seen && !engine.is_stale(&begun.validity, entry) && !entry.is_expired(begun.now)
            }),
        }
    }
}

/// The result of an attempt.
#[derive(Debug, Clone)]
pub(crate) enum Attempt {
    /// The function ran.
    Ran(Ran),
    /// Another process runs the function, for at most that long unless it extends its lease.
    Busy(Duration),
    /// There is nothing to run: no record, expired, or not stale.
    Idle,
    /// The stored value is still right, without a run of the function (early cut-off).
    Revalidated { stored: Stored, version: u64 },
    /// An invalidation of a dependency is under way: it would overtake a run that starts now.
    Pending,
    /// Changes overtake its runs: the next run should wait that long.
    Hot(Duration),
}

/// A value from a run.
#[derive(Debug, Clone)]
pub(crate) struct Ran {
    pub(crate) value: Arc<dyn Any + Send + Sync>,
    pub(crate) freshness: Freshness,
    pub(crate) at: Timestamp,
    pub(crate) version: u64,
    pub(crate) stored: Stored,
}

/// Whether the value of a run is in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stored {
    Fresh,
    /// As stale; the next run should wait that long.
    Stale(Duration),
    /// Not stored: the lease was lost, or the store was replaced or cannot be reached.
    No,
}

impl Ran {
    pub(crate) fn cached<T: Send + Sync + 'static>(self) -> Result<Cached<T>> {
        let value: Arc<T> = self.value.downcast().map_err(|_| {
            Error::new(ErrorKind::Internal, "a computation gave a value of another type than its function's")
        })?;
        let cached = Cached::new(value, self.freshness, self.at, self.at, self.version);
        Ok(if self.stored == Stored::No { cached.not_stored() } else { cached })
    }
}

/// Tries to compute an entry. Never waits for another process. A job that changes overtake may end early; then its
/// function runs again.
pub(crate) async fn attempt(engine: Arc<Engine>, function: Arc<Function>, id: EntryId, mode: Mode) -> Result<Attempt> {
    loop {
        if let Some(attempt) = attempt_once(&engine, &function, id, mode.clone()).await? {
            return Ok(attempt);
        }
    }
}

/// One attempt; `None` when the run ended early.
async fn attempt_once(
    engine: &Arc<Engine>,
    function: &Arc<Function>,
    id: EntryId,
    mode: Mode,
) -> Result<Option<Attempt>> {
    let token = Token::random();
    let mut lease = Lease::hold(engine, id, token);
    let begin = Begin { id, token, lease: engine.settings.run_lease };
    let begun = match engine.timed("begin", engine.store.begin(begin)).await? {
        BeginOutcome::Begun(begun) => begun,
        BeginOutcome::Busy { remaining } => {
            lease.settle();
            return Ok(Some(Attempt::Busy(remaining)));
        }
    };
    let mut lost = lease.keep();
    let run = Run { engine, function, id, token };
    let (key, mut stop, depth, forced) = match mode {
        Mode::Reader { key, seen, depth } => {
            if seen.is_outdated_by(engine, &begun) {
                run.abort(lease, None, Duration::ZERO).await;
                return Ok(Some(Attempt::Idle));
            }
            (key, None, depth, seen == Seen::Any)
        }
        Mode::Job { stop } => match run.job(&begun) {
            Ok(key) => (key, Some(stop), 0, false),
            Err(outcome) => {
                run.abort(lease, None, Duration::ZERO).await;
                return Ok(Some(outcome));
            }
        },
    };
    let frame =
        CallFrame { parent: id, token: Some(token), start_revision: Some(begun.start_revision), depth: depth + 1 };
    let clock = Instant::now();
    if !forced {
        let unchanged = tokio::select! {
            unchanged = run.is_unchanged(&begun, &key, frame) => unchanged,
            error = run.interrupted(&mut lost, &mut stop) => Err(error),
        };
        match unchanged {
            Ok(Some((cx, entry))) => {
                let stored = run.store_again(&begun, &key, &cx, entry, clock.elapsed()).await?;
                lease.settle();
                return Ok(Some(Attempt::Revalidated { stored, version: begun.start_revision }));
            }
            Ok(None) => {}
            Err(error) if error.kind() == ErrorKind::Cancelled => return Err(run.fail(lease, error).await),
            // The drop of `lease` gives it back.
            Err(error) => return Err(error),
        }
    }
    let cx = Cx::new(Arc::clone(engine), frame);
    if let Err(error) = run.declare(&cx, &key) {
        return Err(run.fail(lease, error).await);
    }
    let running = RUN.scope(cx.clone(), function.run(cx.clone(), key.args.clone()));
    let work = tokio::time::timeout(function.timeout, running);
    // A reader waits for the value of this run, even an old one.
    let may_end_early = stop.is_some() && run.may_end_early(&begun);
    let outcome = tokio::select! {
        outcome = AssertUnwindSafe(work).catch_unwind() => run.outcome(outcome),
        error = run.interrupted(&mut lost, &mut stop) => Err(error),
        () = run.overtaken(&begun, &cx), if may_end_early => {
            count(&engine.tally.runs);
            count(&engine.tally.ended_early);
            engine.ended_early.add(id);
            run.abort(lease, None, Duration::ZERO).await;
            return Ok(None);
        }
    };
    count(&engine.tally.runs);
    engine.ended_early.remove(&id);
    let outcome = outcome.and_then(|output| engine.observe(function, &cx.tracked()).map(|()| output));
    let ended = match outcome {
        Ok(output) => run.commit(lease, &begun, &key, &cx, output, clock.elapsed()).await.map(Attempt::Ran),
        Err(error) => {
            let error = run.judged(error, &cx);
            Err(run.fail_or_remember(lease, &begun, &key, &cx, error, clock.elapsed()).await)
        }
    };
    ended.map(Some).map_err(|error| {
        let reads = FailedReads::of(&cx.tracked(), begun.start_revision);
        error.of_run(reads)
    })
}

/// Runs a function without the store, because the store fails.
pub(crate) async fn bypass(engine: Arc<Engine>, function: Arc<Function>, key: CallKey, depth: u32) -> Result<Attempt> {
    count(&engine.tally.bypasses);
    let run = Run { engine: &engine, function: &function, id: key.id, token: Token::random() };
    let cx =
        Cx::new(Arc::clone(&engine), CallFrame { parent: key.id, token: None, start_revision: None, depth: depth + 1 });
    let work = tokio::time::timeout(function.timeout, function.run(cx.clone(), key.args.clone()));
    let output = run.outcome(AssertUnwindSafe(work).catch_unwind().await).map_err(|error| run.judged(error, &cx))?;
    let now = crate::Clock::now(&crate::SystemClock);
    Ok(Attempt::Ran(Ran {
        value: output.value,
        freshness: Freshness::Unconfirmed { since: None },
        at: now,
        version: 0,
        stored: Stored::No,
    }))
}

/// Waits until a worker wants its jobs back.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        // The worker was dropped without a shutdown: its runs go on.
        std::future::pending::<()>().await;
    }
}

struct Run<'a> {
    engine: &'a Arc<Engine>,
    function: &'a Function,
    id: EntryId,
    token: Token,
}

type Outcome = std::result::Result<Result<Result<Output>, tokio::time::error::Elapsed>, Box<dyn Any + Send>>;

impl Run<'_> {
    /// The call of a job, or why there is nothing to run.
    fn job(&self, begun: &Begun) -> std::result::Result<CallKey, Attempt> {
        let (Some(entry), Some(call)) = (&begun.entry, &begun.call) else { return Err(Attempt::Idle) };
        if !self.engine.is_stale(&begun.validity, entry) || entry.is_expired(begun.now) {
            return Err(Attempt::Idle);
        }
        if begun.pending {
            return Err(Attempt::Pending);
        }
        if let (1.., Some(meta)) = (begun.conflicts, Meta::read(&entry.meta)) {
            // Every change makes the job due; this pause alone keeps a hot entity from taking all places.
            let pause = conflict_delay(meta.cost);
            let remaining = pause.saturating_sub(begun.now.since(entry.stored_at));
            // Clocks and delays count whole milliseconds: a shorter delay would make the job due at once, again and
            // again.
            if remaining.as_millis() > 0 {
                return Err(Attempt::Hot(remaining));
            }
        }
        CallKey::read(self.id, call).map_err(|error| {
            tracing::error!(error = %error.report(), "a job without a readable call is dropped");
            Attempt::Idle
        })
    }

    /// Adds the dependencies that a result has before its function reads anything.
    fn declare(&self, cx: &Cx, key: &CallKey) -> Result<()> {
        let mut tracked = cx.tracked();
        tracked.direct(Dependency::function(self.function.key));
        for source in &self.function.whole {
            tracked.source(source);
            tracked.direct(Dependency::source(source));
        }
        if self.function.relations.is_empty() {
            return Ok(());
        }
        let arguments = canonical::elements(&key.args).map_err(|error| {
            let name = self.function.name;
            let fix = "let its `Args` be a tuple";
            Error::new(ErrorKind::Argument, format!("the arguments of `{name}` cannot be told apart: {fix}"))
                .with_source(error)
        })?;
        for relation in &self.function.relations {
            let from = SourceId::new(relation.from)?;
            let Some(&to) = arguments.get(relation.argument) else {
                let (name, at) = (self.function.name, relation.argument);
                let message = format!("a relation of `{name}` leads to its argument {at}, which no call of it has");
                return Err(Error::new(ErrorKind::Config, message));
            };
            tracked.direct(Dependency::relation(&relation.id, &from, &EntityKey::from_canonical(to)));
            tracked.direct(Dependency::wildcard(&from));
            if self.engine.routes.of(&from).is_some_and(|route| route.fed) {
                tracked.source(&relation.id);
            }
            tracked.source(&from);
        }
        Ok(())
    }

    /// Waits until the run has to end: its lease is lost, or its worker shuts down.
    async fn interrupted(&self, lost: &mut oneshot::Receiver<()>, stop: &mut Option<watch::Receiver<bool>>) -> Error {
        let stopping = async {
            match stop {
                Some(stop) => stopped(stop).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Ok(()) = lost => Error::new(ErrorKind::Cancelled, format!("the run of `{}` lost its lease", self.function.name)),
            () = stopping => Error::new(ErrorKind::Cancelled, "the worker shuts down"),
        }
    }

    fn outcome(&self, outcome: Outcome) -> Result<Output> {
        let name = self.function.name;
        match outcome {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => {
                let (bound, fix) = (self.function.timeout, "raise its `timeout` or make it faster");
                Err(Error::new(
                    ErrorKind::Timeout,
                    format!("the computed function `{name}` took longer than {bound:?}: {fix}"),
                )
                .with_verdict(Verdict::Slow))
            }
            Err(panic) => {
                let text = panic_text(panic.as_ref());
                Err(Error::new(ErrorKind::Panicked, format!("the computed function `{name}` panicked: {text}")))
            }
        }
    }

    /// The error of a run, with the run's own knowledge: a function that met an outage and returns an error of the
    /// domain has wrapped the outage.
    fn judged(&self, error: Error, cx: &Cx) -> Error {
        let own = error.kind() == ErrorKind::Function && error.verdict() == Verdict::Open;
        if own && cx.tracked().has_met_outage() { error.with_retry(Retry::Transient) } else { error }
    }

    /// Whether an error removes the stored value.
    fn removes(&self, error: &Error) -> bool {
        error.is_gone() || error.verdict() == Verdict::Permanent && self.function.remove_on_permanent
    }

    /// Ends the run after an error; a missing entity removes the entry.
    async fn fail(&self, lease: Lease, error: Error) -> Error {
        let error = error.with_first_context("function", self.function.name);
        match error.kind() {
            _ if self.removes(&error) => {
                match self.engine.timed("remove", self.engine.store.remove(&self.id, Some(self.token))).await {
                    Ok(_) => lease.settle(),
                    Err(failed) => return failed,
                }
            }
            ErrorKind::Cancelled => self.abort(lease, None, Duration::ZERO).await,
            _ => {
                count(&self.engine.tally.failures);
                self.abort(lease, Some(error.report()), FAILURE_DELAY).await;
            }
        }
        error
    }

    async fn abort(&self, lease: Lease, failure: Option<String>, delay: Duration) {
        let abort = Abort { id: self.id, token: self.token, failure, delay };
        match self.engine.timed("abort", self.engine.store.abort(abort)).await {
            Ok(_) => lease.settle(),
            // The drop of the lease tries once more; after that the lease lapses.
            Err(error) => {
                if let Some(left_out) = self.engine.swarms.not_given_back.warns() {
                    tracing::warn!(error = %error.report(), left_out, "a run could not be given back");
                }
            }
        }
    }
}

/// The pause before the next run of a hot entry: twice its cost, so that it takes at most a third of a place, and is
/// fresh soon after the last change.
fn conflict_delay(cost: Duration) -> Duration {
    cost.saturating_mul(2).clamp(Duration::from_millis(10), MAX_CONFLICT_DELAY)
}

/// The pause after a run that could not read everything: it doubles each time in a row, since the next run may fail the
/// same way.
fn taint_delay(cost: Duration, before: u32) -> Duration {
    conflict_delay(cost).saturating_mul(1 << before.min(10)).min(MAX_CONFLICT_DELAY)
}
