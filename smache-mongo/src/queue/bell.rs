//! What wakes waiting workers: a change of one small collection, which may be lost and never means more than "look again".
//!
//! A namespace has one document there, which is written to when jobs are added: often for one at a time, once for many.
//! One change stream a process tells of all of them, opened by the first who waits.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use mongodb::{
    bson::{Document, doc},
    change_stream::event::ChangeStreamEvent,
};
use smache_core::{Namespace, Token};
use tokio::{sync::watch, task::JoinHandle};

use crate::link::Link;

const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long the server waits for a change before it answers that there was none.
const AWAIT: Duration = Duration::from_secs(5);

/// How long a ring waits for others that go with it.
const GATHER: Duration = Duration::from_millis(5);

type Ropes = Arc<Mutex<HashMap<String, Arc<watch::Sender<u64>>>>>;

/// The bells of all namespaces.
pub(crate) struct Bells {
    link: Arc<Link>,
    /// Which process rang: this one has heard itself already.
    origin: String,
    ropes: Ropes,
    listener: Mutex<Option<JoinHandle<()>>>,
}

/// The bell of a namespace.
pub(crate) struct Bell {
    bells: Arc<Bells>,
    name: String,
    /// How often it rang.
    rung: Arc<watch::Sender<u64>>,
    /// How much of that somebody has been told, so that nobody sleeps through what rang between two waits.
    told: AtomicU64,
    /// Whether the others are about to be told: once is enough for all who ring before.
    sending: Arc<AtomicBool>,
}

impl Bells {
    pub(crate) fn new(link: Arc<Link>) -> Self {
        Self { link, origin: Token::random().to_string(), ropes: Arc::default(), listener: Mutex::default() }
    }

    pub(crate) fn of(self: &Arc<Self>, namespace: &Namespace) -> Bell {
        let mut ropes = self.ropes.lock().unwrap_or_else(PoisonError::into_inner);
        let rung = ropes.entry(namespace.as_str().to_owned()).or_insert_with(|| Arc::new(watch::Sender::new(0)));
        Bell {
            bells: self.clone(),
            name: namespace.as_str().to_owned(),
            rung: rung.clone(),
            told: AtomicU64::new(0),
            sending: Arc::default(),
        }
    }

    /// Starts the listener, unless it runs.
    fn listen(&self) {
        let mut listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner);
        if listener.as_ref().is_none_or(JoinHandle::is_finished) {
            *listener = Some(tokio::spawn(listen(self.link.clone(), self.origin.clone(), self.ropes.clone())));
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
    pub(crate) fn ring(&self) {
        self.rung.send_modify(|count| *count += 1);
        if self.sending.swap(true, Ordering::AcqRel) {
            return;
        }
        let (bells, name, sending) = (self.bells.clone(), self.name.clone(), self.sending.clone());
        tokio::spawn(async move {
            tokio::time::sleep(GATHER).await;
            sending.store(false, Ordering::Release);
            // Another text each time: what is set to what it was is no change.
            let update = doc! { "$set": { "rung": format!("{} {}", bells.origin, Token::random()) } };
            let sent = bells.link.bell.update_one(doc! { "_id": name }, update).upsert(true);
            if let Err(error) = bells.link.run("ring", async { sent.await }).await {
                tracing::debug!(error = %error.report(), "cannot wake the workers of other processes: they poll");
            }
        });
    }

    /// Returns when it rings, has rung since the last wait, or the time is over.
    pub(crate) async fn wait(&self, timeout: Duration) {
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

/// Who rang: what the event itself says, since the document may have been changed by another one since.
fn rung_by(event: &ChangeStreamEvent<Document>) -> Option<&str> {
    let updated = event.update_description.as_ref().map(|update| &update.updated_fields);
    updated.or(event.full_document.as_ref())?.get_str("rung").ok()
}

async fn listen(link: Arc<Link>, origin: String, ropes: Ropes) {
    let ring = |name: Option<&str>| {
        let ropes = ropes.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, rung) in ropes.iter().filter(|(rope, _)| name.is_none_or(|name| name == *rope)) {
            rung.send_modify(|count| *count += 1);
        }
    };
    let mut pause = SHORTEST_PAUSE;
    loop {
        let opening = link.bell.watch().max_await_time(AWAIT);
        match link.run("listen", async { opening.await }).await {
            Ok(mut stream) => {
                pause = SHORTEST_PAUSE;
                // What rang before the stream was open was not heard.
                ring(None);
                // A stream whose collection is dropped ends, and answers that there is nothing for ever.
                while stream.is_alive() {
                    match stream.next_if_any().await {
                        Ok(Some(event)) => {
                            if !rung_by(&event).is_some_and(|by| by.starts_with(&origin)) {
                                ring(event.document_key.as_ref().and_then(|key| key.get_str("_id").ok()));
                            }
                        }
                        Ok(None) => {}
                        Err(error) => {
                            tracing::debug!(%error, "the workers' bell is not heard for a moment: they poll");
                            break;
                        }
                    }
                }
            }
            Err(error) => tracing::debug!(error = %error.report(), "cannot listen for jobs: workers poll"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
