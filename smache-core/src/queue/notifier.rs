//! Wakes waiting workers: a message between processes, which may be lost and never means more than "look again".

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

/// How notifications reach the other processes of one server: for authors of backends whose servers can publish
/// messages.
#[async_trait]
pub trait NotifierTransport: fmt::Debug + Send + Sync + 'static {
    /// Publishes to all processes that `origin` has notified a namespace. Does nothing by default, for servers where
    /// the steps that add jobs publish it themselves.
    ///
    /// # Errors
    /// Any failure to publish. It is logged; the workers of other processes then find the jobs when they next look.
    async fn publish(&self, origin: &str, namespace: &str) -> Result<()> {
        let _ = (origin, namespace);
        Ok(())
    }

    /// Listens until the connection is lost, and hands each message to the subscriber. It is called again after a
    /// pause, which grows while no subscription succeeds.
    ///
    /// # Errors
    /// Any failure to listen. It is logged; workers poll meanwhile.
    async fn listen(&self, subscriber: Subscriber) -> Result<()>;

    /// How long a notification waits for others, to publish them together; zero by default.
    fn debounce(&self) -> Duration {
        Duration::ZERO
    }
}

/// Where a [`NotifierTransport`] delivers messages.
#[derive(Clone)]
pub struct Subscriber {
    /// Names this process: it ignores its own messages, as it has notified itself already.
    origin: Arc<str>,
    channels: Channels,
    subscribed: Arc<AtomicBool>,
}

impl Subscriber {
    /// The subscription is there, so every later message arrives. Earlier ones did not: this wakes all waiters once.
    pub fn subscribed(&self) {
        self.subscribed.store(true, Ordering::Release);
        self.notify_all();
    }

    /// `origin` has notified a namespace.
    pub fn notify(&self, origin: &str, namespace: &str) {
        if *origin != *self.origin
            && let Some(notified) = lock(&self.channels).get(namespace)
        {
            notified.send_modify(|count| *count += 1);
        }
    }

    /// A message came that does not name its namespace.
    pub fn notify_all(&self) {
        for notified in lock(&self.channels).values() {
            notified.send_modify(|count| *count += 1);
        }
    }
}

impl fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriber").field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// How often each namespace was notified.
type Channels = Arc<Mutex<HashMap<String, watch::Sender<u64>>>>;

/// The notifiers of all namespaces on one server, for [`JobQueue::wait`](crate::JobQueue::wait).
///
/// There is one listener, started by the first waiter and stopped with the last notifier.
#[derive(Debug)]
pub struct Notifiers {
    transport: Arc<dyn NotifierTransport>,
    origin: Arc<str>,
    channels: Channels,
    listener: Mutex<Option<JoinHandle<()>>>,
}

impl Notifiers {
    /// Notifiers that reach other processes through a transport.
    #[must_use]
    pub fn new(transport: Arc<dyn NotifierTransport>) -> Arc<Self> {
        let origin = Token::random().to_string().into();
        Arc::new(Self { transport, origin, channels: Arc::default(), listener: Mutex::default() })
    }

    /// The notifier of a namespace.
    #[must_use]
    pub fn of(self: &Arc<Self>, namespace: &Namespace) -> Notifier {
        let notified = lock(&self.channels).entry(namespace.as_str().to_owned()).or_default().clone();
        Notifier {
            notifiers: Arc::clone(self),
            namespace: namespace.as_str().into(),
            notified,
            returned: AtomicU64::new(0),
            publishing: Arc::default(),
        }
    }

    /// Starts the listener, unless it runs.
    fn listen(&self) {
        let mut listener = lock(&self.listener);
        if listener.as_ref().is_none_or(JoinHandle::is_finished) {
            let subscriber =
                Subscriber { origin: self.origin.clone(), channels: self.channels.clone(), subscribed: Arc::default() };
            *listener = Some(tokio::spawn(listen(self.transport.clone(), subscriber)));
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
    /// How often it was notified.
    notified: watch::Sender<u64>,
    /// Up to which of these a waiter has returned, so that a notification between two waits ends the next one.
    returned: AtomicU64,
    /// Whether a message is about to be published: it serves all notifications that came before it.
    publishing: Arc<AtomicBool>,
}

impl Notifier {
    /// Jobs were added that are due: wakes the waiters, in this process at once, and in others as soon as the message
    /// arrives.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn notify(&self) {
        self.notified.send_modify(|count| *count += 1);
        if self.publishing.swap(true, Ordering::AcqRel) {
            return;
        }
        let transport = self.notifiers.transport.clone();
        let origin = self.notifiers.origin.clone();
        let namespace = self.namespace.clone();
        let publishing = Publishing(self.publishing.clone());
        tokio::spawn(async move {
            match transport.debounce() {
                Duration::ZERO => {}
                others => tokio::time::sleep(others).await,
            }
            drop(publishing);
            if let Err(error) = transport.publish(&origin, &namespace).await {
                tracing::debug!(error = %error.report(), "cannot wake the workers of other processes: they poll");
            }
        });
    }

    /// Returns at a notification, at once if one came since the last wait, or after the timeout.
    ///
    /// # Cancel safety
    /// May be dropped at any await point: the next waiter returns for the notification.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn notified(&self, timeout: Duration) {
        let mut notified = self.notified.subscribe();
        let count = *notified.borrow_and_update();
        if self.returned.fetch_max(count, Ordering::AcqRel) < count {
            return;
        }
        self.notifiers.listen();
        if let Ok(Ok(())) = tokio::time::timeout(timeout, notified.changed()).await {
            self.returned.fetch_max(*notified.borrow(), Ordering::AcqRel);
        }
    }
}

/// Marks that a message is about to be published. The mark ends before the message is sent, so that a later
/// notification publishes its own; also with a runtime that shuts down, for notifications on another one.
struct Publishing(Arc<AtomicBool>);

impl Drop for Publishing {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

async fn listen(transport: Arc<dyn NotifierTransport>, subscriber: Subscriber) {
    let mut pause = SHORTEST_PAUSE;
    loop {
        let ended = transport.listen(subscriber.clone()).await;
        if subscriber.subscribed.swap(false, Ordering::AcqRel) {
            pause = SHORTEST_PAUSE;
        }
        match ended {
            Ok(()) => tracing::debug!("the subscription ended: workers poll until the next one"),
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
    struct Transport {
        server: broadcast::Sender<Option<(String, String)>>,
        up: AtomicBool,
        tries: AtomicU64,
        published: AtomicU64,
    }

    impl Transport {
        fn new(server: &broadcast::Sender<Option<(String, String)>>) -> Arc<Self> {
            let up = AtomicBool::new(true);
            let tries = AtomicU64::new(0);
            let published = AtomicU64::new(0);
            Arc::new(Self { server: server.clone(), up, tries, published })
        }
    }

    #[async_trait]
    impl NotifierTransport for Transport {
        async fn publish(&self, origin: &str, namespace: &str) -> Result<()> {
            self.published.fetch_add(1, Ordering::Relaxed);
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
    async fn notification_wakes_waiters_of_its_namespace_in_every_process() {
        let server = broadcast::Sender::new(100);
        let transports = [Transport::new(&server), Transport::new(&server)];
        let [here, there] = transports.each_ref().map(|transport| Notifiers::new(transport.clone()));
        let notifies = here.of(&namespace("shop"));
        let waits = here.of(&namespace("shop"));
        let elsewhere = there.of(&namespace("shop"));
        let other = there.of(&namespace("school"));
        // The subscription itself wakes them once.
        tokio::join!(waited(&waits), waited(&elsewhere), waited(&other));
        let notification = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            notifies.notify();
        };
        let ((), here, there, apart) = tokio::join!(notification, waited(&waits), waited(&elsewhere), waited(&other));
        assert_eq!(here, Duration::from_secs(1));
        assert!(there < Duration::from_secs(2), "{there:?}");
        assert_eq!(apart, LONG);
        assert_eq!(waited(&waits).await, LONG, "its own message does not come back to it");
    }

    #[tokio::test(start_paused = true)]
    async fn notification_between_two_waits_ends_one_wait_of_each_notifier() {
        let notifiers = Notifiers::new(Transport::new(&broadcast::Sender::new(100)));
        let [one, two] = [(); 2].map(|()| notifiers.of(&namespace("shop")));
        tokio::join!(waited(&one), waited(&two));
        one.notify();
        assert_eq!(waited(&two).await, Duration::ZERO);
        assert_eq!(waited(&two).await, LONG);
        assert_eq!(waited(&one).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn notifications_that_come_together_are_published_once() {
        let transport = Transport::new(&broadcast::Sender::new(100));
        let notifier = Notifiers::new(transport.clone()).of(&namespace("shop"));
        (0..10).for_each(|_| notifier.notify());
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(transport.published.load(Ordering::Relaxed), 1);
        notifier.notify();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(transport.published.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn notification_on_a_runtime_that_shuts_down_keeps_no_other_from_being_published() {
        let transport = Transport::new(&broadcast::Sender::new(100));
        let notifier = Notifiers::new(transport.clone()).of(&namespace("shop"));
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime().block_on(async { notifier.notify() });
        assert_eq!(transport.published.load(Ordering::Relaxed), 0, "it was shut down before");
        runtime().block_on(async {
            notifier.notify();
            while transport.published.load(Ordering::Relaxed) == 0 {
                tokio::task::yield_now().await;
            }
        });
    }

    #[tokio::test(start_paused = true)]
    async fn lost_server_is_listened_to_again_with_growing_pauses() {
        let server = broadcast::Sender::new(100);
        let transport = Transport::new(&server);
        transport.up.store(false, Ordering::Relaxed);
        let notifier = Notifiers::new(transport.clone()).of(&namespace("shop"));
        assert_eq!(waited(&notifier).await, LONG);
        let tries = transport.tries.load(Ordering::Relaxed);
        assert!((10..=20).contains(&tries), "{tries} tries in a minute");
        transport.up.store(true, Ordering::Relaxed);
        assert!(waited(&notifier).await <= LONGEST_PAUSE, "a new subscription wakes the waiters");
        // It goes down for a moment: the next try is soon.
        let _ = server.send(None);
        assert!(waited(&notifier).await <= 2 * SHORTEST_PAUSE);
    }

    #[tokio::test(start_paused = true)]
    async fn listener_ends_with_the_last_notifier() {
        let transport = Transport::new(&broadcast::Sender::new(100));
        let notifier = Notifiers::new(transport.clone()).of(&namespace("shop"));
        waited(&notifier).await;
        assert!(Arc::strong_count(&transport) > 2);
        drop(notifier);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(Arc::strong_count(&transport), 1);
    }
}
