//! What wakes waiting workers of other processes: a change of one small collection.
//!
//! A namespace has one document there, which is written to when jobs are added: often for one at a time, once for many.
//! One change stream a process tells of all of them.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use mongodb::{
    bson::{Document, doc},
    change_stream::event::ChangeStreamEvent,
};
use smache_core::{NotifierTransport, Result, Subscriber, Token};

use crate::{error::classify, link::Link};

/// How long the server waits for a change before it answers that there was none.
const AWAIT: Duration = Duration::from_secs(5);

/// The collection with a document for each namespace, which changes with each message.
#[derive(Debug)]
pub(crate) struct Messages(pub(crate) Arc<Link>);

#[async_trait]
impl NotifierTransport for Messages {
    async fn publish(&self, origin: &str, namespace: &str) -> Result<()> {
        // Another text each time: what is set to what it was is no change.
        let update = doc! { "$set": { "message": format!("{origin} {}", Token::random()) } };
        let sent = self.0.notifier.update_one(doc! { "_id": namespace }, update).upsert(true);
        self.0.run("notify", async { sent.await }).await.map(drop)
    }

    async fn listen(&self, subscriber: Subscriber) -> Result<()> {
        let opening = self.0.notifier.watch().max_await_time(AWAIT);
        let mut stream = self.0.run("listen", async { opening.await }).await?;
        subscriber.subscribed();
        // A stream whose collection is dropped ends, and answers that there is nothing for ever.
        while stream.is_alive() {
            let event = stream.next_if_any().await.map_err(|error| classify(error, "listening for jobs"))?;
            if let Some(event) = event {
                match sender(&event) {
                    Some((origin, namespace)) => subscriber.notify(origin, namespace),
                    None => subscriber.notify_all(),
                }
            }
        }
        Ok(())
    }

    fn debounce(&self) -> Duration {
        Duration::from_millis(5)
    }
}

/// Which process has notified which namespace: as the event says, since the document may have changed again.
fn sender(event: &ChangeStreamEvent<Document>) -> Option<(&str, &str)> {
    let updated = event.update_description.as_ref().map(|update| &update.updated_fields);
    let (origin, _) = updated.or(event.full_document.as_ref())?.get_str("message").ok()?.split_once(' ')?;
    Some((origin, event.document_key.as_ref()?.get_str("_id").ok()?))
}
