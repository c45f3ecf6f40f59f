//! One run of a function: begin, run, commit. Two round trips, for any number of dependencies.

mod call;
mod commit;
mod outcome;
mod overtaken;
mod reread;

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{oneshot, watch},
    time::Instant,
};

use self::outcome::{Ran, Stored};
pub(crate) use self::{
    call::{bypass, call},
    outcome::Attempt,
    overtaken::EndedEarly,
};
use super::{Engine, Function, lease::Lease};
use crate::{
    Begin, BeginOutcome, Begun, Cx, Dependency, EntityKey, EntryId, Error, ErrorKind, Result, SourceId, Token,
    backoff::conflict_delay,
    call_key::CallKey,
    canonical,
    counters::count,
    error::Verdict,
    tracking::{CallFrame, FailedReads, Meta},
};

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

impl Mode {
    /// The call to run, or why there is nothing to run.
    fn call(&self, engine: &Engine, id: EntryId, begun: &Begun) -> std::result::Result<CallKey, Attempt> {
        match self {
            Self::Reader { seen, .. } if seen.is_outdated_by(engine, begun) => Err(Attempt::Idle),
            Self::Reader { key, .. } => Ok(key.clone()),
            Self::Job { .. } => call_of_job(engine, id, begun),
        }
    }

    fn depth(&self) -> u32 {
        match self {
            Self::Reader { depth, .. } => *depth,
            Self::Job { .. } => 0,
        }
    }

    /// Whether the function runs even where its stored value is still right.
    fn is_forced(&self) -> bool {
        matches!(self, Self::Reader { seen: Seen::Any, .. })
    }

    fn stop(&self) -> Option<watch::Receiver<bool>> {
        match self {
            Self::Reader { .. } => None,
            Self::Job { stop } => Some(stop.clone()),
        }
    }
}

/// The call of a job, or why there is nothing to run.
fn call_of_job(engine: &Engine, id: EntryId, begun: &Begun) -> std::result::Result<CallKey, Attempt> {
    let (Some(entry), Some(call)) = (&begun.entry, &begun.call) else { return Err(Attempt::Idle) };
    if !engine.is_stale(&begun.validity, entry) || entry.is_expired(begun.now) {
        return Err(Attempt::Idle);
    }
    if begun.pending {
        return Err(Attempt::Pending);
    }
    if let (1.., Some(meta)) = (begun.conflicts, Meta::read(&entry.meta)) {
        // Every change makes the job due; this pause alone keeps a hot entity from taking all places.
        let pause = conflict_delay(meta.cost);
        let remaining = pause.saturating_sub(begun.now.since(entry.stored_at));
        // Clocks and delays count whole milliseconds: a shorter delay would make the job due at once, again and again.
        if remaining.as_millis() > 0 {
            return Err(Attempt::Hot(remaining));
        }
    }
    CallKey::read(id, call).map_err(|error| {
        tracing::error!(error = %error.report(), "a job without a readable call is dropped");
        Attempt::Idle
    })
}

/// Tries to compute an entry. Never waits for another process. A job that changes overtake may end early; then its
/// function runs again.
pub(crate) async fn attempt(engine: Arc<Engine>, function: Arc<Function>, id: EntryId, mode: Mode) -> Result<Attempt> {
    loop {
        let token = Token::random();
        let mut lease = Lease::hold(&engine, id, token);
        let begin = Begin { id, token, lease: engine.settings.run_lease };
        let begun = match engine.timed("begin", engine.store.begin(begin)).await? {
            BeginOutcome::Begun(begun) => begun,
            BeginOutcome::Busy { remaining } => {
                lease.settle();
                return Ok(Attempt::Busy(remaining));
            }
        };
        let end = End { lost: lease.keep(), stop: mode.stop() };
        let key = match mode.call(&engine, id, &begun) {
            Ok(key) => key,
            Err(nothing_to_run) => {
                lease.abort(None, Duration::ZERO).await;
                return Ok(nothing_to_run);
            }
        };
        let start_revision = Some(begun.start_revision);
        let frame = CallFrame { parent: id, token: Some(token), start_revision, depth: mode.depth() + 1 };
        let run = Run { engine: &engine, function: &function, key, token, begun, frame, started: Instant::now() };
        if let Some(attempt) = run.carry_out(lease, &mode, end).await? {
            return Ok(attempt);
        }
    }
}

/// Waits until a worker wants its jobs back.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        // The worker was dropped without a shutdown: its runs go on.
        std::future::pending::<()>().await;
    }
}

/// The reasons for a run to end before its function does.
struct End {
    /// Its lease is lost.
    lost: oneshot::Receiver<()>,
    /// Its worker shuts down.
    stop: Option<watch::Receiver<bool>>,
}

impl End {
    async fn wait(&mut self, function: &Function) -> Error {
        let stopping = async {
            match &mut self.stop {
                Some(stop) => stopped(stop).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Ok(()) = &mut self.lost => Error::new(ErrorKind::Cancelled, format!("the run of `{}` lost its lease", function.name)),
            () = stopping => Error::new(ErrorKind::Cancelled, "the worker shuts down"),
        }
    }
}

/// A run that has begun: the store waits for its end.
struct Run<'a> {
    engine: &'a Arc<Engine>,
    function: &'a Function,
    key: CallKey,
    token: Token,
    /// The answer of the store to the begin.
    begun: Box<Begun>,
    frame: CallFrame,
    started: Instant,
}

impl Run<'_> {
    /// Proves that the stored value is still right, or runs the function. `None` when the run ended early.
    async fn carry_out(&self, lease: Lease, mode: &Mode, mut end: End) -> Result<Option<Attempt>> {
        let engine = self.engine;
        let function = self.function;
        if !mode.is_forced() {
            let unchanged = tokio::select! {
                unchanged = self.is_unchanged() => unchanged,
                error = end.wait(function) => Err(error),
            };
            match unchanged {
                Ok(Some((cx, entry))) => {
                    let stored = self.store_again(&cx, entry).await?;
                    lease.settle();
                    return Ok(Some(Attempt::Revalidated { stored, version: self.begun.start_revision }));
                }
                Ok(None) => {}
                Err(error) if error.kind() == ErrorKind::Cancelled => return Err(self.fail(lease, error).await),
                // The drop of `lease` gives it back.
                Err(error) => return Err(error),
            }
        }
        let cx = Cx::new(Arc::clone(engine), self.frame);
        if let Err(error) = self.declare(&cx) {
            return Err(self.fail(lease, error).await);
        }
        // A reader waits for the value of this run, even an old one.
        let may_end_early = matches!(mode, Mode::Job { .. }) && self.may_end_early();
        let outcome = tokio::select! {
            outcome = call(function, &cx, &self.key) => outcome,
            error = end.wait(function) => Err(error),
            () = self.overtaken(&cx), if may_end_early => {
                count(&engine.tally.runs);
                count(&engine.tally.ended_early);
                engine.ended_early.add(self.key.id);
                lease.abort(None, Duration::ZERO).await;
                return Ok(None);
            }
        };
        count(&engine.tally.runs);
        engine.ended_early.remove(&self.key.id);
        let outcome = outcome.and_then(|output| engine.observe(function, &cx.tracked()).map(|()| output));
        let ended = match outcome {
            Ok(output) => self.commit(lease, &cx, output).await.map(Attempt::Ran),
            Err(error) => Err(self.fail_or_remember(lease, &cx, error).await),
        };
        ended.map(Some).map_err(|error| {
            let reads = FailedReads::of(&cx.tracked(), self.begun.start_revision);
            error.of_run(reads)
        })
    }

    /// Adds the dependencies that a result has before its function reads anything.
    fn declare(&self, cx: &Cx) -> Result<()> {
        let mut tracked = cx.tracked();
        tracked.direct(Dependency::function(self.function.key));
        for source in &self.function.whole {
            tracked.source(source);
            tracked.direct(Dependency::source(source));
        }
        if self.function.relations.is_empty() {
            return Ok(());
        }
        let arguments = canonical::elements(&self.key.args).map_err(|error| {
            let name = self.function.name;
            let fix = "let its `Args` be a tuple";
            Error::new(ErrorKind::Argument, format!("the arguments of `{name}` cannot be told apart: {fix}"))
                .with_source(error)
        })?;
        for relation in &self.function.relations {
            let from = SourceId::new(relation.from)?;
            let Some(&to) = arguments.get(relation.argument) else {
                let name = self.function.name;
                let at = relation.argument;
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

    /// Whether an error removes the stored value.
    fn removes(&self, error: &Error) -> bool {
        error.is_gone() || error.verdict() == Verdict::Permanent && self.function.remove_on_permanent
    }

    /// Ends the run after an error; a missing entity removes the entry.
    async fn fail(&self, lease: Lease, error: Error) -> Error {
        let error = error.with_first_context("function", self.function.name);
        match error.kind() {
            _ if self.removes(&error) => {
                match self.engine.timed("remove", self.engine.store.remove(&self.key.id, Some(self.token))).await {
                    Ok(_) => lease.settle(),
                    Err(failed) => return failed,
                }
            }
            ErrorKind::Cancelled => lease.abort(None, Duration::ZERO).await,
            _ => {
                count(&self.engine.tally.failures);
                lease.abort(Some(error.report()), FAILURE_DELAY).await;
            }
        }
        error
    }
}
