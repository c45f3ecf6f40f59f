//! Fields of entities by name, for predicates that compare them and functions that read only some.

mod comparison;
mod index;
mod predicate;

use std::{fmt, marker::PhantomData, ops::BitOr, sync::Arc};

use bytes::Bytes;
use serde::Serialize;

pub(crate) use self::index::RawIndex;
pub use self::{
    comparison::{Compare, Comparisons, FieldValue},
    index::Index,
    predicate::{Condition, Filter, Predicate},
};
use crate::{EntityType, Error, ErrorKind, Result, canonical};

/// The most bytes that the value of a field may have to be compared.
const MAX_FIELD: usize = 1 << 20;

/// A field of an entity, by its stored name: usually a constant that `#[derive(Entity)]` writes for a field marked
/// `#[entity(index)]` or `#[entity(field)]`, such as `Grade::COURSE_ID`.
pub struct Field<T, V> {
    name: &'static str,
    get: fn(&T) -> &V,
}

impl<T, V> Field<T, V> {
    /// A field by its stored name: for MongoDB the key in the document, for SQL the column.
    #[must_use]
    pub const fn new(name: &'static str, get: fn(&T) -> &V) -> Self {
        Self { name, get }
    }

    /// Its stored name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Its value in an entity.
    #[must_use]
    pub fn get<'a>(&self, entity: &'a T) -> &'a V {
        (self.get)(entity)
    }
}

impl<T: EntityType, V: Serialize + Send + Sync + 'static> Field<T, V> {
    /// The entities whose field has that value, for [`Cx::find`](crate::Cx::find) and
    /// [`Cx::depends_on`](crate::Cx::depends_on). `&` joins several.
    pub fn eq(self, value: impl Into<V>) -> Predicate<T> {
        Predicate::on(self, value.into())
    }
}

/// Some fields of an entity: `User::NAME | User::EMAIL`, or one.
pub struct Fields<T> {
    fields: Vec<Part<T>>,
}

/// A field without its type.
pub(crate) struct Part<T> {
    pub(crate) name: &'static str,
    encode: Arc<Encode<T>>,
    entity: PhantomData<fn(&T)>,
}

type Encode<T> = dyn Fn(&T) -> Result<Bytes> + Send + Sync;

impl<T: 'static> Part<T> {
    fn of<V: Serialize + 'static>(field: Field<T, V>) -> Self {
        Self { name: field.name, encode: Arc::new(move |entity| encode(field.get(entity))), entity: PhantomData }
    }

    /// Its value in canonical bytes.
    pub(crate) fn value(&self, entity: &T) -> Result<Bytes> {
        (self.encode)(entity).map_err(|error| error.with_context("field", self.name))
    }
}

impl<T: 'static> Fields<T> {
    /// No field.
    #[must_use]
    pub fn none() -> Self {
        Self { fields: Vec::new() }
    }

    /// Their stored names, sorted, each once.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.fields.iter().map(|field| field.name).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Which of them differ between two states of an entity. One that cannot be compared counts as changed.
    #[must_use]
    pub fn changed(&self, before: &T, after: &T) -> Vec<String> {
        let differs = |field: &&Part<T>| match (field.value(before), field.value(after)) {
            (Ok(before), Ok(after)) => before != after,
            _ => true,
        };
        self.fields.iter().filter(differs).map(|field| field.name.to_owned()).collect()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }
}

/// The name under which a `Decimal128` of BSON writes itself. One number has several of them (0.1 and 0.10), which a
/// server considers equal.
const DECIMAL128: &[u8] = b"$numberDecimal";

fn encode(value: &impl Serialize) -> Result<Bytes> {
    let refused = |message: &'static str| Error::new(ErrorKind::Argument, message);
    let bytes = canonical::to_vec(value, MAX_FIELD)
        .map_err(|error| refused("the value of a field cannot be compared").with_source(error))?;
    if bytes.windows(DECIMAL128.len()).any(|part| part == DECIMAL128) {
        let fix = "keep a whole number of the smallest unit, or a text";
        return Err(Error::new(
            ErrorKind::Argument,
            format!("a `Decimal128` cannot be compared, for one number has several: {fix}"),
        ));
    }
    Ok(bytes.into())
}

impl<T: 'static, V: Serialize + 'static> From<Field<T, V>> for Fields<T> {
    fn from(field: Field<T, V>) -> Self {
        Self { fields: vec![Part::of(field)] }
    }
}

impl<T: 'static, V: Serialize + 'static> BitOr<Field<T, V>> for Fields<T> {
    type Output = Self;

    fn bitor(mut self, field: Field<T, V>) -> Self {
        self.fields.push(Part::of(field));
        self
    }
}

impl<T: 'static, V: Serialize + 'static, W: Serialize + 'static> BitOr<Field<T, W>> for Field<T, V> {
    type Output = Fields<T>;

    fn bitor(self, field: Field<T, W>) -> Fields<T> {
        Fields::from(self) | field
    }
}

impl<T, V> Clone for Field<T, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, V> Copy for Field<T, V> {}

impl<T> Clone for Part<T> {
    fn clone(&self) -> Self {
        Self { name: self.name, encode: Arc::clone(&self.encode), entity: PhantomData }
    }
}

impl<T> Clone for Fields<T> {
    fn clone(&self) -> Self {
        Self { fields: self.fields.clone() }
    }
}

impl<T, V> fmt::Debug for Field<T, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Field({})", self.name)
    }
}

impl<T> fmt::Debug for Fields<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.fields.iter().map(|field| field.name)).finish()
    }
}

#[cfg(test)]
mod tests;
