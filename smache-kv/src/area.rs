//! An area of a namespace on a store, and the runs of its steps.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use smache_core::{ErrorKind, Examination, JobWrites, Result, Token};
use tokio::sync::Notify;

use crate::{
    KeyValue, Limits,
    counts::KnownCounts,
    error::{gave_up, is_conflict},
    key_value::Access,
    keys::Keys,
    layout::KnownLayout,
    step::Step,
    turns::Turns,
};

/// How often a step runs before its caller gets the conflict.
const TRIES: u32 = 100;

/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// The length below which conflicts do not shorten a page.
const SHORTEST_PAGE: usize = 16;

/// The layout that a step requires of a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    Own,
    Any,
}

/// The work of a step: a future that borrows it.
pub(crate) type Work<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// The state that the stores and queues of an area share.
pub(crate) struct SharedArea {
    pub(crate) store: Arc<dyn KeyValue>,
    pub(crate) keys: Keys,
    pub(crate) job_writes: JobWrites,
    /// The longest page, within the limits.
    pub(crate) page: usize,
    pub(crate) limits: Limits,
    /// The most entries of a store.
    pub(crate) capacity: Option<usize>,
    pub(crate) shared: Arc<Shared>,
}

/// The state that all of an area share in this process.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) hints: Hints,
    pub(crate) layout: KnownLayout,
    pub(crate) pages: Pages,
    pub(crate) turns: Turns,
    pub(crate) counts: KnownCounts,
}

/// How often the length of a page is halved now.
///
/// Among writers that never pause, a long transaction conflicts at every try, and a short one succeeds. A conflict
/// halves the page, and a full page that is written doubles it again.
#[derive(Debug, Default)]
pub(crate) struct Pages(AtomicU32);

impl Pages {
    /// How many dependants a step may touch, at most `longest`.
    pub(crate) fn length(&self, longest: usize) -> usize {
        let halved = longest.checked_shr(self.0.load(Ordering::Relaxed)).unwrap_or(0);
        halved.max(longest.min(SHORTEST_PAGE))
    }

    fn met_another(&self, page: Option<usize>) {
        if page.is_some_and(|length| length > SHORTEST_PAGE) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn written(&self) {
        // At zero the pages have their whole length.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |halved| halved.checked_sub(1));
    }
}

/// Notifies the workers of this process of added jobs.
#[derive(Debug, Default)]
pub(crate) struct Hints {
    added: AtomicU64,
    notify: Notify,
}

impl Hints {
    /// Grows when jobs are added.
    pub(crate) fn added(&self) -> u64 {
        self.added.load(Ordering::SeqCst)
    }

    pub(crate) fn notify(&self) -> &Notify {
        &self.notify
    }

    fn jobs_added(&self) {
        self.added.fetch_add(1, Ordering::SeqCst);
        self.notify.notify_waiters();
    }
}

/// The way to run a step.
struct Way {
    access: Access,
    layout: Layout,
    /// The keys that it reads first, in the round trip of its begin.
    first: Vec<Bytes>,
    /// Whether it conflicts with every other one that says so.
    in_turn: bool,
}

impl Way {
    fn new(access: Access) -> Self {
        Self { access, layout: Layout::Own, first: Vec::new(), in_turn: false }
    }
}

impl SharedArea {
    /// Runs a step that only reads.
    pub(crate) async fn read<'s, T>(&'s self, work: impl for<'a> Fn(&'a mut Step<'s>) -> Work<'a, T>) -> Result<T> {
        self.run(Way::new(Access::Read), work).await
    }

    /// The same with the keys that it reads first.
    pub(crate) async fn read_from<'s, T>(
        &'s self,
        first: Vec<Bytes>,
        work: impl for<'a> Fn(&'a mut Step<'s>) -> Work<'a, T>,
    ) -> Result<T> {
        self.run(Way { first, ..Way::new(Access::Read) }, work).await
    }

    /// Runs a step, repeatedly while another one conflicts with it.
    pub(crate) async fn write<'s, T>(&'s self, work: impl for<'a> Fn(&'a mut Step<'s>) -> Work<'a, T>) -> Result<T> {
        self.run(Way::new(Access::Write), work).await
    }

    /// The same with the keys that it reads first.
    pub(crate) async fn write_from<'s, T>(
        &'s self,
        first: Vec<Bytes>,
        work: impl for<'a> Fn(&'a mut Step<'s>) -> Work<'a, T>,
    ) -> Result<T> {
        self.run(Way { first, ..Way::new(Access::Write) }, work).await
    }

    /// The same for a step that conflicts with every other one that is run in this way: in this process they wait for
    /// each other.
    pub(crate) async fn write_in_turn<'s, T>(
        &'s self,
        work: impl for<'a> Fn(&'a mut Step<'s>) -> Work<'a, T>,
    ) -> Result<T> {
        self.run(Way { in_turn: true, ..Way::new(Access::Write) }, work).await
    }

    /// The same in a namespace of any layout.
    pub(crate) async fn write_to_any_layout<'s, T>(
        &'s self,
        work: impl for<'a> Fn(&'a mut Step<'s>) -> Work<'a, T>,
    ) -> Result<T> {
        self.run(Way { layout: Layout::Any, ..Way::new(Access::Write) }, work).await
    }

    /// The store's report on itself, with what its limits mean.
    pub(crate) async fn examine(&self) -> Result<Examination> {
        Ok(self.limits.examined(self.store.examine().await?, &self.keys))
    }

    async fn run<'s, T>(&'s self, way: Way, work: impl for<'a> Fn(&'a mut Step<'s>) -> Work<'a, T>) -> Result<T> {
        let mut turn = match way.in_turn {
            true => self.shared.turns.queued().await,
            false => self.shared.turns.free(),
        };
        let mut tries = 0;
        let mut longest = usize::MAX;
        loop {
            // A reader waits for none: writers do not see it.
            let alone = match way.access {
                Access::Write => Some(turn.attempt(tries).await),
                Access::Read => None,
            };
            let (length, done) = self.attempt(&way, longest, &work).await;
            drop(alone);
            let conflict = match done {
                Err(error) if is_conflict(&error) => error,
                Err(error) if error.kind() == ErrorKind::TooLarge && length.is_some_and(|length| length > 1) => {
                    longest = length.unwrap_or_default() / 2;
                    continue;
                }
                done => return done,
            };
            tries += 1;
            if tries >= TRIES {
                return Err(gave_up(tries, conflict));
            }
            // The other one was probably of this process, if this step had not waited for those.
            if way.access == Access::Read || turn.queue_up().await {
                tokio::time::sleep(pause(tries)).await;
            }
        }
    }

    /// One attempt, with how many entries it asked for.
    async fn attempt<'s, T>(
        &'s self,
        way: &Way,
        longest: usize,
        work: &impl for<'a> Fn(&'a mut Step<'s>) -> Work<'a, T>,
    ) -> (Option<usize>, Result<T>) {
        let mut step = match self.start(way, longest).await {
            Ok(step) => step,
            Err(error) => return (None, Err(error)),
        };
        let worked = work(&mut step).await;
        let (page, length, touched) = (step.page, step.length, step.touched);
        let done = match worked {
            Ok(answer) => step.commit().await.map(|added| (answer, added)),
            Err(error) => Err(error),
        };
        match &done {
            Ok(_) if page.is_some_and(|length| touched > length / 2) => self.shared.pages.written(),
            Err(error) if is_conflict(error) => self.shared.pages.met_another(page),
            _ => {}
        }
        let done = done.map(|(answer, added)| {
            if added {
                self.shared.hints.jobs_added();
            }
            answer
        });
        (length, done)
    }

    /// Begins a step, with its first keys and the check of the layout in one round trip.
    async fn start(&self, way: &Way, longest: usize) -> Result<Step<'_>> {
        let layout = &self.shared.layout;
        let check = way.layout == Layout::Own && !layout.is_known();
        let first = way.first.iter().cloned().chain(check.then(|| self.keys.layout())).collect();
        let mut step = Step::start(self, way.access, first, longest).await?;
        step.counted = way.layout == Layout::Own;
        if way.layout == Layout::Own && !layout.is_known_in(&step.incarnation) {
            step.check_layout().await?;
        }
        Ok(step)
    }
}

impl fmt::Debug for SharedArea {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedArea").field("store", &self.store).field("keys", &self.keys).finish_non_exhaustive()
    }
}

/// A random part of a bound that doubles, so that conflicting steps do not meet again.
fn pause(tries: u32) -> Duration {
    let bound = Duration::from_micros(100).saturating_mul(1 << tries.min(10)).min(LONGEST_PAUSE);
    let [random, ..] = *Token::random().as_bytes();
    bound * u32::from(random) / 255
}
