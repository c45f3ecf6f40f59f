//! Waits for results.

use std::{
    fmt::{Debug, Display},
    time::Duration,
};

use smache::{Cached, Call, Computed, Smache, backend::JobCounts};
use tokio::time::{Instant, sleep, timeout_at};

/// A wait for something that must happen is over by then.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until a call has a fresh result.
pub(crate) async fn until_fresh<F: Computed<Args: Clone + Debug>>(smache: &Smache, call: Call<F>) -> Cached<F::Output> {
    until_result(smache, call, |_| true).await
}

/// Waits until a call has a fresh result that fits: a server that does not answer now may do so later.
///
/// # Panics
/// At an error that does not pass, and after [`PATIENCE`].
pub(crate) async fn until_result<F: Computed<Args: Clone + Debug>>(
    smache: &Smache,
    call: Call<F>,
    fits: impl Fn(&F::Output) -> bool,
) -> Cached<F::Output> {
    until(&format!("fresh result of {call:?}"), async || match smache.peek(call.clone()).await {
        Ok(Some(found)) if found.is_fresh() && fits(&found) => Ok(found),
        Ok(Some(found)) => Err(format!("one that is {:?}", found.freshness())),
        Ok(None) => Err("none".to_owned()),
        Err(error) if error.is_transient() => Err(error.report()),
        Err(error) => panic!("{call:?}: {}", error.report()),
    })
    .await
}

/// Waits until no job is queued, running or dead.
pub(crate) async fn until_idle(smache: &Smache) {
    until("empty queue", async || {
        let jobs = smache.inspect().stats().await.map_err(|error| error.report())?.jobs;
        if jobs == JobCounts::default() { Ok(()) } else { Err(format!("{jobs:?}")) }
    })
    .await;
}

/// Looks until there is what was expected; `Err` says what there is instead.
pub(crate) async fn until<T, E: Display>(what: &str, mut look: impl AsyncFnMut() -> Result<T, E>) -> T {
    let deadline = Instant::now() + PATIENCE;
    let mut instead = String::from("no answer");
    loop {
        match timeout_at(deadline, look()).await {
            Ok(Ok(found)) => return found,
            Ok(Err(other)) => instead = other.to_string(),
            Err(_) => panic!("no {what} within {PATIENCE:?}, but: {instead}"),
        }
        assert!(Instant::now() < deadline, "no {what} within {PATIENCE:?}, but: {instead}");
        sleep(Duration::from_millis(5)).await;
    }
}
