//! Reads of sources through the context.

use std::sync::Arc;

use super::{Cx, Read, What};
use crate::{
    Capability, DataSource, Dependency, Entity, EntityKey, EntityType, Error, ErrorKind, Fields, Image, Predicate,
    Result,
    source::{can, demand},
};

impl Cx {
    /// Loads an entity that the call names: the argument of an [`Entity`] parameter.
    ///
    /// # Errors
    /// [`ErrorKind::Gone`] when it does not exist: the call then has no result and its entry is removed.
    /// [`ErrorKind::Unregistered`] when its source is not registered; the source's own errors.
    pub async fn entity<T: EntityType>(&self, id: &T::Id) -> Result<Entity<T>> {
        self.load(id).await?.ok_or_else(|| gone::<T>(id))
    }

    /// Loads an entity. Its absence is an answer that is tracked like any other.
    ///
    /// A change that the feed delivers during the run is no conflict if the entity is still as it was loaded: the load
    /// has seen the change. A function that also reads the entity by its own client calls
    /// [`depends_on`](Self::depends_on): then every change is a conflict.
    ///
    /// # Errors
    /// [`ErrorKind::Unregistered`] when its source is not registered; the source's own errors.
    pub async fn load<T: EntityType>(&self, id: &T::Id) -> Result<Option<Entity<T>>> {
        let mut entities = self.load_many::<T>(std::slice::from_ref(id)).await?;
        Ok(entities.pop().flatten())
    }

    /// Loads an entity of which the function reads some fields only: a change that is known to leave them alone does
    /// not make the result stale. Only the function's author knows that it reads nothing else.
    ///
    /// # Errors
    /// As [`load`](Self::load), and [`ErrorKind::Unsupported`] for a field that is not declared:
    /// [`EntityType::fields`].
    pub async fn load_fields<T: EntityType>(
        &self,
        id: &T::Id,
        fields: impl Into<Fields<T>>,
    ) -> Result<Option<Entity<T>>> {
        let source = self.source_of::<T>()?;
        let key = EntityKey::encode(id)?;
        let fields = fields.into().names();
        let declared = T::fields().names();
        if let Some(unknown) = fields.iter().find(|field| !declared.contains(field)) {
            let fix = "mark it with `#[entity(field)]`";
            let message = format!("the field `{unknown}` of the source `{}` is not declared: {fix}", T::SOURCE);
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let mut leaves = vec![Dependency::row(source.id(), &key)];
        leaves.extend(fields.iter().map(|field| Dependency::field(source.id(), &key, field)));
        let mut entities = self.loaded(source, vec![key], leaves).await?;
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
        let leaves = keys.iter().map(|key| Dependency::entity(source.id(), key)).collect();
        self.loaded(source, keys, leaves).await
    }

    /// Loads all entities of a source: anything that changes in it makes the result stale.
    ///
    /// # Errors
    /// As [`load`](Self::load), and [`ErrorKind::Unsupported`] where the source cannot list.
    pub async fn all<T: EntityType>(&self) -> Result<Vec<Entity<T>>> {
        let source = self.source_of::<T>()?;
        demand(&**source, Capability::List)?;
        let leaves = vec![Dependency::source(source.id())];
        self.tracked().loads(source.id(), &leaves);
        let images = source.list().await.map_err(|error| error.with_context("source", T::SOURCE));
        let images = self.explained(images)?;
        self.tracked().found(Read::of(source.id(), What::All, images.iter()), leaves);
        images.iter().map(entity).collect()
    }

    /// Finds entities by the values of fields, in any order: `cx.find(Grade::COURSE.eq(course.id))`.
    ///
    /// An entity that starts or ceases to match makes the result stale, and so does a change of one that matches.
    ///
    /// # Errors
    /// As [`load`](Self::load), and [`ErrorKind::Unsupported`] where no index of the type covers a field of the
    /// predicate ([`EntityType::indexes`]) or the source cannot find; [`ErrorKind::Argument`] for a value that cannot
    /// be compared.
    pub async fn find<T: EntityType>(&self, predicate: Predicate<T>) -> Result<Vec<Entity<T>>> {
        let source = self.source_of::<T>()?;
        demand(&**source, Capability::Find)?;
        let comparisons = self.explained(self.engine.comparisons(source).await)?;
        let filter = predicate.into_filter()?.compared_by(&comparisons)?;
        // Changes with images of before show which entities cease to match. Without them, each entity that was read is
        // a dependency.
        let by_entities = !can(&**source, Capability::BeforeImages) && source.feed().is_some();
        let mut leaves = self.leaves_of(source.id(), &filter, !by_entities)?;
        self.tracked().loads(source.id(), &leaves);
        let images = source.find(&filter).await.map_err(|error| error.with_context("source", T::SOURCE));
        let images = self.explained(images)?;
        let mut matching = Vec::new();
        let mut found = Vec::new();
        for image in images {
            if filter.matches(&image)? {
                found.push(entity::<T>(&image)?);
                matching.push(image);
            }
        }
        if by_entities {
            let keys = found.iter().map(|entity| EntityKey::encode(entity.id())).collect::<Result<Vec<_>>>()?;
            leaves.extend(keys.iter().map(|key| Dependency::entity(source.id(), key)));
            self.tracked().loads(source.id(), &leaves);
        }
        self.tracked().found(Read::of(source.id(), What::Matching(filter), matching.iter()), leaves);
        Ok(found)
    }

    async fn loaded<T: EntityType>(
        &self,
        source: &Arc<dyn DataSource>,
        keys: Vec<EntityKey>,
        leaves: Vec<Dependency>,
    ) -> Result<Vec<Option<Entity<T>>>> {
        self.tracked().loads(source.id(), &leaves);
        let images = source.load(&keys).await.map_err(|error| error.with_context("source", T::SOURCE));
        let images = self.explained(images.and_then(|images| {
            if images.len() == keys.len() {
                return Ok(images);
            }
            let (got, asked) = (images.len(), keys.len());
            let message = format!("the source `{}` answered {got} entities for {asked} ids", T::SOURCE);
            Err(Error::new(ErrorKind::Internal, message))
        }))?;
        let entities = images.iter().map(|image| image.as_ref().map(entity).transpose()).collect();
        self.tracked().found(Read::of_keys(source.id(), keys, &images), leaves);
        self.explained(entities)
    }
}

fn gone<T: EntityType>(id: &T::Id) -> Error {
    Error::new(ErrorKind::Gone, format!("the entity {id:?} of `{}` does not exist", T::SOURCE))
}

fn entity<T: EntityType>(image: &Image) -> Result<Entity<T>> {
    image.get().map(Entity::shared)
}
