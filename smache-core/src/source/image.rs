//! An entity as a source hands it over.

use std::{
    any::{Any, TypeId, type_name},
    fmt,
    sync::Arc,
};

use crate::{EntityType, Error, ErrorKind, Result, fields::RawIndex};

/// The type that the images of a source hold.
#[derive(Clone, Copy)]
pub struct EntityKind {
    id: TypeId,
    name: &'static str,
    indexes: fn() -> Vec<RawIndex>,
}

impl EntityKind {
    /// The kind of a type.
    #[must_use]
    pub fn of<T: EntityType>() -> Self {
        Self { id: TypeId::of::<T>(), name: type_name::<T>(), indexes: RawIndex::all::<T> }
    }

    /// The type's name, for messages.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The stored names of the fields by which predicates find its entities.
    #[must_use]
    pub fn indexed_fields(&self) -> Vec<&'static str> {
        let mut fields: Vec<_> = self.indexes().into_iter().flat_map(|index| index.fields).collect();
        fields.sort_unstable();
        fields.dedup();
        fields
    }

    /// The indexes of the type.
    pub(crate) fn indexes(&self) -> Vec<RawIndex> {
        (self.indexes)()
    }
}

impl PartialEq for EntityKind {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for EntityKind {}

impl std::hash::Hash for EntityKind {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

impl fmt::Debug for EntityKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EntityKind({})", self.name)
    }
}

/// A loaded entity of a type that only its source and its readers know.
///
/// Images never leave the process, so they are shared values and not bytes: a source decodes once and nobody copies.
#[derive(Clone)]
pub struct Image(Arc<dyn Any + Send + Sync>);

impl Image {
    /// An image of an entity.
    #[must_use]
    pub fn new<T: EntityType>(entity: T) -> Self {
        Self(Arc::new(entity))
    }

    /// The entity.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] when the image is of another type: the source says one [`EntityKind`] and gives another.
    pub fn get<T: EntityType>(&self) -> Result<Arc<T>> {
        Arc::clone(&self.0).downcast().map_err(|_| {
            let message = format!("the source `{}` gave an image that is not a `{}`", T::SOURCE, type_name::<T>());
            Error::new(ErrorKind::Internal, message)
        })
    }
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Image")
    }
}
