//! The call of a function within its time, whatever happens to its result.

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures_util::FutureExt;

use super::{Attempt, Ran, outcome::Stored};
use crate::{
    Clock, Cx, Error, ErrorKind, Freshness, Result, Retry, SystemClock,
    call_key::CallKey,
    computed::panic_text,
    counters::count,
    engine::{Engine, Function, registry::Output},
    error::Verdict,
    tracking::{CallFrame, RUN},
};

/// Calls a function. A panic and the end of its time are errors.
pub(crate) async fn call(function: &Function, cx: &Cx, key: &CallKey) -> Result<Output> {
    let running = RUN.scope(cx.clone(), function.run(cx.clone(), key.args.clone()));
    let bounded = tokio::time::timeout(function.timeout, running);
    let name = function.name;
    match AssertUnwindSafe(bounded).catch_unwind().await {
        Ok(Ok(result)) => result.map_err(|error| judged(error, cx)),
        Ok(Err(_)) => {
            let bound = function.timeout;
            let fix = "raise its `timeout` or make it faster";
            let message = format!("the computed function `{name}` took longer than {bound:?}: {fix}");
            Err(Error::new(ErrorKind::Timeout, message).with_verdict(Verdict::Slow))
        }
        Err(panic) => {
            let text = panic_text(panic.as_ref());
            Err(Error::new(ErrorKind::Panicked, format!("the computed function `{name}` panicked: {text}")))
        }
    }
}

/// The error of a function, with the knowledge of its run: a function that met an outage and returns an error of the
/// domain has wrapped the outage.
fn judged(error: Error, cx: &Cx) -> Error {
    let own = error.kind() == ErrorKind::Function && error.verdict() == Verdict::Open;
    if own && cx.tracked().has_met_outage() { error.with_retry(Retry::Transient) } else { error }
}

/// Runs a function without the store, because the store fails.
pub(crate) async fn bypass(engine: Arc<Engine>, function: Arc<Function>, key: CallKey, depth: u32) -> Result<Attempt> {
    count(&engine.tally.bypasses);
    let cx = Cx::new(engine, CallFrame { parent: key.id, token: None, start_revision: None, depth: depth + 1 });
    let output = call(&function, &cx, &key).await?;
    Ok(Attempt::Ran(Ran {
        value: output.value,
        freshness: Freshness::Unconfirmed { since: None },
        at: SystemClock.now(),
        version: 0,
        stored: Stored::No,
    }))
}
