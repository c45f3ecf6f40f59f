//! The store and queue by a URL.

use std::sync::Arc;

use smache::{
    Result,
    backend::{Backend, SystemClock},
    connect as connect_to,
    kv::KvBackend,
};

use crate::log_store::{Durability, LogStore};

/// Connects the backend of a URL: those of [`smache::connect`], and `log:PATH` for the key-value store of the example
/// in a file, which one process can open.
pub(crate) async fn connect(url: &str) -> Result<Arc<dyn Backend>> {
    match url.strip_prefix("log:") {
        Some(path) => Ok(Arc::new(KvBackend::new(LogStore::open(path, Durability::Disk, SystemClock)?))),
        None => connect_to(url).await,
    }
}
