//! The source: a table of entities.

mod feed;
mod table;

#[cfg(test)]
mod tests;

use std::{
    fmt,
    marker::PhantomData,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use smache_core::{
    Capability, ChangeFeed, DataSource, EntityKey, EntityKind, EntityType, Examination, FeedId, Filter, Image, Result,
    SourceId, Topic,
};
use tokio::sync::Notify;

use self::{feed::MemoryFeed, table::Table};

/// Default number of changes in the history.
const DEFAULT_HISTORY: usize = 10_000;

/// A table of entities in the memory of this process, with a feed.
///
/// Clones share the table. Every write is visible before the feed delivers it, and the feed knows the entity before and
/// after the change. The history is bounded: a reader that falls behind it gets an error that it lost history.
///
/// ```
/// use smache_core::EntityType;
/// use smache_memory::MemorySource;
///
/// #[derive(Clone)]
/// struct User { id: u32, name: &'static str }
///
/// impl EntityType for User {
///     type Id = u32;
///     const SOURCE: &'static str = "users";
///     fn id(&self) -> &u32 { &self.id }
/// }
///
/// let users = MemorySource::<User>::new();
/// users.insert(User { id: 7, name: "Anna" })?;
/// users.update(&7, |user| user.name = "Ann")?;
/// assert_eq!(users.get(&7)?.expect("inserted above").name, "Ann");
/// # Ok::<(), smache_core::Error>(())
/// ```
pub struct MemorySource<T> {
    shared: Arc<Shared>,
    with_feed: bool,
    of: PhantomData<fn() -> T>,
}

#[derive(Debug)]
struct Shared {
    source: SourceId,
    feed: FeedId,
    table: Mutex<Table>,
    written: Notify,
}

impl<T: EntityType + Clone> MemorySource<T> {
    /// An empty table with a feed that remembers 10,000 changes.
    ///
    /// # Panics
    /// When [`EntityType::SOURCE`] is no [`SourceId`], or longer than 121 bytes.
    #[must_use]
    pub fn new() -> Self {
        Self::with_history(DEFAULT_HISTORY)
    }

    /// An empty table with a feed that remembers `changes` changes, at least one.
    ///
    /// # Panics
    /// As [`new`](Self::new).
    #[must_use]
    pub fn with_history(changes: usize) -> Self {
        let source = SourceId::new(T::SOURCE);
        let feed = FeedId::new(format!("memory:{}", T::SOURCE));
        let (source, feed) = source.and_then(|source| Ok((source, feed?))).unwrap_or_else(|error| {
            panic!("the source of `{}` cannot be used: {error}", std::any::type_name::<T>());
        });
        let shared = Shared { source, feed, table: Mutex::new(Table::new(changes.max(1))), written: Notify::new() };
        Self { shared: Arc::new(shared), with_feed: true, of: PhantomData }
    }

    /// An empty table without a feed: only the application reports changes.
    ///
    /// # Panics
    /// As [`new`](Self::new).
    #[must_use]
    pub fn without_feed() -> Self {
        Self { with_feed: false, ..Self::with_history(1) }
    }

    /// Inserts an entity, or replaces the one of the same id. Returns the replaced one.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`](smache_core::ErrorKind::Argument) when the id cannot be encoded.
    pub fn insert(&self, entity: T) -> Result<Option<Arc<T>>> {
        let key = EntityKey::encode(entity.id())?;
        let image = Image::new(entity);
        let changed = self.changed();
        self.write(|table, source| table.put(source, key, image, changed)).map(|before| before.get()).transpose()
    }

    /// Changes an entity in place. Returns whether there is one. A change of the id moves it.
    ///
    /// The closure runs while the table is locked: it must not use the source.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`](smache_core::ErrorKind::Argument) when the id cannot be encoded.
    pub fn update(&self, id: &T::Id, change: impl FnOnce(&mut T)) -> Result<bool> {
        let key = EntityKey::encode(id)?;
        let changed = self.changed();
        // Before the lock is released, so that no other update is lost.
        self.write(|table, source| {
            let Some(image) = table.get(&key) else { return Ok(false) };
            let mut entity = T::clone(&*image.get::<T>()?);
            change(&mut entity);
            let new_key = EntityKey::encode(entity.id())?;
            if new_key != key {
                table.remove(source, &key);
            }
            table.put(source, new_key, Image::new(entity), changed);
            Ok(true)
        })
    }

    /// Removes an entity and returns it.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`](smache_core::ErrorKind::Argument) when the id cannot be encoded.
    pub fn remove(&self, id: &T::Id) -> Result<Option<Arc<T>>> {
        let key = EntityKey::encode(id)?;
        self.write(|table, source| table.remove(source, &key)).map(|image| image.get()).transpose()
    }

    /// The entity of an id.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`](smache_core::ErrorKind::Argument) when the id cannot be encoded.
    pub fn get(&self, id: &T::Id) -> Result<Option<Arc<T>>> {
        let key = EntityKey::encode(id)?;
        let image = self.shared.table().get(&key);
        image.map(|image| image.get()).transpose()
    }

    /// All entities, by id.
    #[must_use]
    pub fn values(&self) -> Vec<Arc<T>> {
        let images = self.shared.table().list();
        images.iter().map(|image| image.get().expect("the table holds entities of one type")).collect()
    }

    /// Returns the fields of [`EntityType::fields`] that differ between two images; `None` if the type has none.
    fn changed(&self) -> impl FnOnce(&Image, &Image) -> Option<Vec<String>> + use<T> {
        let fields = T::fields();
        move |before, after| {
            let images = (before.get::<T>().ok()?, after.get::<T>().ok()?);
            (!fields.is_empty()).then(|| fields.changed(&images.0, &images.1))
        }
    }

    fn write<R>(&self, write: impl FnOnce(&mut Table, &SourceId) -> R) -> R {
        let answer = write(&mut self.shared.table(), &self.shared.source);
        self.shared.written.notify_waiters();
        answer
    }
}

impl<T> MemorySource<T> {
    /// The number of entities.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.table().len()
    }

    /// Whether the table is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: EntityType + Clone> Default for MemorySource<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Clone for MemorySource<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), with_feed: self.with_feed, of: PhantomData }
    }
}

impl<T> fmt::Debug for MemorySource<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shared, with_feed, .. } = self;
        f.debug_struct("MemorySource")
            .field("source", &shared.source)
            .field("with_feed", with_feed)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        // The only foreign code under this lock is the closure of `update`, which works on a copy: a panic there leaves
        // the table whole.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl<T: EntityType + Clone> DataSource for MemorySource<T> {
    fn id(&self) -> &SourceId {
        &self.shared.source
    }

    fn kind(&self) -> EntityKind {
        EntityKind::of::<T>()
    }

    async fn load(&self, keys: &[EntityKey]) -> Result<Vec<Option<Image>>> {
        let table = self.shared.table();
        Ok(keys.iter().map(|key| table.get(key)).collect())
    }

    async fn list(&self) -> Result<Vec<Image>> {
        Ok(self.shared.table().list())
    }

    async fn find(&self, filter: &Filter) -> Result<Vec<Image>> {
        // Outside the lock, since the comparison runs the entities' code.
        let mut found = self.shared.table().list();
        let mut outcome = Ok(());
        found.retain(|image| {
            filter.matches(image).unwrap_or_else(|error| {
                outcome = Err(error);
                false
            })
        });
        outcome.map(|()| found)
    }

    async fn examine(&self) -> Result<Examination> {
        let entities = self.len();
        let feed = if self.with_feed { "with" } else { "without" };
        Ok(Examination::new(format!("a table of {entities} entities in this process, {feed} a feed")))
    }

    fn capabilities(&self) -> &[Capability] {
        const ALL: [Capability; 3] = [Capability::List, Capability::Find, Capability::BeforeImages];
        if self.with_feed { &ALL } else { &ALL[..2] }
    }

    fn feed(&self) -> Option<(Arc<dyn ChangeFeed>, Topic)> {
        if !self.with_feed {
            return None;
        }
        let topic = Topic::new(self.shared.source.clone(), T::SOURCE);
        Some((Arc::new(MemoryFeed::new(Arc::clone(&self.shared))), topic))
    }
}
