//! What wakes waiting workers: a message between processes, which may be lost and never means more than "look again".

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::{sync::watch, task::JoinHandle};

use crate::{Namespace, Result, Token};

const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How the notifiers of one server are heard by other processes: for authors of backends whose servers can notify.
#[async_trait]
pub trait NotifierTransport: fmt::Debug + Send + Sync + 'static {
    /// Tells all processes that the notifier of a namespace was rung by `origin`. By default nothing is told: the steps that add
    /// jobs do that themselves.
    ///
    /// # Errors
    /// Whatever is in the way. It is logged; the workers of other processes then find the jobs when they next look.
    async fn publish(&self, origin: &str, namespace: &str) -> Result<()> {
        let _ = (origin, namespace);
        Ok(())
    }

    /// Listens until the connection is lost, and hands over what it hears. Called again after a pause, which grows while
    /// nothing comes of it.
    ///
    /// # Errors
    /// Whatever is in the way. It is logged; workers poll until it is over.
    async fn listen(&self, subscriber: Subscriber) -> Result<()>;

    /// How long a ring waits for others that are told together with it; not at all by default.
    fn debounce(&self) -> Duration {
        Duration::ZERO
    }
}

/// Where a [`NotifierTransport`] says what it has heard.
#[derive(Clone)]
pub struct Subscriber {
    /// Which process this is: it has heard itself already.
    origin: Arc<str>,
    ropes: Ropes,
    subscribed: Arc<AtomicBool>,
}

impl Subscriber {
    /// From now on everything is heard. What rang before was not: all who wait are woken once.
    pub fn subscribed(&self) {
        self.subscribed.store(true, Ordering::Release);
        self.notify_all();
    }

    /// The notifier of a namespace was rung by `origin`.
    pub fn notify(&self, origin: &str, namespace: &str) {
        if *origin != *self.origin
            && let Some(rung) = lock(&self.ropes).get(namespace)
        {
            rung.send_modify(|count| *count += 1);
        }
    }

    /// Something rang, and nobody knows whose notifier that was.
    pub fn notify_all(&self) {
        for rung in lock(&self.ropes).values() {
            rung.send_modify(|count| *count += 1);
        }
    }
}

impl fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriber").field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// How often the notifier of each namespace rang.
type Ropes = Arc<Mutex<HashMap<String, watch::Sender<u64>>>>;

/// The notifiers of all namespaces on one server: what [`JobQueue::wait`](crate::JobQueue::wait) can wait for.
///
/// There is one listener, started by the first who waits and stopped with the last notifier.
#[derive(Debug)]
pub struct Notifiers {
    wire: Arc<dyn NotifierTransport>,
    origin: Arc<str>,
    ropes: Ropes,
    listener: Mutex<Option<JoinHandle<()>>>,
}

impl Notifiers {
    /// Notifiers that other processes hear through the wire.
    #[must_use]
    pub fn new(wire: Arc<dyn NotifierTransport>) -> Arc<Self> {
        let origin = Token::random().to_string().into();
        Arc::new(Self { wire, origin, ropes: Arc::default(), listener: Mutex::default() })
    }

    /// The notifier of a namespace.
    #[must_use]
    pub fn of(self: &Arc<Self>, namespace: &Namespace) -> Notifier {
        let rung = lock(&self.ropes).entry(namespace.as_str().to_owned()).or_default().clone();
        Notifier {
            notifiers: Arc::clone(self),
            namespace: namespace.as_str().into(),
            rung,
            told: AtomicU64::new(0),
            telling: Arc::default(),
        }
    }

    /// Starts the listener, unless it runs.
    fn listen(&self) {
        let mut listener = lock(&self.listener);
        if listener.as_ref().is_none_or(JoinHandle::is_finished) {
            let subscriber =
                Subscriber { origin: self.origin.clone(), ropes: self.ropes.clone(), subscribed: Arc::default() };
            *listener = Some(tokio::spawn(listen(self.wire.clone(), subscriber)));
        }
    }
}

impl Drop for Notifiers {
    fn drop(&mut self) {
        if let Some(listener) = self.listener.get_mut().unwrap_or_else(PoisonError::into_inner) {
            listener.abort();
        }
    }
}

/// The notifier of a namespace.
#[derive(Debug)]
pub struct Notifier {
    notifiers: Arc<Notifiers>,
    namespace: Arc<str>,
    /// How often it rang.
    rung: watch::Sender<u64>,
    /// How much of that somebody has been told, so that nobody sleeps through what rang between two waits.
    told: AtomicU64,
    /// Whether the others are about to be told: once is enough for all who ring before.
    telling: Arc<AtomicBool>,
}

impl Notifier {
    /// Jobs were added that are due: wakes who waits, here at once, and in other processes as soon as they hear of it.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn notify(&self) {
        self.rung.send_modify(|count| *count += 1);
        if self.telling.swap(true, Ordering::AcqRel) {
            return;
        }
        let (wire, origin) = (self.notifiers.wire.clone(), self.notifiers.origin.clone());
        let (namespace, telling) = (self.namespace.clone(), Telling(self.telling.clone()));
        tokio::spawn(async move {
            match wire.debounce() {
                Duration::ZERO => {}
                others => tokio::time::sleep(others).await,
            }
            drop(telling);
            if let Err(error) = wire.publish(&origin, &namespace).await {
                tracing::debug!(error = %error.report(), "cannot wake the workers of other processes: they poll");
            }
        });
    }

    /// Returns when it rings, has rung since the last wait, or the time is over.
    ///
    /// # Cancel safety
    /// May be dropped at any await point: what rings is told to the next who waits.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn notified(&self, timeout: Duration) {
        let mut rung = self.rung.subscribe();
        let count = *rung.borrow_and_update();
        if self.told.fetch_max(count, Ordering::AcqRel) < count {
            return;
        }
        self.notifiers.listen();
        if let Ok(Ok(())) = tokio::time::timeout(timeout, rung.changed()).await {
            self.told.fetch_max(*rung.borrow(), Ordering::AcqRel);
        }
    }
}

/// That the others are about to be told. It ends before they are, so that none who rings meanwhile is taken for one
/// before; also with a runtime that shuts down, for those who ring on another one.
struct Telling(Arc<AtomicBool>);

impl Drop for Telling {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

async fn listen(wire: Arc<dyn NotifierTransport>, subscriber: Subscriber) {
    let mut pause = SHORTEST_PAUSE;
    loop {
        let ended = wire.listen(subscriber.clone()).await;
        if subscriber.subscribed.swap(false, Ordering::AcqRel) {
            pause = SHORTEST_PAUSE;
        }
        match ended {
            Ok(()) => tracing::debug!("nobody hears when jobs are added for a moment: workers poll"),
            Err(error) => tracing::debug!(error = %error.report(), "cannot listen for jobs: workers poll"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that can panic half-way happens under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::{sync::broadcast, time::Instant};

    use super::*;
    use crate::{Error, ErrorKind};

    const LONG: Duration = Duration::from_secs(60);

    /// A server that passes messages on, as long as it is up.
    #[derive(Debug)]
    struct Wire {
        server: broadcast::Sender<Option<(String, String)>>,
        up: AtomicBool,
        tries: AtomicU64,
        told: AtomicU64,
    }

    impl Wire {
        fn new(server: &broadcast::Sender<Option<(String, String)>>) -> Arc<Self> {
            let (up, tries, told) = (AtomicBool::new(true), AtomicU64::new(0), AtomicU64::new(0));
            Arc::new(Self { server: server.clone(), up, tries, told })
        }
    }

    #[async_trait]
    impl NotifierTransport for Wire {
        async fn publish(&self, origin: &str, namespace: &str) -> Result<()> {
            self.told.fetch_add(1, Ordering::Relaxed);
            let _ = self.server.send(Some((origin.to_owned(), namespace.to_owned())));
            Ok(())
        }

        async fn listen(&self, subscriber: Subscriber) -> Result<()> {
            self.tries.fetch_add(1, Ordering::Relaxed);
            if !self.up.load(Ordering::Relaxed) {
                return Err(Error::new(ErrorKind::Unavailable, "it is down"));
            }
            let mut messages = self.server.subscribe();
            subscriber.subscribed();
            while let Ok(Some((origin, namespace))) = messages.recv().await {
                subscriber.notify(&origin, &namespace);
            }
            Ok(())
        }

        fn debounce(&self) -> Duration {
            Duration::from_millis(5)
        }
    }

    fn namespace(name: &str) -> Namespace {
        Namespace::new(name).expect("a good name")
    }

    /// How long a wait of at most a minute takes.
    async fn waited(notifier: &Notifier) -> Duration {
        let started = Instant::now();
        notifier.notified(LONG).await;
        started.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn ring_wakes_who_waits_here_and_elsewhere_and_in_no_other_namespace() {
        let server = broadcast::Sender::new(100);
        let wires = [Wire::new(&server), Wire::new(&server)];
        let [here, there] = wires.each_ref().map(|wire| Notifiers::new(wire.clone()));
        let (rings, hears) = (here.of(&namespace("shop")), here.of(&namespace("shop")));
        let (elsewhere, other) = (there.of(&namespace("shop")), there.of(&namespace("school")));
        // The subscription itself wakes them once.
        tokio::join!(waited(&hears), waited(&elsewhere), waited(&other));
        let ring = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            rings.notify();
        };
        let ((), here, there, apart) = tokio::join!(ring, waited(&hears), waited(&elsewhere), waited(&other));
        assert_eq!(here, Duration::from_secs(1));
        assert!(there < Duration::from_secs(2), "{there:?}");
        assert_eq!(apart, LONG);
        assert_eq!(waited(&hears).await, LONG, "its own message does not come back to it");
    }

    #[tokio::test(start_paused = true)]
    async fn what_rings_between_two_waits_is_told_once_to_each_notifier() {
        let notifiers = Notifiers::new(Wire::new(&broadcast::Sender::new(100)));
        let [one, two] = [(); 2].map(|()| notifiers.of(&namespace("shop")));
        tokio::join!(waited(&one), waited(&two));
        one.notify();
        assert_eq!(waited(&two).await, Duration::ZERO);
        assert_eq!(waited(&two).await, LONG);
        assert_eq!(waited(&one).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn rings_that_come_together_are_told_once() {
        let wire = Wire::new(&broadcast::Sender::new(100));
        let notifier = Notifiers::new(wire.clone()).of(&namespace("shop"));
        (0..10).for_each(|_| notifier.notify());
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(wire.told.load(Ordering::Relaxed), 1);
        notifier.notify();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(wire.told.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn ring_on_a_runtime_that_shuts_down_keeps_no_other_ring_from_being_told() {
        let wire = Wire::new(&broadcast::Sender::new(100));
        let notifier = Notifiers::new(wire.clone()).of(&namespace("shop"));
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime().block_on(async { notifier.notify() });
        assert_eq!(wire.told.load(Ordering::Relaxed), 0, "it was shut down before");
        runtime().block_on(async {
            notifier.notify();
            while wire.told.load(Ordering::Relaxed) == 0 {
                tokio::task::yield_now().await;
            }
        });
    }

    #[tokio::test(start_paused = true)]
    async fn lost_server_is_listened_to_again_with_growing_pauses() {
        let server = broadcast::Sender::new(100);
        let wire = Wire::new(&server);
        wire.up.store(false, Ordering::Relaxed);
        let notifier = Notifiers::new(wire.clone()).of(&namespace("shop"));
        assert_eq!(waited(&notifier).await, LONG);
        let tries = wire.tries.load(Ordering::Relaxed);
        assert!((10..=20).contains(&tries), "{tries} tries in a minute");
        wire.up.store(true, Ordering::Relaxed);
        assert!(waited(&notifier).await <= LONGEST_PAUSE, "whoever waits looks when it is heard again");
        // It goes down for a moment: the next try is soon.
        let _ = server.send(None);
        assert!(waited(&notifier).await <= 2 * SHORTEST_PAUSE);
    }

    #[tokio::test(start_paused = true)]
    async fn listener_ends_with_the_last_notifier() {
        let wire = Wire::new(&broadcast::Sender::new(100));
        let notifier = Notifiers::new(wire.clone()).of(&namespace("shop"));
        waited(&notifier).await;
        assert!(Arc::strong_count(&wire) > 2);
        drop(notifier);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(Arc::strong_count(&wire), 1);
    }
}
