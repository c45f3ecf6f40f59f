//! Runs all due work in the calling task: for the unit tests of applications.

use std::time::{Duration, Instant};

use super::{Smache, feed::FeedHandle};
use crate::{Error, ErrorKind, Result, worker};

/// How long the feeds may take to deliver the changes from before the call.
const CATCH_UP: Duration = Duration::from_secs(30);

impl Smache {
    /// Delivers every change made so far, does the maintenance and runs every due job, in this task, until nothing is
    /// left to do. Answers how many jobs ran.
    ///
    /// With the memory backend and a manual clock an application's unit test needs no worker, no server and no sleep. A
    /// job that backs off after a failure is due when the clock is moved.
    ///
    /// # Errors
    /// The store's, the queue's and the feeds' errors. The errors of functions are recorded on their entries instead.
    pub async fn run_until_idle(&self) -> Result<u64> {
        let mut ran = 0;
        self.engine.return_parked().await?;
        loop {
            for feed in self.tasks().feeds() {
                catch_up(feed).await?;
            }
            if !self.tasks().feeds().is_empty() {
                // The confirmations of the feeds end when a test moves the clock: the next batch renews them.
                super::feed::wait_until_confirmed(self).await?;
            }
            while self.engine.maintain().await? {}
            if ran == 0 {
                self.engine.reconcile_all().await?;
            }
            let round = worker::run_due(&self.engine).await?;
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
