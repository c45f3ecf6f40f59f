//! A backend: makes a store, a queue or both for a namespace.

use std::{fmt::Debug, sync::Arc};

use crate::{CacheStore, JobQueue, Namespace, Result};

/// A server or library that can be a store, a queue, or both at once.
///
/// # Errors
/// A role that a backend does not have: [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported).
pub trait Backend: Debug + Send + Sync + 'static {
    /// A store whose queue is another backend: it reports the entries that need a job.
    fn store(&self, namespace: &Namespace) -> Result<Arc<dyn CacheStore>>;

    /// A queue whose store is another backend.
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
