//! The tracking context: what a computed function reads through it, its result depends on.

use std::{
    any::{Any, TypeId, type_name},
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    DataSource, Dependency, Entity, EntityKey, EntityType, Error, ErrorKind, Image, Record, Result, SourceId, State,
    Timestamp, Used, Via,
    system::{Inner, Kid, Nest},
};

/// The context of one run of a computed function. Cheap to clone.
///
/// Reads go to the sources *after* the run began, and are remembered as dependencies without a round trip to the store.
#[derive(Clone)]
pub struct Cx {
    inner: Arc<Inner>,
    nest: Nest,
    tracked: Arc<Mutex<Tracked>>,
}

/// What a run used so far.
#[derive(Debug, Default)]
pub(crate) struct Tracked {
    used: BTreeMap<Dependency, Via>,
    sources: BTreeSet<SourceId>,
    kids: Vec<Kid>,
    not_after: Option<Timestamp>,
    tainted: bool,
}

impl Tracked {
    pub(crate) fn direct(&mut self, dependency: Dependency) {
        self.used.insert(dependency, Via::Direct);
    }

    /// The result of a nested call: its leaves are the parent's own from now on, and it ends no later than the child.
    pub(crate) fn child(&mut self, kid: Kid, record: &Record) {
        let leaves = record.used.iter().map(|used| used.dependency);
        for dependency in leaves.chain([Dependency::entry(&kid.id)]) {
            self.used.entry(dependency).or_insert(Via::Child);
        }
        record.entry.epochs.sources.iter().for_each(|(source, _)| self.source(source));
        self.not_after = [self.not_after, record.entry.expires].into_iter().flatten().min();
        self.kids.push(kid);
    }

    /// Something was used that may not be fresh.
    pub(crate) fn taint(&mut self, dependency: Dependency) {
        self.used.insert(dependency, Via::Direct);
        self.tainted = true;
    }

    pub(crate) fn is_tainted(&self) -> bool {
        self.tainted
    }

    pub(crate) fn kids(&self) -> &[Kid] {
        &self.kids
    }

    pub(crate) fn not_after(&self) -> Option<Timestamp> {
        self.not_after
    }

    pub(crate) fn source(&mut self, source: &SourceId) {
        if !self.sources.contains(source) {
            self.sources.insert(source.clone());
        }
    }

    pub(crate) fn used(&self) -> Vec<Used> {
        self.used.iter().map(|(&dependency, &via)| Used { dependency, via }).collect()
    }

    pub(crate) fn sources(&self) -> &BTreeSet<SourceId> {
        &self.sources
    }
}

impl Cx {
    pub(crate) fn new(inner: Arc<Inner>, nest: Nest) -> Self {
        Self { inner, nest, tracked: Arc::default() }
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    /// Where a nested call of this run happens.
    pub(crate) fn nest(&self) -> Nest {
        self.nest
    }

    pub(crate) fn tracked(&self) -> MutexGuard<'_, Tracked> {
        // A panic while it was held left a set that is complete up to that read: still right to use.
        self.tracked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Loads an entity that the call names: the argument of an [`Entity`] parameter.
    ///
    /// # Errors
    /// [`ErrorKind::Gone`] when it does not exist: the call then has no result and its entry is removed.
    /// [`ErrorKind::Unregistered`] when its source is not registered; the source's own errors.
    pub async fn entity<T: EntityType>(&self, id: &T::Id) -> Result<Entity<T>> {
        self.load(id).await?.ok_or_else(|| {
            let message = format!("the entity {id:?} of `{}` does not exist", T::SOURCE);
            Error::new(ErrorKind::Gone, message)
        })
    }

    /// Loads an entity. That it does not exist is an answer that is tracked like any other.
    ///
    /// # Errors
    /// [`ErrorKind::Unregistered`] when its source is not registered; the source's own errors.
    pub async fn load<T: EntityType>(&self, id: &T::Id) -> Result<Option<Entity<T>>> {
        let mut entities = self.load_many::<T>(std::slice::from_ref(id)).await?;
        Ok(entities.pop().flatten())
    }

    /// Loads entities in one round trip to their source, in the order of the ids.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub async fn load_many<T: EntityType>(&self, ids: &[T::Id]) -> Result<Vec<Option<Entity<T>>>> {
        let source = self.source_of::<T>()?;
        let keys = ids.iter().map(EntityKey::encode).collect::<Result<Vec<_>>>()?;
        {
            let mut tracked = self.tracked();
            tracked.source(source.id());
            keys.iter().for_each(|key| tracked.direct(Dependency::entity(source.id(), key)));
        }
        let images = source.load(&keys).await.map_err(|error| error.with_context("source", T::SOURCE))?;
        if images.len() != keys.len() {
            let message =
                format!("the source `{}` answered {} entities for {} ids", T::SOURCE, images.len(), keys.len());
            return Err(Error::new(ErrorKind::Internal, message));
        }
        images.into_iter().map(|image| image.map(|image| entity(&image)).transpose()).collect()
    }

    /// Loads all entities of a source: anything that changes in it makes the result stale.
    ///
    /// # Errors
    /// As [`load`](Self::load), and [`ErrorKind::Unsupported`] where the source cannot list.
    pub async fn all<T: EntityType>(&self) -> Result<Vec<Entity<T>>> {
        let source = self.source_of::<T>()?;
        {
            let mut tracked = self.tracked();
            tracked.source(source.id());
            tracked.direct(Dependency::source(source.id()));
        }
        let images = source.list().await.map_err(|error| error.with_context("source", T::SOURCE))?;
        images.iter().map(entity).collect()
    }

    /// Makes the result depend on a tag: [`Smache::changed_tag`](crate::Smache::changed_tag) makes it stale.
    pub fn depends_on_tag(&self, tag: &str) {
        let mut tracked = self.tracked();
        tracked.source(&SourceId::application());
        tracked.direct(Dependency::tag(tag));
    }

    /// The application's state of a type.
    ///
    /// # Errors
    /// [`ErrorKind::Unregistered`] when the builder was not given one.
    pub fn state<T: Send + Sync + 'static>(&self) -> Result<State<T>> {
        let state = self.inner.states.get(&TypeId::of::<T>()).and_then(|state| Arc::clone(state).downcast().ok());
        state.map(State::shared).ok_or_else(|| {
            let name = type_name::<T>();
            let fix = "give it to the builder with `.state(value)`";
            Error::new(ErrorKind::Unregistered, format!("there is no state of type `{name}`: {fix}"))
        })
    }

    fn source_of<T: EntityType>(&self) -> Result<&Arc<dyn DataSource>> {
        self.inner.source_of::<T>()
    }
}

fn entity<T: EntityType>(image: &Image) -> Result<Entity<T>> {
    image.get().map(Entity::shared)
}

/// The states of an application, by type.
pub(crate) type States = std::collections::HashMap<TypeId, Arc<dyn Any + Send + Sync>>;

impl fmt::Debug for Cx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cx").field("tracked", &*self.tracked()).finish_non_exhaustive()
    }
}
