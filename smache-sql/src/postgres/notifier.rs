//! Wakes waiting workers of other processes: a notification on one channel of the database.
//!
//! It is sent after the step and not in it: a transaction that notifies holds a lock of the whole database until its
//! commit is on disk, so that all steps with jobs would queue for the disk one by one.

use std::sync::Arc;

use async_trait::async_trait;
use smache_core::{NotifierTransport, Result, Subscriber};
use sqlx::postgres::PgListener;

use super::link::Link;
use crate::error::failed;

const CHANNEL: &str = "smache_jobs";
const NOTIFY: &str = "SELECT pg_notify('smache_jobs', $1)";

/// The notifications of a database.
#[derive(Debug)]
pub(super) struct Notifications(pub(super) Arc<Link>);

#[async_trait]
impl NotifierTransport for Notifications {
    async fn publish(&self, origin: &str, namespace: &str) -> Result<()> {
        let message = format!("{origin} {namespace}");
        self.0.step("notify", NOTIFY, |query| query.bind(message.clone())).await.map(drop)
    }

    async fn listen(&self, subscriber: Subscriber) -> Result<()> {
        let broken = |error| failed(error, &self.0.server);
        let mut listener = PgListener::connect_with(&self.0.listener_pool()).await.map_err(broken)?;
        listener.listen(CHANNEL).await.map_err(broken)?;
        subscriber.subscribed();
        while let Some(notification) = listener.try_recv().await.map_err(broken)? {
            if let Some((origin, namespace)) = notification.payload().split_once(' ') {
                subscriber.notify(origin, namespace);
            }
        }
        Ok(())
    }
}
