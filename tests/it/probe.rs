//! The log that the computed functions of the tests leave behind, and the gate that holds them up.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use smache::{Cached, Call, Computed, Result, Smache};
use tokio::sync::watch;

/// The longest that a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// The last act of a computed function of the tests, after the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Act {
    #[default]
    Succeed,
    Fail,
    Panic,
    Sleep(Duration),
}

/// The error of the tests' own functions.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no greeting for {0}")]
pub(crate) struct Refused(pub(crate) String);

/// The state that the computed functions of a test share with it. Clones share it too.
#[derive(Debug, Clone)]
pub(crate) struct Probe(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    log: Mutex<Vec<String>>,
    act: Mutex<Act>,
    arrived: watch::Sender<usize>,
    ended: watch::Sender<usize>,
    gate: watch::Sender<Gate>,
}

impl Default for Probe {
    fn default() -> Self {
        Self(Arc::new(Inner {
            log: Mutex::default(),
            act: Mutex::default(),
            arrived: watch::Sender::new(0),
            ended: watch::Sender::new(0),
            gate: watch::Sender::new(Gate::Open),
        }))
    }
}

impl Probe {
    /// Notes that a function runs, waits at the gate, then does what the test wants.
    pub(crate) async fn pass(&self, what: impl Into<String>) -> Result<(), Refused> {
        let what = what.into();
        lock(&self.0.log).push(what.clone());
        self.0.arrived.send_modify(|arrived| *arrived += 1);
        let _ended = Ended(&self.0.ended);
        let mut gate = self.0.gate.subscribe();
        gate.wait_for(|gate| gate.is_open_for(&what)).await.expect("the probe lives as long as its sender");
        let act = *lock(&self.0.act);
        match act {
            Act::Succeed => Ok(()),
            Act::Fail => Err(Refused(what)),
            Act::Panic => panic!("a fly in {what}"),
            Act::Sleep(time) => {
                tokio::time::sleep(time).await;
                Ok(())
            }
        }
    }

    /// From now on, runs do that.
    pub(crate) fn act(&self, act: Act) {
        *lock(&self.0.act) = act;
    }

    /// From now on, runs wait at the gate.
    pub(crate) fn close(&self) {
        self.0.gate.send_replace(Gate::OpenFor(Vec::new()));
    }

    /// Opens the gate for all runs.
    pub(crate) fn open(&self) {
        self.0.gate.send_replace(Gate::Open);
    }

    /// Lets some through although the gate is closed.
    pub(crate) fn open_for(&self, what: impl Into<String>) {
        self.0.gate.send_modify(|gate| {
            if let Gate::OpenFor(some) = gate {
                some.push(what.into());
            }
        });
    }

    /// How many runs there were.
    pub(crate) fn runs(&self) -> usize {
        *self.0.arrived.borrow()
    }

    /// The runs, in order.
    pub(crate) fn log(&self) -> Vec<String> {
        lock(&self.0.log).clone()
    }

    /// Waits until that many runs have come to the gate.
    pub(crate) async fn arrived(&self, runs: usize) {
        reach(&self.0.arrived, runs, "began").await;
    }

    /// Waits until that many runs are over, whether they finished or were dropped.
    pub(crate) async fn ended(&self, runs: usize) {
        reach(&self.0.ended, runs, "ended").await;
    }

    /// How many runs are under way.
    pub(crate) fn under_way(&self) -> usize {
        *self.0.arrived.borrow() - *self.0.ended.borrow()
    }
}

#[derive(Debug)]
enum Gate {
    Open,
    OpenFor(Vec<String>),
}

impl Gate {
    fn is_open_for(&self, what: &String) -> bool {
        match self {
            Self::Open => true,
            Self::OpenFor(some) => some.contains(what),
        }
    }
}

/// Counts the end of a run, also of one that is dropped.
struct Ended<'a>(&'a watch::Sender<usize>);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|ended| *ended += 1);
    }
}

async fn reach(count: &watch::Sender<usize>, runs: usize, what: &str) {
    let mut reached = count.subscribe();
    let wait = tokio::time::timeout(PATIENCE, reached.wait_for(|count| *count >= runs)).await;
    assert!(wait.is_ok(), "{} of {runs} runs {what} within {PATIENCE:?}", *count.borrow());
}

/// Waits until something holds.
pub(crate) async fn until(what: &str, holds: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    until_within(PATIENCE, what, holds).await
}

/// Waits until something holds, with another patience than usual.
pub(crate) async fn until_within(
    patience: Duration,
    what: &str,
    mut holds: impl AsyncFnMut() -> Result<bool>,
) -> Result<()> {
    let wait = async {
        while !holds().await? {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    };
    tokio::time::timeout(patience, wait).await.unwrap_or_else(|_| panic!("not within {patience:?}: {what}"))
}

/// Waits until a call has no fresh result.
pub(crate) async fn until_stale<F: Computed<Args: Clone>>(smache: &Smache, call: Call<F>) -> Result<()> {
    until("the result is not fresh any more", async || Ok(!smache.is_fresh(call.clone()).await?)).await
}

/// Works until a call has a fresh result.
pub(crate) async fn work_until_fresh<F>(smache: &Smache, call: Call<F>) -> Result<Cached<F::Output>>
where
    F: Computed<Args: Clone>,
{
    work_until_result(smache, call, |_| true).await
}

/// Works until a call has a fresh result that fits.
pub(crate) async fn work_until_result<F: Computed<Args: Clone>>(
    smache: &Smache,
    call: Call<F>,
    fits: impl Fn(&F::Output) -> bool,
) -> Result<Cached<F::Output>> {
    let mut result = None;
    until("the result is fresh", async || {
        smache.run_until_idle().await?;
        result = smache.peek(call.clone()).await?.filter(|found| found.is_fresh() && fits(found));
        Ok(result.is_some())
    })
    .await?;
    Ok(result.expect("the wait ends with a result"))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A function that a test makes panic holds no lock; the log is whole in any case.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
