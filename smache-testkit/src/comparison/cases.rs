//! The cases.

use super::{Shape, compare};
use crate::BackendHarness;

/// Beyond the contract: a store and a queue that share their steps do and keep what the protocol says.
pub async fn store_and_queue_agree_with_the_protocol(harness: BackendHarness) {
    compare(&harness, Shape::Together).await;
}

/// Beyond the contract: a store that reports the entries that need a job does and keeps what the protocol says.
pub async fn store_alone_agrees_with_the_protocol(harness: BackendHarness) {
    compare(&harness, Shape::StoreAlone).await;
}

/// Beyond the contract: a queue alone does and keeps what the protocol says.
pub async fn queue_alone_agrees_with_the_protocol(harness: BackendHarness) {
    compare(&harness, Shape::QueueAlone).await;
}
