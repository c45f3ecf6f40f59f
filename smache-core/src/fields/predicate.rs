//! Predicates: the entities whose fields have certain values, existing or yet to come.

use std::{fmt, marker::PhantomData, ops::BitAnd, sync::Arc};

use bytes::Bytes;
use serde::Serialize;

use super::{Comparisons, Field, RawIndex, encode, index::joined};
use crate::{Dependency, EntityType, Error, ErrorKind, Image, Result, SourceId};

/// The entities of a type whose fields have certain values: `Grade::COURSE.eq(7) & Grade::PASSED.eq(true)`.
///
/// Values are compared as the source compares them ([`DataSource::comparisons`](crate::DataSource::comparisons)): by
/// default two are equal if serde writes them equal.
pub struct Predicate<T> {
    filter: Result<Filter>,
    of: PhantomData<fn() -> T>,
}

impl<T: EntityType> Predicate<T> {
    pub(super) fn on<V: Serialize + Send + Sync + 'static>(field: Field<T, V>, value: V) -> Self {
        let condition = encode(&value).map(|bytes| {
            let read = move |image: &Image| encode(field.get(&*image.get::<T>()?));
            let comparisons = Arc::new(Comparisons::as_written());
            Condition { field: field.name(), value: Arc::new(value), bytes, read: Arc::new(read), comparisons }
        });
        let filter = condition.map(|condition| Filter { conditions: vec![condition] });
        Self { filter: filter.map_err(|error| error.with_context("field", field.name())), of: PhantomData }
    }

    /// Its conditions, for a source.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`](crate::ErrorKind::Argument) when a value cannot be compared: a NaN, or above 1 MiB.
    pub fn into_filter(self) -> Result<Filter> {
        self.filter
    }
}

impl<T> BitAnd for Predicate<T> {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        let filter = self.filter.and_then(|mut filter| {
            filter.conditions.extend(other.filter?.conditions);
            filter.conditions.sort_by(|one, other| (one.field, &one.bytes).cmp(&(other.field, &other.bytes)));
            Ok(filter)
        });
        Self { filter, of: PhantomData }
    }
}

/// The conditions by which a source finds entities: all of them hold.
#[derive(Debug, Clone)]
pub struct Filter {
    conditions: Vec<Condition>,
}

impl Filter {
    /// The conditions, by field.
    #[must_use]
    pub fn conditions(&self) -> &[Condition] {
        &self.conditions
    }

    /// Whether an entity fulfils it, for sources that check their entities one by one.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`](crate::ErrorKind::Internal) when the image is of another type than the predicate.
    pub fn matches(&self, image: &Image) -> Result<bool> {
        for condition in &self.conditions {
            if !condition.holds(image)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The filter with its values as a source compares them. For a source with special comparisons,
    /// [`matches`](Self::matches) agrees with its database only after this.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) for a field that cannot be compared, and
    /// [`ErrorKind::Argument`](crate::ErrorKind::Argument) for a value that cannot.
    pub fn compared_by(mut self, comparisons: &Arc<Comparisons>) -> Result<Self> {
        for condition in &mut self.conditions {
            condition.bytes = comparisons.form(condition.field, condition.bytes.clone())?;
            condition.comparisons = Arc::clone(comparisons);
        }
        Ok(self)
    }

    /// The filter's dependency: its values in the index of its source that covers most of its fields.
    pub(crate) fn dependency<'a>(
        &self,
        source: &SourceId,
        indexes: &'a [RawIndex],
    ) -> Result<(&'a RawIndex, Dependency)> {
        let value = |field: &str| self.conditions.iter().find(|condition| condition.field == field);
        let covered = indexes.iter().filter(|index| index.fields.iter().all(|field| value(field).is_some()));
        let index = covered.max_by_key(|index| index.fields.len()).ok_or_else(|| {
            let fields: Vec<&str> = self.conditions.iter().map(|condition| condition.field).collect();
            let fix = "mark a field of the predicate with `#[entity(index)]`";
            let message =
                format!("no index of the source `{source}` is covered by the fields `{}`: {fix}", fields.join("`, `"));
            Error::new(ErrorKind::Unsupported, message)
        })?;
        let values = index.fields.iter().filter_map(|field| value(field)).map(|condition| &condition.bytes[..]);
        Ok((index, Dependency::predicate(&index.id, source, &joined(values))))
    }
}

/// A field has a value.
#[derive(Clone)]
pub struct Condition {
    field: &'static str,
    value: Arc<dyn erased_serde::Serialize + Send + Sync>,
    bytes: Bytes,
    read: Arc<Read>,
    comparisons: Arc<Comparisons>,
}

/// Reads the field of an entity in canonical bytes.
type Read = dyn Fn(&Image) -> Result<Bytes> + Send + Sync;

impl Condition {
    /// The stored name of the field.
    #[must_use]
    pub fn field(&self) -> &'static str {
        self.field
    }

    fn holds(&self, image: &Image) -> Result<bool> {
        Ok(self.comparisons.form(self.field, (self.read)(image)?)? == self.bytes)
    }

    /// The value, as the field's type writes it.
    pub fn value(&self) -> impl Serialize + '_ {
        &*self.value
    }
}

impl<T> Clone for Predicate<T> {
    fn clone(&self) -> Self {
        Self { filter: self.filter.clone(), of: PhantomData }
    }
}

impl<T> fmt::Debug for Predicate<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.filter.fmt(f)
    }
}

impl fmt::Debug for Condition {
    // Without the value, which may be personal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} == …", self.field)
    }
}
