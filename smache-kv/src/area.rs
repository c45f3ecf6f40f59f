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

use smache_core::{JobWrites, Result, Token};
use tokio::sync::Notify;

use crate::{
    KeyValue,
    error::{gave_up, is_conflict},
    key_value::Access,
    keys::Keys,
    layout::KnownLayout,
    step::Step,
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
    pub(crate) page: usize,
    pub(crate) shared: Arc<Shared>,
}

/// The state that all of an area share in this process.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) hints: Hints,
    pub(crate) layout: KnownLayout,
    pub(crate) pages: Pages,
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

impl SharedArea {
    /// Runs a step that only reads.
    pub(crate) async fn read<'s, T>(&'s self, work: impl for<'a> Fn(&'a mut Step<'s>) -> Work<'a, T>) -> Result<T> {
        self.run(Access::Read, Layout::Own, work).await
    }

    /// Runs a step, repeatedly while another one conflicts with it.
    pub(crate) async fn write<'s, T>(&'s self, work: impl for<'a> Fn(&'a mut Step<'s>) -> Work<'a, T>) -> Result<T> {
        self.run(Access::Write, Layout::Own, work).await
    }

    /// The same in a namespace of any layout.
    pub(crate) async fn write_to_any_layout<'s, T>(
        &'s self,
        work: impl for<'a> Fn(&'a mut Step<'s>) -> Work<'a, T>,
    ) -> Result<T> {
        self.run(Access::Write, Layout::Any, work).await
    }

    async fn run<'s, T>(
        &'s self,
        access: Access,
        layout: Layout,
        work: impl for<'a> Fn(&'a mut Step<'s>) -> Work<'a, T>,
    ) -> Result<T> {
        let mut tries = 0;
        loop {
            let conflict = match self.attempt(access, layout, &work).await {
                Err(error) if is_conflict(&error) => error,
                done => return done,
            };
            tries += 1;
            if tries >= TRIES {
                return Err(gave_up(tries, conflict));
            }
            tokio::time::sleep(pause(tries)).await;
        }
    }

    async fn attempt<'s, T>(
        &'s self,
        access: Access,
        layout: Layout,
        work: &impl for<'a> Fn(&'a mut Step<'s>) -> Work<'a, T>,
    ) -> Result<T> {
        let mut step = Step::start(self, access).await?;
        if layout == Layout::Own && !self.shared.layout.is_known_in(&step.incarnation) {
            step.check_layout().await?;
        }
        let worked = work(&mut step).await;
        let page = step.page;
        let touched = step.touched;
        let done = match worked {
            Ok(answer) => step.commit().await.map(|added| (answer, added)),
            Err(error) => Err(error),
        };
        match &done {
            Ok(_) if page.is_some_and(|length| touched > length / 2) => self.shared.pages.written(),
            Err(error) if is_conflict(error) => self.shared.pages.met_another(page),
            _ => {}
        }
        let (answer, added) = done?;
        if added {
            self.shared.hints.jobs_added();
        }
        Ok(answer)
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
