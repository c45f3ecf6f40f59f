//! A document that is written and read at the same time, and what its readers must never be told.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use smache::Smache;
use smache_server_tests::{Sight, State};
use tokio::time::{Instant, sleep};

use crate::world::{World, peek};

/// For how long the feed vouches: so old may a change be that a reader of a fresh value does not know of.
pub(crate) const VOUCH: Duration = Duration::from_secs(2);
/// What a busy machine may add between the feed's measuring of its age and the store's writing it down.
const NOISE: Duration = Duration::from_secs(1);

/// The numbers that were written to a document, and the highest one that was read.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    seen: Mutex<Seen>,
    over: AtomicBool,
}

#[derive(Debug, Default)]
struct Seen {
    written: Vec<(Instant, i64)>,
    highest: i64,
    states: Vec<State>,
}

impl Watch {
    /// A write was acknowledged.
    pub(crate) fn wrote(&self, n: i64) {
        self.lock().written.push((Instant::now(), n));
    }

    /// A value was read, after it was asked for at that instant.
    ///
    /// # Panics
    /// If it is fresh and older than the feed may be behind, or older than what was read before.
    pub(crate) fn saw(&self, asked: Instant, sight: Sight) {
        let mut seen = self.lock();
        assert!(sight.n >= seen.highest, "{sight:?} was read after {}", seen.highest);
        if sight.state == State::Fresh
            && let Some(known) = asked.checked_sub(VOUCH + NOISE)
        {
            let written = seen.written.iter().rev().find(|(at, _)| *at <= known);
            if let Some((at, n)) = written {
                assert!(sight.n >= *n, "{sight:?} was read {:?} after {n} was written", asked - *at);
            }
        }
        seen.highest = sight.n;
        if seen.states.last() != Some(&sight.state) {
            seen.states.push(sight.state);
        }
    }

    /// Ends the writing and the reading, each after its present step.
    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    pub(crate) fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    /// The last number that was written.
    pub(crate) fn last(&self) -> i64 {
        self.lock().written.last().map_or(0, |(_, n)| *n)
    }

    pub(crate) fn highest(&self) -> i64 {
        self.lock().highest
    }

    /// The states that were read, each once in a row.
    pub(crate) fn states(&self) -> Vec<State> {
        self.lock().states.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a document up until it is over.
pub(crate) async fn write_on(world: &World, id: i64, watch: &Watch, pause: Duration) {
    let mut n = watch.last();
    while watch.goes_on() {
        n += 1;
        world.set(id, n).await;
        watch.wrote(n);
        sleep(pause).await;
    }
}

/// Looks at its report until it is over.
pub(crate) async fn read_on(smache: &Smache, id: i64, millis: u64, watch: &Watch) {
    while watch.goes_on() {
        let asked = Instant::now();
        watch.saw(asked, peek(smache, id, millis).await.expect("a value that was stored stays"));
        sleep(Duration::from_millis(10)).await;
    }
}
