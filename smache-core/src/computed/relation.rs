//! Relations: from a changed entity of one source to the entities of another whose results it contributes to.

use std::{fmt, future::Future, marker::PhantomData, pin::Pin, sync::Arc};

use super::Failure;
use crate::{Cx, EntityKey, EntityType, Image, Result, SourceId, shape::Shape};

/// The answer of an asynchronous relation.
pub type RelationFuture<'a, I> = Pin<Box<dyn Future<Output = std::result::Result<Vec<I>, Failure>> + Send + 'a>>;

/// A relation from a changed entity `F` to the ids of an argument `Entity<T>`. It makes results depend on entities that
/// they may read in any way, or that do not exist yet.
///
/// The engine evaluates it on the entity before and after each change, so that a move affects both ends and a deletion
/// affects the end that it leaves. Where a source does not tell the entity before a change, the change affects all
/// results of the function: that is correct, and costs their recomputation.
///
/// It must be a function of the entity, and of data whose changes have relations as well.
///
/// # When two relations differ
///
/// A leader of another release confirms a relation only if it has the same one. Two relations are the same if the
/// function's id, both sources, the argument, the text of the map as written, the type of the ids that it leads to
/// (integers of any width are one type), and the [`version`](Self::version) are. A map that calls a helper keeps its
/// text when the helper changes: give it the next version then, as for a map that depends on a constant or on a field
/// whose type changes.
pub struct Relation<F, T> {
    pub(super) argument: usize,
    pub(super) text: &'static str,
    pub(super) map: Map,
    pub(super) reads: bool,
    version: u32,
    of: PhantomData<fn(&F) -> T>,
}

type Keys<'a> = Pin<Box<dyn Future<Output = Result<Vec<EntityKey>>> + Send + 'a>>;
pub(super) type Map = Arc<dyn for<'a> Fn(&'a Cx, &'a Image) -> Keys<'a> + Send + Sync>;

impl<F: EntityType, T: EntityType> Relation<F, T> {
    /// A relation to the argument at that position among the arguments of the call. Its text, as written, is part of
    /// the identity: a relation with another text is another relation.
    pub fn new(argument: usize, text: &'static str, map: impl Fn(&F) -> Vec<T::Id> + Send + Sync + 'static) -> Self {
        let map = move |image: &Image| keys::<T>(&map(&*image.get::<F>()?));
        let map: Map = Arc::new(move |_, image| Box::pin(std::future::ready(map(image))));
        Self { argument, text, map, reads: false, version: 1, of: PhantomData }
    }

    /// A relation that may read, through the context that it gets; these reads are not tracked.
    pub fn of_async(
        argument: usize,
        text: &'static str,
        map: for<'a> fn(&'a Cx, &'a F) -> RelationFuture<'a, T::Id>,
    ) -> Self {
        let map: Map = Arc::new(move |cx, image| {
            Box::pin(async move {
                let entity = image.get::<F>()?;
                let ids = map(cx, &entity).await.map_err(|failure| failure.into_error(text, None))?;
                keys::<T>(&ids)
            })
        });
        Self { argument, text, map, reads: true, version: 1, of: PhantomData }
    }

    /// The version of the map: a new one when the same text leads elsewhere than before, because of a helper that it
    /// calls. 1 by default.
    #[must_use]
    pub fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }
}

fn keys<T: EntityType>(ids: &[T::Id]) -> Result<Vec<EntityKey>> {
    ids.iter().map(EntityKey::encode).collect()
}

impl<F: EntityType, T: EntityType> fmt::Debug for Relation<F, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Relation({} → {}: {})", F::SOURCE, T::SOURCE, self.text)
    }
}

/// The answer of a relation: an id, none, one or many.
#[diagnostic::on_unimplemented(
    message = "a relation answers ids of type `{I}`, not `{Self}`",
    note = "answer the id itself, an `Option` of it, or a `Vec` or an array of ids"
)]
pub trait IntoIds<I> {
    /// The ids.
    fn into_ids(self) -> Vec<I>;
}

impl<I> IntoIds<I> for I {
    fn into_ids(self) -> Vec<I> {
        vec![self]
    }
}

impl<I: Clone> IntoIds<I> for &I {
    fn into_ids(self) -> Vec<I> {
        vec![self.clone()]
    }
}

impl<I> IntoIds<I> for Option<I> {
    fn into_ids(self) -> Vec<I> {
        self.into_iter().collect()
    }
}

impl<I: Clone> IntoIds<I> for Option<&I> {
    fn into_ids(self) -> Vec<I> {
        self.cloned().into_iter().collect()
    }
}

impl<I> IntoIds<I> for Vec<I> {
    fn into_ids(self) -> Vec<I> {
        self
    }
}

impl<I, const N: usize> IntoIds<I> for [I; N] {
    fn into_ids(self) -> Vec<I> {
        self.into()
    }
}

/// A relation of a function, without its types.
#[derive(Clone)]
pub(crate) struct RawRelation {
    /// The pseudo-source that confirms it: a leader that does not know the relation does not confirm results that
    /// depend on it.
    pub(crate) id: SourceId,
    pub(crate) from: &'static str,
    pub(crate) to: &'static str,
    /// The position of the entity among the arguments of the call.
    pub(crate) argument: usize,
    pub(crate) text: &'static str,
    /// Whether it may look at more than the entity.
    pub(crate) reads: bool,
    map: Map,
}

impl RawRelation {
    pub(super) fn of<F: EntityType, T: EntityType>(function: &str, relation: Relation<F, T>) -> Self {
        let argument = relation.argument.to_string();
        let version = relation.version.to_string();
        let ids = Shape::of_key::<T::Id>().hash();
        let mut parts =
            [function, F::SOURCE, T::SOURCE, &argument, relation.text, &version].map(str::as_bytes).to_vec();
        parts.push(&ids);
        Self {
            id: SourceId::derived("r", &parts),
            from: F::SOURCE,
            to: T::SOURCE,
            argument: relation.argument,
            text: relation.text,
            reads: relation.reads,
            map: relation.map,
        }
    }

    /// Where it leads from an image.
    pub(crate) async fn keys(&self, cx: &Cx, image: &Image) -> Result<Vec<EntityKey>> {
        (self.map)(cx, image).await
    }
}

impl fmt::Debug for RawRelation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} → {}: {}", self.from, self.to, self.text)
    }
}
