//! The arguments of [`Cx::depends_on`](crate::Cx::depends_on): dependencies that a run declares.

use std::{fmt, marker::PhantomData, sync::Arc};

use crate::{Cx, Dependency, EntityKey, EntityType, Predicate, Result, SourceId};

/// Something that a result can depend on: a [`Predicate`], or a value of the functions of this module.
#[diagnostic::on_unimplemented(
    message = "a result cannot depend on a `{Self}`",
    note = "pass `smache::tag(…)`, a predicate such as `Grade::COURSE.eq(7)`, `smache::on::entity::<Grade>(&id)` or `smache::on::all::<Grade>()`"
)]
pub trait DependsOn: sealed::Sealed {
    /// Makes the run of a context depend on it.
    ///
    /// # Errors
    /// See [`Cx::depends_on`].
    fn track(self, cx: &Cx) -> Result<()>;
}

/// A name that the application touches itself, by [`Smache::changed_tag`](crate::Smache::changed_tag).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag(String);

/// A tag: for data outside of all sources, such as a price list in a file.
#[must_use]
pub fn tag(name: impl Into<String>) -> Tag {
    Tag(name.into())
}

/// An entity, existing or not, that a function reads in another way than by [`Cx::load`].
pub struct EntityOf<T: EntityType> {
    id: T::Id,
}

/// An entity, existing or not.
#[must_use]
pub fn entity<T: EntityType>(id: &T::Id) -> EntityOf<T> {
    EntityOf { id: id.clone() }
}

/// A whole source.
pub struct AllOf<T>(PhantomData<fn() -> T>);

/// A whole source: any change in it makes the result stale.
#[must_use]
pub fn all<T: EntityType>() -> AllOf<T> {
    AllOf(PhantomData)
}

impl DependsOn for Tag {
    fn track(self, cx: &Cx) -> Result<()> {
        let mut tracked = cx.tracked();
        tracked.source(&SourceId::application());
        tracked.direct(Dependency::tag(&self.0));
        Ok(())
    }
}

impl<T: EntityType> DependsOn for Predicate<T> {
    fn track(self, cx: &Cx) -> Result<()> {
        let source = Arc::clone(cx.source_of::<T>()?);
        cx.track_own_predicate(&source, self.into_filter()?)
    }
}

impl<T: EntityType> DependsOn for EntityOf<T> {
    fn track(self, cx: &Cx) -> Result<()> {
        let key = EntityKey::encode(&self.id)?;
        let source = cx.source_of::<T>()?.id();
        let mut tracked = cx.tracked();
        tracked.reads(source);
        tracked.direct(Dependency::entity(source, &key));
        Ok(())
    }
}

impl<T: EntityType> DependsOn for AllOf<T> {
    fn track(self, cx: &Cx) -> Result<()> {
        let source = cx.source_of::<T>()?.id();
        let mut tracked = cx.tracked();
        tracked.reads(source);
        tracked.direct(Dependency::source(source));
        Ok(())
    }
}

impl<T: EntityType> fmt::Debug for EntityOf<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EntityOf({} {:?})", T::SOURCE, self.id)
    }
}

impl<T: EntityType> fmt::Debug for AllOf<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AllOf({})", T::SOURCE)
    }
}

mod sealed {
    use super::{AllOf, EntityOf, EntityType, Predicate, Tag};

    /// Only this crate knows the parts of a dependency.
    pub trait Sealed {}
    impl Sealed for Tag {}
    impl<T: EntityType> Sealed for Predicate<T> {}
    impl<T: EntityType> Sealed for EntityOf<T> {}
    impl<T: EntityType> Sealed for AllOf<T> {}
}
