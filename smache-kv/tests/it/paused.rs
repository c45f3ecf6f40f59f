//! A key-value store that pauses before each transaction, so that a test can stop a step between two of them.

use async_trait::async_trait;
use smache_core::Result;
use smache_kv::{Access, KeyValue, Started};

/// The store, with pauses.
#[derive(Debug)]
pub(crate) struct Paused<K>(pub(crate) K);

#[async_trait]
impl<K: KeyValue> KeyValue for Paused<K> {
    async fn begin(&self, access: Access) -> Result<Started> {
        pause().await;
        self.0.begin(access).await
    }
}

/// Is ready when it is polled for the second time.
async fn pause() {
    let mut polled = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut polled, true) {
            return std::task::Poll::Ready(());
        }
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}
