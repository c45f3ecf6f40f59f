//! What wakes waiting workers: a message on a channel, which may be lost and never means more than "look again".

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::StreamExt;
use redis::{Client, RedisResult, aio::PubSub};
use tokio::{sync::watch, task::JoinHandle};

use crate::connection::{Link, provide_cryptography};

const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// One subscription, opened by the first who waits and shared by all who do.
pub(super) struct Bell {
    client: Client,
    connect_timeout: Duration,
    channel: String,
    /// How often it rang.
    rung: Arc<watch::Sender<u64>>,
    /// How much of that somebody has been told, so that nobody sleeps through what rang between two waits.
    told: AtomicU64,
    listener: Mutex<Option<JoinHandle<()>>>,
}

impl Bell {
    pub(super) fn new(link: &Link, channel: String) -> Self {
        Self {
            client: link.client().clone(),
            connect_timeout: link.connect_timeout(),
            channel,
            rung: Arc::new(watch::Sender::new(0)),
            told: AtomicU64::new(0),
            listener: Mutex::default(),
        }
    }

    /// Returns when it rings, has rung since the last wait, or the time is over.
    pub(super) async fn wait(&self, timeout: Duration) {
        let mut rung = self.rung.subscribe();
        let count = *rung.borrow_and_update();
        if self.told.fetch_max(count, Ordering::AcqRel) < count {
            return;
        }
        self.listen();
        if let Ok(Ok(())) = tokio::time::timeout(timeout, rung.changed()).await {
            self.told.fetch_max(*rung.borrow(), Ordering::AcqRel);
        }
    }

    /// Starts the listener, unless it runs.
    fn listen(&self) {
        let mut listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner);
        if listener.as_ref().is_none_or(JoinHandle::is_finished) {
            let (client, channel, rung) = (self.client.clone(), self.channel.clone(), self.rung.clone());
            *listener = Some(tokio::spawn(listen(client, self.connect_timeout, channel, rung)));
        }
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        if let Some(listener) = self.listener.get_mut().unwrap_or_else(PoisonError::into_inner) {
            listener.abort();
        }
    }
}

async fn listen(client: Client, connect_timeout: Duration, channel: String, rung: Arc<watch::Sender<u64>>) {
    let ring = || rung.send_modify(|count| *count += 1);
    let mut pause = SHORTEST_PAUSE;
    loop {
        match tokio::time::timeout(connect_timeout, subscribe(&client, &channel)).await {
            Ok(Ok(mut subscription)) => {
                pause = SHORTEST_PAUSE;
                // What rang before the subscription held was not heard.
                ring();
                let mut messages = subscription.on_message();
                while messages.next().await.is_some() {
                    ring();
                }
            }
            Ok(Err(error)) => tracing::debug!(%error, %channel, "cannot subscribe: workers poll"),
            Err(_) => tracing::debug!(%channel, "cannot subscribe in time: workers poll"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn subscribe(client: &Client, channel: &str) -> RedisResult<PubSub> {
    provide_cryptography();
    let mut subscription = client.get_async_pubsub().await?;
    subscription.subscribe(channel).await?;
    Ok(subscription)
}
