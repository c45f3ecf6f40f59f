//! Upkeep: one process of a namespace removes what is over, reaps what died, and enqueues what was lost.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, Weak},
    time::Duration,
};

use futures_util::FutureExt;
use tokio::{sync::watch, time::Instant};

use super::{Inner, change::LONG, programs::Collection, read::jittered, reconcile::Reconciler};
use crate::{ATTACHED_LEASE, FeedId, Leadership, Result, Token, computed::panic_text, guard::panicked};

/// Between two rounds.
const PERIOD: Duration = Duration::from_secs(1);
/// How long the leader is taken to be alive.
const LEASE: Duration = Duration::from_secs(5);
/// How much one step does at most: small enough not to hold up a single-threaded store.
const STEP: usize = 500;

/// Runs until it is told to stop or the system is gone.
pub(crate) async fn run(inner: Weak<Inner>, mut stop: watch::Receiver<bool>) {
    let name = FeedId::new("smache:upkeep").expect("the constant is a name");
    let holder = Token::random();
    let mut fence = None;
    let mut reconciler = Reconciler::new();
    let mut collection = Collection::default();
    let stopping = stop.clone();
    let Some(patience) = inner.upgrade().map(|inner| inner.settings.store_timeout) else { return };
    loop {
        let work = async {
            let Some(inner) = inner.upgrade() else { return false };
            inner.enqueue_owed().await;
            match inner.timed("lead", inner.store.lead(&name, holder, LEASE)).await {
                Ok(Leadership::Leader { fence: mine }) => {
                    fence = Some(mine);
                    let round = round(&inner, &mut reconciler, &mut collection, &stopping);
                    let round = AssertUnwindSafe(round).catch_unwind().await;
                    let round = round.unwrap_or_else(|panic| Err(panicked("the upkeep", panic_text(panic.as_ref()))));
                    if let Err(error) = round {
                        tracing::warn!(error = %error.report(), "a round of upkeep failed; the next one tries again");
                    }
                }
                Ok(Leadership::Follower { .. }) => {
                    // What another process has seen is not known here: when it is this one's turn again it looks at all.
                    (fence, reconciler) = (None, Reconciler::new());
                }
                Err(error) => tracing::warn!(error = %error.report(), "upkeep cannot reach the store"),
            }
            true
        };
        // A store may go on with a step that is dropped: it is to end before the system does. What was not done is left to
        // the next round, here or elsewhere.
        tokio::select! {
            goes_on = work => if !goes_on { return },
            () = overdue(&mut stop, patience) => break,
        }
        tokio::select! {
            () = tokio::time::sleep(jittered(PERIOD)) => {}
            _ = stop.wait_for(|stop| *stop) => break,
        }
    }
    if let (Some(inner), Some(fence)) = (inner.upgrade(), fence)
        && let Err(error) = inner.timed("resign", inner.store.resign(&name, fence)).await
    {
        tracing::debug!(error = %error.report(), "the upkeep passes on with its lease");
    }
}

/// Until a round is to end and takes too long for it.
pub(super) async fn overdue(stop: &mut watch::Receiver<bool>, patience: Duration) {
    drop(stop.wait_for(|stop| *stop).await);
    tokio::time::sleep(patience).await;
}

async fn round(
    inner: &Arc<Inner>,
    reconciler: &mut Reconciler,
    collection: &mut Collection,
    stop: &watch::Receiver<bool>,
) -> Result<()> {
    let began = Instant::now();
    let stopping = || *stop.borrow();
    let lookup = inner.timed("lookup", inner.store.lookup(&[])).await?;
    inner.life.remember(&lookup);
    inner.attach_again(&lookup);
    inner.keep_attached().await?;
    // Bounded, so that the leadership is renewed in time whatever there is to do.
    while !stopping() && inner.maintain().await? && began.elapsed() < LEASE / 2 {}
    if stopping() {
        return Ok(());
    }
    reconciler.round(inner, || !stopping() && began.elapsed() < LEASE / 2).await?;
    if stopping() { Ok(()) } else { inner.collect(collection).await }
}

impl Inner {
    /// Vouches for the sources that the application reports. Longer than it takes another process to do the maintenance
    /// instead of one that has died.
    pub(crate) async fn keep_attached(&self) -> Result<()> {
        let lease = self.settings.feed_lease.max(ATTACHED_LEASE);
        self.timed("keep attached", self.store.keep_attached(lease)).await
    }

    /// One step of upkeep. Says whether there is more to do at once.
    pub(crate) async fn maintain(&self) -> Result<bool> {
        let maintained = self.timed_for(LONG, "maintain", self.store.maintain(STEP)).await?;
        self.enqueue_reported(&maintained.jobs, Duration::ZERO).await;
        if maintained.reaped > 0 {
            tracing::warn!(runs = maintained.reaped, "runs ended without a word; their entries are queued again");
        }
        Ok(maintained.more)
    }
}
