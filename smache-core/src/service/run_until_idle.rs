//! Runs all due work in the calling task: for the unit tests of applications.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Tasks,
    feed::{FeedHandle, wait_until_confirmed},
    worker,
};
use crate::{Error, ErrorKind, Result, engine::Engine};

/// How long the feeds may take to deliver the changes from before the call.
const CATCH_UP: Duration = Duration::from_secs(30);

impl Tasks {
    /// See [`Smache::run_until_idle`](crate::Smache::run_until_idle).
    pub(crate) async fn run_until_idle(&self, engine: &Arc<Engine>) -> Result<u64> {
        let mut ran = 0;
        engine.return_parked().await?;
        loop {
            for feed in self.feeds() {
                catch_up(feed).await?;
            }
            if !self.feeds().is_empty() {
                // The confirmations of the feeds end when a test moves the clock: the next batch renews them.
                wait_until_confirmed(engine, self).await?;
            }
            while engine.maintain().await? {}
            if ran == 0 {
                engine.reconcile_all().await?;
            }
            let round = worker::run_due(engine).await?;
            if round == 0 {
                return Ok(ran);
            }
            ran += round;
        }
    }
}

/// Waits until the feed has handed over every change from before the call.
async fn catch_up(handle: &FeedHandle) -> Result<()> {
    let begin = Instant::now();
    let head = handle.feed.head().await?;
    let mut progress = handle.progress.clone();
    let reached = progress.wait_for(|progress| {
        let by_position =
            head.as_ref().is_some_and(|head| progress.position.as_ref().is_some_and(|at| at.follows(head)));
        by_position || progress.as_of.is_some_and(|as_of| as_of >= begin)
    });
    match tokio::time::timeout(CATCH_UP, reached).await {
        Ok(Ok(_)) => Ok(()),
        _ => {
            let error = handle.progress.borrow().error.clone();
            let id = handle.feed.id();
            Err(error.unwrap_or_else(|| {
                Error::new(ErrorKind::Timeout, format!("the feed `{id}` did not catch up within {CATCH_UP:?}"))
            }))
        }
    }
}
