//! Indexes: the sets of fields by which predicates find entities.

use std::{fmt, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};

use super::{Comparisons, Field, Part};
use crate::{EntityType, Image, Result, SourceId, shape::Shape};

/// Fields by which predicates find the entities of a type, declared by `#[entity(index)]`.
///
/// It is not an index of the database. The engine looks at a change through every index of its type. The change affects
/// the predicates whose values the entity has, or had, in the fields of the index.
///
/// A leader of another release confirms an index only if the types of its fields are the same to a predicate: integers
/// of any width are one type, and an `Option` of a type is another one than the type.
pub struct Index<T> {
    parts: Vec<(Part<T>, [u8; 32])>,
}

impl<T: EntityType> Index<T> {
    /// An index of one field.
    #[must_use]
    pub fn on<V: Serialize + DeserializeOwned + 'static>(field: Field<T, V>) -> Self {
        Self { parts: vec![(Part::of(field), Shape::of_key::<V>().hash())] }
    }

    /// The same index with one more field.
    #[must_use]
    pub fn and<V: Serialize + DeserializeOwned + 'static>(mut self, field: Field<T, V>) -> Self {
        self.parts.push((Part::of(field), Shape::of_key::<V>().hash()));
        self
    }
}

impl<T> fmt::Debug for Index<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.parts.iter().map(|(part, _)| part.name)).finish()
    }
}

/// An index without its type.
#[derive(Clone)]
pub(crate) struct RawIndex {
    /// The pseudo-source that confirms the predicates with this index: a leader that does not know the index does not
    /// confirm them.
    pub(crate) id: SourceId,
    /// Their stored names, sorted.
    pub(crate) fields: Vec<&'static str>,
    values: Arc<Values>,
}

type Values = dyn Fn(&Image, &Comparisons) -> Result<Vec<u8>> + Send + Sync;

impl RawIndex {
    /// The indexes of a type.
    pub(crate) fn all<T: EntityType>() -> Vec<Self> {
        let mut all: Vec<Self> = T::indexes().into_iter().map(Self::of).collect();
        all.sort_by(|one, other| one.id.cmp(&other.id));
        all.dedup_by(|one, other| one.id == other.id);
        all
    }

    fn of<T: EntityType>(index: Index<T>) -> Self {
        let mut parts = index.parts;
        parts.sort_by_key(|(part, _)| part.name);
        let fields: Vec<&'static str> = parts.iter().map(|(part, _)| part.name).collect();
        let mut named: Vec<&[u8]> = vec![T::SOURCE.as_bytes()];
        for (part, shape) in &parts {
            named.extend([part.name.as_bytes(), shape]);
        }
        let id = SourceId::derived("i", &named);
        let values = move |image: &Image, comparisons: &Comparisons| {
            let entity = image.get::<T>()?;
            let value = |part: &Part<T>| comparisons.form(part.name, part.value(&entity)?);
            let values = parts.iter().map(|(part, _)| value(part)).collect::<Result<Vec<_>>>()?;
            Ok(joined(values.iter().map(|value| &value[..])))
        };
        Self { id, fields, values: Arc::new(values) }
    }

    /// The values of an entity in the fields of the index, as its source compares them.
    pub(crate) fn values(&self, image: &Image, comparisons: &Comparisons) -> Result<Vec<u8>> {
        (self.values)(image, comparisons)
    }
}

/// The values of the fields of an index, each of which shows where it ends, in the order of the names.
pub(super) fn joined<'a>(values: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    values.flatten().copied().collect()
}

impl fmt::Debug for RawIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.fields).finish()
    }
}
