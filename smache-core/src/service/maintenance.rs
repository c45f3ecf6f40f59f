//! Maintenance: one process of a namespace removes expired entries, reaps dead runs, and enqueues lost jobs.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, Weak},
    time::Duration,
};

use futures_util::FutureExt;
use tokio::{sync::watch, time::Instant};

use super::{programs::Collection, reconcile::Reconciler};
use crate::{
    ATTACHED_VALID_FOR, FeedId, Leadership, Result, Token,
    backoff::jittered,
    computed::panic_text,
    engine::{Engine, LONG},
    guard::panicked,
};

/// The pause between two rounds.
const PERIOD: Duration = Duration::from_secs(1);
/// How long the leader counts as alive.
const LEASE: Duration = Duration::from_secs(5);
/// The most work of one step: small enough not to hold up a single-threaded store.
const STEP: usize = 500;

/// Runs until the shutdown, or until the system is dropped.
pub(crate) async fn run(engine: Weak<Engine>, mut stop: watch::Receiver<bool>) {
    let name = FeedId::new("smache:maintenance").expect("the constant is a name");
    let holder = Token::random();
    let mut fence = None;
    let mut reconciler = Reconciler::new();
    let mut collection = Collection::default();
    let stopping = stop.clone();
    let Some(patience) = engine.upgrade().map(|engine| engine.settings.store_timeout) else { return };
    loop {
        let work = async {
            let Some(engine) = engine.upgrade() else { return false };
            engine.enqueue_owed().await;
            match engine.timed("lead", engine.store.lead(&name, holder, LEASE)).await {
                Ok(Leadership::Leader { fence: mine }) => {
                    fence = Some(mine);
                    let round = round(&engine, &mut reconciler, &mut collection, &stopping);
                    let round = AssertUnwindSafe(round).catch_unwind().await;
                    let round =
                        round.unwrap_or_else(|panic| Err(panicked("the maintenance", panic_text(panic.as_ref()))));
                    if let Err(error) = round {
                        tracing::warn!(error = %error.report(), "a round of maintenance failed; the next one tries again");
                    }
                }
                Ok(Leadership::Follower { .. }) => {
                    // Another process does the maintenance: when the leadership returns, this one checks everything
                    // again.
                    (fence, reconciler) = (None, Reconciler::new());
                }
                Err(error) => tracing::warn!(error = %error.report(), "maintenance cannot reach the store"),
            }
            true
        };
        // A store may go on with a dropped step, so the step has to end before the system does. The next round, here or
        // in another process, does the rest.
        tokio::select! {
            goes_on = work => if !goes_on { return },
            () = overdue(&mut stop, patience) => break,
        }
        tokio::select! {
            () = tokio::time::sleep(jittered(PERIOD)) => {}
            _ = stop.wait_for(|stop| *stop) => break,
        }
    }
    if let (Some(engine), Some(fence)) = (engine.upgrade(), fence)
        && let Err(error) = engine.timed("resign", engine.store.resign(&name, fence)).await
    {
        tracing::debug!(error = %error.report(), "the leadership of the maintenance passes on when its lease ends");
    }
}

/// Waits until a round has to end and takes too long for it.
pub(super) async fn overdue(stop: &mut watch::Receiver<bool>, patience: Duration) {
    drop(stop.wait_for(|stop| *stop).await);
    tokio::time::sleep(patience).await;
}

async fn round(
    engine: &Arc<Engine>,
    reconciler: &mut Reconciler,
    collection: &mut Collection,
    stop: &watch::Receiver<bool>,
) -> Result<()> {
    let began = Instant::now();
    let stopping = || *stop.borrow();
    let lookup = engine.timed("lookup", engine.store.lookup(&[])).await?;
    engine.generation.remember(&lookup);
    engine.attach_again(&lookup);
    engine.keep_attached().await?;
    // Bounded, so that the leadership is renewed in time however much there is to do.
    while !stopping() && engine.maintain().await? && began.elapsed() < LEASE / 2 {}
    if stopping() {
        return Ok(());
    }
    reconciler.round(engine, || !stopping() && began.elapsed() < LEASE / 2).await?;
    if stopping() { Ok(()) } else { engine.collect(collection).await }
}

impl Engine {
    /// Confirms the sources that the application reports, for longer than it takes another process to take the
    /// maintenance over from a dead one.
    pub(crate) async fn keep_attached(&self) -> Result<()> {
        let valid_for = self.settings.feed_validity.max(ATTACHED_VALID_FOR);
        self.timed("keep attached", self.store.keep_attached(valid_for)).await
    }

    /// One step of maintenance. Returns whether there is more to do at once.
    pub(crate) async fn maintain(&self) -> Result<bool> {
        let maintained = self.timed_for(LONG, "maintain", self.store.maintain(STEP)).await?;
        self.enqueue_reported(&maintained.jobs, Duration::ZERO).await;
        if maintained.reaped > 0 {
            tracing::warn!(
                runs = maintained.reaped,
                "runs died without giving their leases back; their entries are queued again"
            );
        }
        Ok(maintained.more)
    }
}
