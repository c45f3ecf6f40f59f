//! Wakes waiting workers by messages on a channel, which the steps that add jobs publish.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use futures_util::StreamExt;
use redis::{Client, RedisResult, aio::PubSub};
use smache_core::{Error, ErrorKind, NotifierTransport, Result, Subscriber};

use crate::{
    connection::{Link, provide_cryptography},
    error::failed,
};

/// The channel of a namespace. Its messages do not name their sender: a process also receives those that it sent.
pub(super) struct Channel {
    client: Client,
    connect_timeout: Duration,
    name: String,
}

impl Channel {
    pub(super) fn new(link: &Link, name: String) -> Self {
        Self { client: link.client().clone(), connect_timeout: link.connect_timeout(), name }
    }

    async fn subscribe(&self) -> RedisResult<PubSub> {
        provide_cryptography();
        let mut subscription = self.client.get_async_pubsub().await?;
        subscription.subscribe(&self.name).await?;
        Ok(subscription)
    }
}

#[async_trait]
impl NotifierTransport for Channel {
    async fn listen(&self, subscriber: Subscriber) -> Result<()> {
        let subscribed = tokio::time::timeout(self.connect_timeout, self.subscribe()).await.map_err(|_| {
            Error::new(ErrorKind::Timeout, "cannot subscribe in time").with_context("channel", &self.name)
        })?;
        let server = self.client.get_connection_info().addr().to_string();
        let mut subscription = subscribed.map_err(|error| failed(error, &server))?;
        subscriber.subscribed();
        let mut messages = subscription.on_message();
        while messages.next().await.is_some() {
            subscriber.notify_all();
        }
        Ok(())
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The client is left out: it may hold a password.
        f.debug_struct("Channel").field("name", &self.name).finish_non_exhaustive()
    }
}
