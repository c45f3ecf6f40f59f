//! The form in which a source hands over an entity.

use std::{
    any::{Any, TypeId, type_name},
    cmp::Ordering,
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
/// Images never leave the process, so they are shared values and not bytes: a source decodes once, and no reader
/// copies.
#[derive(Clone)]
pub struct Image {
    entity: Arc<dyn Any + Send + Sync>,
    digest: Option<[u8; 16]>,
}

/// Identifies the content of an image, to tell two images apart.
#[derive(Clone)]
pub(crate) struct Mark {
    /// A digest, or the address of an entity.
    key: ([u8; 16], usize),
    /// Keeps the address from being used again.
    _entity: Option<Arc<dyn Any + Send + Sync>>,
}

impl Image {
    /// An image of an entity.
    #[must_use]
    pub fn new<T: EntityType>(entity: T) -> Self {
        Self { entity: Arc::new(entity), digest: None }
    }

    /// An image of an entity with the bytes that the source read it from: all that it stores of the entity. Two images
    /// of the same bytes are known to be the same, so that a change that a run has seen is no reason to run again.
    #[must_use]
    pub fn read_from<T: EntityType>(entity: T, stored: &[u8]) -> Self {
        let [digest @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = *blake3::hash(stored).as_bytes();
        Self { entity: Arc::new(entity), digest: Some(digest) }
    }

    /// Equal for images of the same bytes, and for clones of one image.
    pub(crate) fn mark(&self) -> Mark {
        match self.digest {
            Some(digest) => Mark { key: (digest, 0), _entity: None },
            None => Mark { key: ([0; 16], self.address()), _entity: Some(Arc::clone(&self.entity)) },
        }
    }

    fn address(&self) -> usize {
        Arc::as_ptr(&self.entity).cast::<()>().addr()
    }

    /// The entity.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] when the image is of another type: the source declares one [`EntityKind`] and gives
    /// another.
    pub fn get<T: EntityType>(&self) -> Result<Arc<T>> {
        Arc::clone(&self.entity).downcast().map_err(|_| {
            let message = format!("the source `{}` gave an image that is not a `{}`", T::SOURCE, type_name::<T>());
            Error::new(ErrorKind::Internal, message)
        })
    }
}

impl PartialEq for Mark {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Mark {}

impl PartialOrd for Mark {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Mark {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key.cmp(&other.key)
    }
}

impl fmt::Debug for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mark")
    }
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Image")
    }
}
