//! Entities: the things of the application whose changes make results stale.

use std::{fmt, ops::Deref, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};

use crate::{Fields, Index};

/// A type of entities with an id and a source. Usually derived: `#[derive(Entity)]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an entity",
    label = "not an entity",
    note = "derive it: `#[derive(smache::Entity)]` with `#[entity(source = \"…\")]` on the type and `#[entity(id)]` on its id"
)]
pub trait EntityType: Send + Sync + 'static {
    /// The type of its ids.
    type Id: Serialize + DeserializeOwned + Clone + fmt::Debug + Send + Sync + 'static;

    /// The persisted name of its source.
    const SOURCE: &'static str;

    /// Its id.
    fn id(&self) -> &Self::Id;

    /// The fields by which predicates find its entities: none unless they are declared.
    #[must_use]
    fn indexes() -> Vec<Index<Self>>
    where
        Self: Sized,
    {
        Vec::new()
    }

    /// The fields to which functions can be narrowed: none unless they are declared.
    #[must_use]
    fn fields() -> Fields<Self>
    where
        Self: Sized,
    {
        Fields::none()
    }
}

/// For `#[computed]`: whether the type of a raw argument is an entity.
///
/// The constant of the type is taken before the one of the trait, and the type has one for entities only.
#[doc(hidden)]
#[derive(Debug)]
pub struct Argument<T: ?Sized>(std::marker::PhantomData<T>);

impl<T: EntityType> Argument<T> {
    /// It is.
    pub const IS_ENTITY: bool = true;
}

/// For `#[computed]`: the answer of [`Argument`] for all other types.
#[doc(hidden)]
pub trait PlainArgument {
    /// It is not.
    const IS_ENTITY: bool = false;
}

impl<T: ?Sized> PlainArgument for Argument<T> {}

/// A loaded entity, as a computed function takes it. Derefs to `T`, cheap to clone.
///
/// As a parameter of a computed function it makes the call take the entity's id. The function gets the entity that is
/// in the source *after* the computation began, and is recomputed whenever it changes.
pub struct Entity<T>(Arc<T>);

impl<T: EntityType> Entity<T> {
    /// Wraps an entity, for calling a computed function's body by hand, for example in a unit test.
    #[must_use]
    pub fn new(entity: T) -> Self {
        Self(Arc::new(entity))
    }

    pub(crate) fn shared(entity: Arc<T>) -> Self {
        Self(entity)
    }
}

impl<T> Deref for Entity<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> Clone for Entity<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: fmt::Debug> fmt::Debug for Entity<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A value of the application that a computed function needs and that is not part of the key: a client, a setting.
/// Registered with `.state(value)`. Derefs to `T`, cheap to clone.
pub struct State<T>(Arc<T>);

impl<T> State<T> {
    /// Wraps a value, for calling a computed function's body by hand.
    #[must_use]
    pub fn new(value: T) -> Self {
        Self(Arc::new(value))
    }

    pub(crate) fn shared(value: Arc<T>) -> Self {
        Self(value)
    }
}

impl<T> Deref for State<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> Clone for State<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: fmt::Debug> fmt::Debug for State<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
