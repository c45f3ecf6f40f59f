//! Wakes waiting workers of other processes by a change of one small collection.
//!
//! Each namespace has one document there, which the queue changes after it has added one job or many. One change stream
//! in each process reports the changes of all of them.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use mongodb::{
    bson::{Document, doc},
    change_stream::event::ChangeStreamEvent,
};
use smache_core::{NotifierTransport, Result, Subscriber, Token};

use crate::{error::classify, link::Link};

/// How long the server waits for a change before it answers without one.
const AWAIT: Duration = Duration::from_secs(5);

/// The collection with a document for each namespace, which changes with each message.
#[derive(Debug)]
pub(crate) struct Messages(pub(crate) Arc<Link>);

#[async_trait]
impl NotifierTransport for Messages {
    async fn publish(&self, origin: &str, namespace: &str) -> Result<()> {
        // A new text each time: setting the same value is no change.
        let update = doc! { "$set": { "message": format!("{origin} {}", Token::random()) } };
        let sent = self.0.notifier.update_one(doc! { "_id": namespace }, update).upsert(true);
        self.0.run("notify", async { sent.await }).await.map(drop)
    }

    async fn listen(&self, subscriber: Subscriber) -> Result<()> {
        let opening = self.0.notifier.watch().max_await_time(AWAIT);
        let mut stream = self.0.run("listen", async { opening.await }).await?;
        subscriber.subscribed();
        // The stream of a dropped collection ends, and would answer "no event" without end.
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

/// The namespace and the process that sent the notification, from the event: the document may have changed again.
fn sender(event: &ChangeStreamEvent<Document>) -> Option<(&str, &str)> {
    let updated = event.update_description.as_ref().map(|update| &update.updated_fields);
    let (origin, _) = updated.or(event.full_document.as_ref())?.get_str("message").ok()?.split_once(' ')?;
    Some((origin, event.document_key.as_ref()?.get_str("_id").ok()?))
}
