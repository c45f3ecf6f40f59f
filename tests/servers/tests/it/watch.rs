//! A document that is written and read at the same time, and the answers that its readers must never get.

use std::{
    sync::{
        LazyLock, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use smache::{Call, Computed, Smache};
use smache_server_tests::{Sight, State, report};
use tokio::time::{Instant, sleep};

use crate::world::World;

/// For how long the feed of a [watched](World::watched) world confirms: a change that a reader of a fresh value misses
/// is at most so old.
pub(crate) const VALIDITY: Duration = Duration::from_secs(2);
/// The delay that a busy machine may add between the feed's measuring of its age and the store's writing it down.
const NOISE: Duration = Duration::from_secs(2);
/// A machine that stands still adds as much: this is what a thread measures that wakes that often.
const TICK: Duration = Duration::from_millis(10);

type Pause = (Instant, Duration);

/// Since when that thread sleeps, and when it slept too long: from when on, and for how long.
static PAUSES: LazyLock<Mutex<(Instant, Vec<Pause>)>> = LazyLock::new(|| {
    thread::spawn(|| {
        loop {
            thread::sleep(TICK);
            let mut pauses = PAUSES.lock().unwrap_or_else(PoisonError::into_inner);
            let began = pauses.0;
            let now = Instant::now();
            if now - began > 10 * TICK {
                pauses.1.push((began, now - began));
            }
            pauses.0 = now;
        }
    });
    Mutex::new((Instant::now(), Vec::new()))
});

/// How long the machine stood still since then, all in all.
fn stood_still_since(then: Instant) -> Duration {
    let pauses = PAUSES.lock().unwrap_or_else(PoisonError::into_inner);
    let over = pauses.1.iter().filter(|(began, took)| *began + *took > then).map(|(_, took)| *took);
    over.sum::<Duration>() + pauses.0.elapsed()
}

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
        LazyLock::force(&PAUSES);
        self.lock().written.push((Instant::now(), n));
    }

    /// A value was read, after it was asked for at that instant.
    ///
    /// # Panics
    /// If it is fresh and older than the feed may be behind, or older than what was read before.
    pub(crate) fn saw(&self, asked: Instant, sight: Sight) {
        let mut seen = self.lock();
        assert!(sight.n >= seen.highest, "{sight:?} was read after {}", seen.highest);
        if sight.state == State::Fresh {
            // The first write that the reader does not see.
            let unknown = seen.written.iter().find(|(at, n)| *n > sight.n && *at < asked);
            if let Some((at, n)) = unknown {
                let age = asked - *at;
                let still = stood_still_since(*at);
                assert!(
                    age <= VALIDITY + NOISE + still,
                    "{sight:?} was read {age:?} after {n} was written, and the machine stood still for {still:?} of it"
                );
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
    read_calls_on(smache, || report(id, millis), watch).await;
}

/// Looks at what is stored of any call until it is over.
pub(crate) async fn read_calls_on<F: Computed<Output = i64>>(
    smache: &Smache,
    call: impl Fn() -> Call<F>,
    watch: &Watch,
) {
    while watch.goes_on() {
        let asked = Instant::now();
        let stored = smache.peek(call()).await.expect("a look").expect("a value that was stored stays");
        watch.saw(asked, stored.into());
        sleep(Duration::from_millis(10)).await;
    }
}
