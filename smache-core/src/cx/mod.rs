//! The tracking context: what a computed function reads through it, its result depends on.

use std::{
    any::{Any, TypeId, type_name},
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

mod failed;
mod predicate;

pub(crate) use self::failed::FailedReads;
use crate::{
    Capability, DataSource, Dependency, DependencyKind, Entity, EntityKey, EntityType, Error, ErrorKind, Fields,
    Freshness, FunctionKey, Image, Predicate, Record, Result, SourceId, State, Timestamp, Used, Via,
    on::DependsOn,
    source::{can, demand},
    system::{Inner, Kid, Meta, NameHash, Nest},
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
    /// Those that the function itself read, not only its nested calls.
    own: BTreeSet<SourceId>,
    /// Those that nested calls depend on.
    inherited: BTreeSet<SourceId>,
    kids: Vec<Kid>,
    /// Every function that was called, directly or through others.
    called: BTreeMap<FunctionKey, NameHash>,
    not_after: Option<Timestamp>,
    /// The oldest state of the data that a nested call showed which did not stay fresh.
    oldest: Option<Timestamp>,
    tainted: bool,
    /// Whether a source or a nested call was away.
    outage: bool,
}

/// What a commit stores of what a run used.
pub(crate) enum Kept {
    /// All of it.
    All(Vec<Used>),
    /// Whole sources instead of single entities, of which there were too many.
    Coarse(Vec<Used>),
    /// Too much even so: that many.
    TooMuch(usize),
}

impl Tracked {
    pub(crate) fn direct(&mut self, dependency: Dependency) {
        self.used.insert(dependency, Via::Direct);
    }

    /// The result of a nested call: its leaves are the parent's own from now on, and it ends no later than the child.
    pub(crate) fn child(&mut self, kid: Kid, record: &Record, meta: &Meta) {
        self.called.extend(meta.called.iter().copied());
        let leaves = record.used.iter().map(|used| used.dependency);
        for dependency in leaves.chain([Dependency::entry(&kid.id)]) {
            self.used.entry(dependency).or_insert(Via::Child);
        }
        for (source, _) in &record.entry.epochs.sources {
            self.source(source);
            if !source.is_reserved() && !self.inherited.contains(source) {
                self.inherited.insert(source.clone());
            }
        }
        self.not_after = [self.not_after, record.entry.expires].into_iter().flatten().min();
        self.kids.push(kid);
    }

    /// Something was used that may not be fresh.
    pub(crate) fn taint(&mut self, dependency: Dependency) {
        self.used.insert(dependency, Via::Direct);
        self.tainted = true;
    }

    /// Something that the run needed was away: an error of its own is no failure of its own.
    pub(crate) fn met_outage(&mut self) {
        self.outage = true;
    }

    pub(crate) fn has_met_outage(&self) -> bool {
        self.outage
    }

    /// A value was used that is not fresh.
    pub(crate) fn reflects(&mut self, freshness: Freshness) {
        if let Freshness::Stale { since } | Freshness::Unvouched { since: Some(since) } = freshness {
            self.oldest = Some(self.oldest.map_or(since, |oldest| oldest.min(since)));
        }
    }

    /// The time from before which the result reflects everything, for a run that began at a time.
    pub(crate) fn reflected(&self, begun: Timestamp) -> Timestamp {
        self.oldest.map_or(begun, |oldest| oldest.min(begun))
    }

    /// An outcome that no data explains: the run is to be tried again.
    pub(crate) fn unexplained(&mut self) {
        self.tainted = true;
    }

    /// A nested call ended in an error, which is an outcome like any other. Its leaves are direct ones of the parent: there
    /// is no value that could come out equal.
    pub(crate) fn failed_child(&mut self, child: Dependency, error: &Error, started: Option<u64>) {
        self.direct(child);
        self.outage |= error.is_outage();
        let Some(reads) = error.reads().filter(|_| error.is_explained()) else {
            // The arguments alone explain an error without a run.
            self.tainted |= !error.is_explained();
            return;
        };
        for &leaf in &reads.leaves {
            self.direct(leaf);
        }
        for source in &reads.sources {
            self.source(source);
            if !source.is_reserved() {
                self.inherited.insert(source.clone());
            }
        }
        self.called.extend(&reads.called);
        self.not_after = [self.not_after, reads.not_after].into_iter().flatten().min();
        self.tainted |= reads.tainted || started.is_some_and(|started| reads.began_before(started));
    }

    pub(crate) fn is_tainted(&self) -> bool {
        self.tainted
    }

    /// A function is called, whatever comes of it.
    pub(crate) fn calls(&mut self, (function, name): (FunctionKey, NameHash)) {
        self.called.insert(function, name);
    }

    pub(crate) fn called(&self) -> Vec<(FunctionKey, NameHash)> {
        self.called.iter().map(|(&function, &name)| (function, name)).collect()
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

    /// A source that the function itself reads.
    pub(crate) fn reads(&mut self, source: &SourceId) {
        self.source(source);
        if !self.own.contains(source) {
            self.own.insert(source.clone());
        }
    }

    pub(crate) fn inherited(&self) -> &BTreeSet<SourceId> {
        &self.inherited
    }

    pub(crate) fn own(&self) -> &BTreeSet<SourceId> {
        &self.own
    }

    /// What was used, at most that many things: beyond it, every source counts as read as a whole.
    pub(crate) fn used(&self, limit: usize) -> Kept {
        let all = || self.used.iter().map(|(&dependency, &via)| Used { dependency, via });
        if self.used.len() <= limit {
            return Kept::All(all().collect());
        }
        let of_a_source = |used: &Used| {
            use DependencyKind::{Blind, Entity, Field, Predicate, Relation, Row};
            matches!(used.dependency.kind(), Some(Entity | Row | Field | Predicate | Relation | Blind))
        };
        let mut kept: BTreeMap<Dependency, Via> = BTreeMap::new();
        for used in all().filter(|used| !of_a_source(used)) {
            kept.insert(used.dependency, used.via);
        }
        for source in self.sources.iter().filter(|source| !source.is_reserved()) {
            let direct = all().any(|used| used.via == Via::Direct && used.dependency.may_be_of(source));
            kept.insert(Dependency::source(source), if direct { Via::Direct } else { Via::Child });
        }
        if kept.len() > limit {
            return Kept::TooMuch(kept.len());
        }
        Kept::Coarse(kept.into_iter().map(|(dependency, via)| Used { dependency, via }).collect())
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
        self.load(id).await?.ok_or_else(|| gone::<T>(id))
    }

    /// Loads an entity. That it does not exist is an answer that is tracked like any other.
    ///
    /// # Errors
    /// [`ErrorKind::Unregistered`] when its source is not registered; the source's own errors.
    pub async fn load<T: EntityType>(&self, id: &T::Id) -> Result<Option<Entity<T>>> {
        let mut entities = self.load_many::<T>(std::slice::from_ref(id)).await?;
        Ok(entities.pop().flatten())
    }

    /// Loads an entity of which the caller reads some fields only: a change that is known to leave them as they are does
    /// not make the result stale. That nothing else is read, only the caller knows.
    ///
    /// # Errors
    /// As [`load`](Self::load), and [`ErrorKind::Unsupported`] for a field that is not declared: [`EntityType::fields`].
    pub async fn load_fields<T: EntityType>(
        &self,
        id: &T::Id,
        fields: impl Into<Fields<T>>,
    ) -> Result<Option<Entity<T>>> {
        let source = self.source_of::<T>()?;
        let key = EntityKey::encode(id)?;
        let (fields, declared) = (fields.into().names(), T::fields().names());
        if let Some(unknown) = fields.iter().find(|field| !declared.contains(field)) {
            let fix = "mark it with `#[entity(field)]`";
            let message = format!("the field `{unknown}` of the source `{}` is not declared: {fix}", T::SOURCE);
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        {
            let mut tracked = self.tracked();
            tracked.reads(source.id());
            tracked.direct(Dependency::row(source.id(), &key));
            fields.iter().for_each(|field| tracked.direct(Dependency::field(source.id(), &key, field)));
        }
        let mut entities = self.explained(loaded(source, &[key]).await)?;
        Ok(entities.pop().flatten())
    }

    /// Loads some fields of an entity that the call names: the argument of a narrowed [`Entity`] parameter.
    ///
    /// # Errors
    /// As [`entity`](Self::entity) and [`load_fields`](Self::load_fields).
    pub async fn entity_fields<T: EntityType>(&self, id: &T::Id, fields: impl Into<Fields<T>>) -> Result<Entity<T>> {
        self.load_fields(id, fields).await?.ok_or_else(|| gone::<T>(id))
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
            tracked.reads(source.id());
            keys.iter().for_each(|key| tracked.direct(Dependency::entity(source.id(), key)));
        }
        self.explained(loaded(source, &keys).await)
    }

    /// Loads all entities of a source: anything that changes in it makes the result stale.
    ///
    /// # Errors
    /// As [`load`](Self::load), and [`ErrorKind::Unsupported`] where the source cannot list.
    pub async fn all<T: EntityType>(&self) -> Result<Vec<Entity<T>>> {
        let source = self.source_of::<T>()?;
        demand(&**source, Capability::List)?;
        {
            let mut tracked = self.tracked();
            tracked.reads(source.id());
            tracked.direct(Dependency::source(source.id()));
        }
        let images = source.list().await.map_err(|error| error.with_context("source", T::SOURCE));
        let images = self.explained(images)?;
        images.iter().map(entity).collect()
    }

    /// Finds entities by the values of fields, in any order: `cx.find(Grade::COURSE.eq(course.id))`.
    ///
    /// An entity that starts or ceases to match makes the result stale, and so does a change of one that matches.
    ///
    /// # Errors
    /// As [`load`](Self::load), and [`ErrorKind::Unsupported`] where no index of the type covers a field of the predicate
    /// ([`EntityType::indexes`]) or the source cannot find; [`ErrorKind::Argument`] for a value that cannot be compared.
    pub async fn find<T: EntityType>(&self, predicate: Predicate<T>) -> Result<Vec<Entity<T>>> {
        let source = self.source_of::<T>()?;
        demand(&**source, Capability::Find)?;
        let comparisons = self.explained(self.inner.comparisons(source).await)?;
        let filter = predicate.into_filter()?.compared_by(&comparisons)?;
        // Where changes tell what entities were before, that says what ceases to match. Elsewhere the entities that were
        // read do: each of them is a dependency of its own.
        let by_entities = !can(&**source, Capability::BeforeImages) && source.feed().is_some();
        self.track_predicate(source.id(), &filter, !by_entities)?;
        let images = source.find(&filter).await.map_err(|error| error.with_context("source", T::SOURCE));
        let images = self.explained(images)?;
        let mut found = Vec::with_capacity(images.len());
        for image in images {
            if filter.matches(&image)? {
                found.push(entity::<T>(&image)?);
            }
        }
        if by_entities {
            let keys = found.iter().map(|entity| EntityKey::encode(entity.id())).collect::<Result<Vec<_>>>()?;
            let mut tracked = self.tracked();
            keys.iter().for_each(|key| tracked.direct(Dependency::entity(source.id(), key)));
        }
        Ok(found)
    }

    /// The answer of a source. Its error is no data: a function that tolerates it is to be tried again.
    fn explained<T>(&self, answer: Result<T>) -> Result<T> {
        answer.inspect_err(|error| {
            let mut tracked = self.tracked();
            tracked.unexplained();
            if error.is_outage() {
                tracked.met_outage();
            }
        })
    }

    /// Makes the result depend on something that it reads in a way of its own: a [`tag`], a [`Predicate`], an
    /// entity ([`on::entity`](crate::on::entity)) or a whole source ([`on::all`](crate::on::all)). Before or after the read
    /// is the same.
    ///
    /// The read must see every change that was acknowledged before the run began: it goes to the primary.
    ///
    /// # Errors
    /// As [`find`](Self::find), without those of reading.
    ///
    /// [`tag`]: crate::tag
    pub fn depends_on(&self, what: impl DependsOn) -> Result<()> {
        what.track(self)
    }

    /// Says that the function reads a source by a client of its own, for [strict mode](crate::Builder::strict) and the
    /// [auditor](crate::Smache::audit). It makes nothing depend on the source: a relation does, or [`depends_on`](Self::depends_on).
    ///
    /// # Errors
    /// [`ErrorKind::Unregistered`] when the source is not registered.
    pub fn reads<T: EntityType>(&self) -> Result<()> {
        let source = self.source_of::<T>()?.id();
        self.tracked().reads(source);
        Ok(())
    }

    /// The same by the name of the source. Says whether there is one.
    pub(crate) fn note_read(&self, source: &str) -> bool {
        let known = self.inner.sources.keys().find(|known| known.as_str() == source);
        known.inspect(|source| self.tracked().reads(source)).is_some()
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

    pub(crate) fn source_of<T: EntityType>(&self) -> Result<&Arc<dyn DataSource>> {
        self.inner.source_of::<T>()
    }
}

fn gone<T: EntityType>(id: &T::Id) -> Error {
    Error::new(ErrorKind::Gone, format!("the entity {id:?} of `{}` does not exist", T::SOURCE))
}

async fn loaded<T: EntityType>(source: &Arc<dyn DataSource>, keys: &[EntityKey]) -> Result<Vec<Option<Entity<T>>>> {
    let images = source.load(keys).await.map_err(|error| error.with_context("source", T::SOURCE))?;
    if images.len() != keys.len() {
        let message = format!("the source `{}` answered {} entities for {} ids", T::SOURCE, images.len(), keys.len());
        return Err(Error::new(ErrorKind::Internal, message));
    }
    images.into_iter().map(|image| image.map(|image| entity(&image)).transpose()).collect()
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
