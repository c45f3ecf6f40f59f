//! What wakes waiting workers: a notification on one channel of the database, which may be lost and never means more
//! than "look again".
//!
//! It is sent after the step and not in it: a transaction that notifies holds a lock of the whole database until its
//! commit is on disk, so that all steps with jobs would queue for the disk one by one.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use smache_core::{Namespace, Token};
use sqlx::{PgPool, postgres::PgListener};
use tokio::{sync::watch, task::JoinHandle};

use super::link::Link;

const CHANNEL: &str = "smache_jobs";
const NOTIFY: &str = "SELECT pg_notify('smache_jobs', $1)";
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

type Ropes = Arc<Mutex<HashMap<String, Arc<watch::Sender<u64>>>>>;

/// The bells of all namespaces, on one connection, opened by the first who waits.
pub(super) struct Bells {
    link: Arc<Link>,
    /// Which process rang: this one has heard itself already.
    origin: String,
    ropes: Ropes,
    listener: Mutex<Option<JoinHandle<()>>>,
}

/// The bell of a namespace.
pub(super) struct Bell {
    bells: Arc<Bells>,
    message: String,
    /// How often it rang.
    rung: Arc<watch::Sender<u64>>,
    /// How much of that somebody has been told, so that nobody sleeps through what rang between two waits.
    told: AtomicU64,
    /// Whether a notification is about to be sent: one is enough for all who ring before.
    sending: Arc<AtomicBool>,
}

impl Bells {
    pub(super) fn new(link: Arc<Link>) -> Self {
        Self { link, origin: Token::random().to_string(), ropes: Arc::default(), listener: Mutex::default() }
    }

    pub(super) fn of(self: &Arc<Self>, namespace: &Namespace) -> Bell {
        let mut ropes = self.ropes.lock().unwrap_or_else(PoisonError::into_inner);
        let rung = ropes.entry(namespace.as_str().to_owned()).or_insert_with(|| Arc::new(watch::Sender::new(0)));
        Bell {
            bells: self.clone(),
            message: format!("{} {namespace}", self.origin),
            rung: rung.clone(),
            told: AtomicU64::new(0),
            sending: Arc::default(),
        }
    }

    /// Starts the listener, unless it runs.
    fn listen(&self) {
        let mut listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner);
        if listener.as_ref().is_none_or(JoinHandle::is_finished) {
            let pool = self.link.listener_pool();
            *listener = Some(tokio::spawn(listen(pool, self.origin.clone(), self.ropes.clone())));
        }
    }
}

impl Drop for Bells {
    fn drop(&mut self) {
        if let Some(listener) = self.listener.get_mut().unwrap_or_else(PoisonError::into_inner) {
            listener.abort();
        }
    }
}

impl Bell {
    /// Jobs were added that are due.
    pub(super) fn ring(&self) {
        self.rung.send_modify(|count| *count += 1);
        if self.sending.swap(true, Ordering::AcqRel) {
            return;
        }
        let (link, message, sending) = (self.bells.link.clone(), self.message.clone(), self.sending.clone());
        tokio::spawn(async move {
            sending.store(false, Ordering::Release);
            let sent = link.step("notify", NOTIFY, |query| query.bind(message.clone())).await;
            if let Err(error) = sent {
                tracing::debug!(error = %error.report(), "cannot wake the workers of other processes: they poll");
            }
        });
    }

    /// Returns when it rings, has rung since the last wait, or the time is over.
    pub(super) async fn wait(&self, timeout: Duration) {
        let mut rung = self.rung.subscribe();
        let count = *rung.borrow_and_update();
        if self.told.fetch_max(count, Ordering::AcqRel) < count {
            return;
        }
        self.bells.listen();
        if let Ok(Ok(())) = tokio::time::timeout(timeout, rung.changed()).await {
            self.told.fetch_max(*rung.borrow(), Ordering::AcqRel);
        }
    }
}

async fn listen(pool: PgPool, origin: String, ropes: Ropes) {
    let ring = |name: Option<&str>| {
        let ropes = ropes.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, rung) in ropes.iter().filter(|(rope, _)| name.is_none_or(|name| name == *rope)) {
            rung.send_modify(|count| *count += 1);
        }
    };
    let mut pause = SHORTEST_PAUSE;
    loop {
        match subscribe(&pool).await {
            Ok(mut listener) => {
                pause = SHORTEST_PAUSE;
                // What rang before the subscription held was not heard.
                ring(None);
                while let Ok(Some(notification)) = listener.try_recv().await {
                    if let Some((from, name)) = notification.payload().split_once(' ')
                        && from != origin
                    {
                        ring(Some(name));
                    }
                }
            }
            Err(error) => tracing::debug!(%error, "cannot listen for jobs: workers poll"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn subscribe(pool: &PgPool) -> Result<PgListener, sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(CHANNEL).await?;
    Ok(listener)
}
