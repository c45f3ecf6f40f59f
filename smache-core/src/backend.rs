//! A backend: what gives a store, a queue or both, for a namespace.

use std::{fmt::Debug, sync::Arc};

use crate::{CacheStore, JobQueue, Namespace, Result};

/// Something that can be a store, a queue, or both at once.
///
/// # Errors
/// A role that a backend does not have: [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported).
pub trait Backend: Debug + Send + Sync + 'static {
    /// A store that reports the entries that need a job: its queue is another backend.
    fn store(&self, namespace: &Namespace) -> Result<Arc<dyn CacheStore>>;

    /// A queue of its own.
    fn queue(&self, namespace: &Namespace) -> Result<Arc<dyn JobQueue>>;

    /// Both: the store writes the jobs of the queue in the same step as the invalidation.
    fn both(&self, namespace: &Namespace) -> Result<(Arc<dyn CacheStore>, Arc<dyn JobQueue>)>;
}

/// A backend that was picked at run time, for example by its URL.
impl<B: Backend + ?Sized> Backend for Arc<B> {
    fn store(&self, namespace: &Namespace) -> Result<Arc<dyn CacheStore>> {
        (**self).store(namespace)
    }

    fn queue(&self, namespace: &Namespace) -> Result<Arc<dyn JobQueue>> {
        (**self).queue(namespace)
    }

    fn both(&self, namespace: &Namespace) -> Result<(Arc<dyn CacheStore>, Arc<dyn JobQueue>)> {
        (**self).both(namespace)
    }
}
