//! The declaration of a computed function.

use std::{
    any::TypeId,
    collections::{BTreeMap, HashSet},
    fmt,
    time::Duration,
};

use super::{
    Computed,
    relation::{RawRelation, Relation},
};
use crate::{EntityType, Error, ErrorKind, Fields, FunctionId, FunctionKey, Result, SourceId, shape::Shape};

/// The role of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// Part of the key, unchanged.
    Raw,
    /// An entity, by its id.
    Entity,
    /// The application's state, not part of the key.
    State,
    /// The tracking context.
    Context,
}

/// Whether a worker or a reader recomputes a stale result: `refresh = "…"` of `#[computed]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Refresh {
    /// A worker, as soon as the result is stale: readers get the stale value meanwhile.
    #[default]
    Background,
    /// The next reader, and it waits for the new value: for results that are seldom read.
    OnRead,
}

/// The declaration of a computed function: its identity and its reads.
///
/// Its hash is part of every key ([`FunctionKey::of`]), so that a changed declaration neither serves a value of another
/// shape nor keeps dependencies of old code.
#[derive(Debug, Clone)]
pub struct Declaration {
    pub(crate) id: &'static str,
    pub(crate) version: u32,
    pub(crate) params: Vec<(Role, &'static str)>,
    pub(crate) output: &'static str,
    pub(crate) entities: Vec<&'static str>,
    pub(crate) sources: Vec<&'static str>,
    pub(crate) reads: Vec<&'static str>,
    pub(crate) calls: Vec<Callee>,
    pub(crate) relations: Vec<RawRelation>,
    /// The stored names of the fields, of entities that are read in part.
    pub(crate) narrowed: Vec<(&'static str, Vec<&'static str>)>,
    pub(crate) ttl: Option<Duration>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) refresh: Refresh,
    pub(crate) cache_errors: Option<Duration>,
    pub(crate) remove_on_permanent: bool,
}

/// A function that another one declares to call. Its declaration is read later: functions may call each other.
#[derive(Clone, Copy)]
pub(crate) struct Callee {
    function: TypeId,
    declaration: fn() -> Declaration,
    identity: fn() -> [u8; 32],
}

impl Callee {
    fn of<F: Computed>() -> Self {
        Self { function: TypeId::of::<F>(), declaration: F::declaration, identity: identity::<F> }
    }

    pub(crate) fn id(&self) -> &'static str {
        (self.declaration)().id
    }
}

impl fmt::Debug for Callee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

/// The identity of a function without its callees: its declaration, and the shapes of its arguments and its result.
fn identity<F: Computed>() -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&F::declaration().hash());
    hasher.update(&Shape::of::<F::Args>().hash());
    hasher.update(&Shape::of::<F::Output>().hash());
    *hasher.finalize().as_bytes()
}

impl FunctionKey {
    /// The identity of a function: the hash of its [`Declaration`], of the shapes of its arguments and its result, and
    /// of the same of every function that it declares to call, directly or through others.
    ///
    /// The shape of a type is the form that serde stores, at every depth: the names of fields and variants, and the
    /// kinds of their values. Names of types and the order of fields do not matter.
    #[must_use]
    pub fn of<F: Computed>() -> Self {
        let mut called: BTreeMap<&'static str, [u8; 32]> = BTreeMap::new();
        let mut seen = HashSet::from([TypeId::of::<F>()]);
        let mut next = F::declaration().calls;
        while let Some(callee) = next.pop() {
            if seen.insert(callee.function) {
                let declaration = (callee.declaration)();
                called.insert(declaration.id, (callee.identity)());
                next.extend(declaration.calls);
            }
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(&identity::<F>());
        for identity in called.values() {
            hasher.update(identity);
        }
        let mut key = [0; Self::LEN];
        key.copy_from_slice(&hasher.finalize().as_bytes()[..Self::LEN]);
        Self::from_bytes(key)
    }
}

impl Declaration {
    /// A declaration with the persisted id of the function. Version 1, kept until it changes, recomputed by workers.
    #[must_use]
    pub fn new(id: &'static str) -> Self {
        Self {
            id,
            version: 1,
            params: Vec::new(),
            output: "",
            entities: Vec::new(),
            sources: Vec::new(),
            reads: Vec::new(),
            calls: Vec::new(),
            relations: Vec::new(),
            narrowed: Vec::new(),
            ttl: None,
            timeout: None,
            refresh: Refresh::Background,
            cache_errors: None,
            remove_on_permanent: false,
        }
    }

    /// The version of its meaning: a new one when the same arguments give other results than before.
    #[must_use]
    pub fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// A parameter, in order: its role and its type as written.
    #[must_use]
    pub fn param(mut self, role: Role, written: &'static str) -> Self {
        self.params.push((role, written));
        self
    }

    /// The result type as written.
    #[must_use]
    pub fn output(mut self, written: &'static str) -> Self {
        self.output = written;
        self
    }

    /// A parameter that is an entity: the function reads its source by id.
    #[must_use]
    pub fn entity<T: EntityType>(mut self) -> Self {
        self.entities.push(T::SOURCE);
        self.param(Role::Entity, T::SOURCE)
    }

    /// A source that the function reads as a whole: any change in it makes every result stale.
    #[must_use]
    pub fn source<T: EntityType>(mut self) -> Self {
        self.sources.push(T::SOURCE);
        self
    }

    /// A parameter that is an entity of which the function reads some fields only: a change that is known to leave them
    /// unchanged does not affect it. The framework cannot check that the function keeps to them.
    #[must_use]
    pub fn entity_fields<T: EntityType>(mut self, fields: impl Into<Fields<T>>) -> Self {
        self.narrowed.push((T::SOURCE, fields.into().names()));
        self.entity::<T>()
    }

    /// A source that the function reads while it runs: through the context, which tracks the reads, or by its own
    /// client beside a [`relation`](Self::relation) or [`Cx::depends_on`](crate::Cx::depends_on). It makes nothing
    /// stale by itself; it is for [strict mode](crate::Builder::strict) and for drawings.
    #[must_use]
    pub fn reads<T: EntityType>(mut self) -> Self {
        self.reads.push(T::SOURCE);
        self
    }

    /// A function that it calls through [`Cx::get`](crate::Cx::get): a new version of the callee is a new version of
    /// this function, and drawings show it. Without it, results that were made of another version go stale one by one
    /// instead.
    #[must_use]
    pub fn calls<F: Computed>(mut self) -> Self {
        self.calls.push(Callee::of::<F>());
        self
    }

    /// A relation from the entities of a source to an entity argument.
    #[must_use]
    pub fn relation<F: EntityType, T: EntityType>(mut self, relation: Relation<F, T>) -> Self {
        self.relations.push(RawRelation::of(self.id, relation));
        self
    }

    /// How long a result lives at most; then maintenance removes it, and the next reader waits.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// How long one run may take; then it counts as failed. Five minutes by default.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Whether a worker or a reader recomputes a stale result. A worker, in the background, by default.
    #[must_use]
    pub fn refresh(mut self, refresh: Refresh) -> Self {
        self.refresh = refresh;
        self
    }

    /// How long an error of the function is kept where there is no value to keep: its readers get the error without a
    /// run. Not kept by default.
    ///
    /// The store keeps it with the reads of the run, so that a change makes it stale at once, and the next reader runs
    /// the function. Only errors that the data explains are kept: [`ErrorKind::Gone`], and the function's own unless
    /// they are transient ([`Failure::transient`](crate::Failure::transient)). The reader of a kept error gets its kind
    /// and its text ([`Error::report`]); only readers that waited for the run get the typed error by
    /// [`Error::function_error`].
    #[must_use]
    pub fn cache_errors(mut self, time: Duration) -> Self {
        self.cache_errors = Some(time);
        self
    }

    /// Whether a [permanent](crate::Failure::permanent) error removes the stored value. By default the value stays,
    /// stale.
    #[must_use]
    pub fn remove_on_permanent(mut self, on: bool) -> Self {
        self.remove_on_permanent = on;
        self
    }

    /// The checked names: the function's and those of all sources that it declares.
    pub(crate) fn names(&self) -> Result<(FunctionId, Vec<SourceId>)> {
        let related = self.relations.iter().map(|relation| &relation.from);
        let all = self.entities.iter().chain(&self.sources).chain(&self.reads).chain(related).map(SourceId::new);
        let mut sources = all.collect::<Result<Vec<_>>>()?;
        sources.sort();
        sources.dedup();
        Ok((FunctionId::new(self.id)?, sources))
    }

    /// Checks that every relation leads to an entity among the arguments.
    pub(crate) fn check_relations(&self) -> Result<()> {
        let arguments = self.params.iter().filter(|(role, _)| matches!(role, Role::Raw | Role::Entity));
        let arguments: Vec<_> = arguments.collect();
        for relation in &self.relations {
            if arguments.get(relation.argument) != Some(&&(Role::Entity, relation.to)) {
                let name = self.id;
                let from = relation.from;
                let to = relation.to;
                let at = relation.argument;
                let message = format!(
                    "the relation of `{name}` from `{from}` leads to its argument {at}, which is no entity of `{to}`: declare                      the parameters in order, with `entity`, and give its position among them"
                );
                return Err(Error::new(ErrorKind::Config, message));
            }
        }
        Ok(())
    }

    /// The hash of the declaration. Lifetimes of results and runs do not count, and neither do callees: see
    /// [`FunctionKey::of`].
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        let mut part = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        part(b"smache function 2");
        part(self.id.as_bytes());
        part(&self.version.to_le_bytes());
        part(&(self.params.len() as u64).to_le_bytes());
        for (role, written) in &self.params {
            part(&[match role {
                Role::Raw => 0,
                Role::Entity => 1,
                Role::State => 2,
                Role::Context => 3,
            }]);
            part(written.as_bytes());
        }
        part(self.output.as_bytes());
        for list in [&self.entities, &self.sources] {
            let mut sorted = list.clone();
            sorted.sort_unstable();
            sorted.dedup();
            part(&(sorted.len() as u64).to_le_bytes());
            sorted.iter().for_each(|source| part(source.as_bytes()));
        }
        part(&(self.relations.len() as u64).to_le_bytes());
        self.relations.iter().for_each(|relation| part(relation.id.as_str().as_bytes()));
        part(&(self.narrowed.len() as u64).to_le_bytes());
        for (source, fields) in &self.narrowed {
            part(source.as_bytes());
            part(&(fields.len() as u64).to_le_bytes());
            fields.iter().for_each(|field| part(field.as_bytes()));
        }
        *hasher.finalize().as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_the_shape_changes_the_key_and_lifetimes_do_not() {
        let base = || Declaration::new("f").param(Role::Raw, "u64").output("u64");
        let others = [
            Declaration::new("g").param(Role::Raw, "u64").output("u64"),
            base().version(2),
            base().param(Role::Raw, "u8"),
            Declaration::new("f").param(Role::Raw, "u32").output("u64"),
            Declaration::new("f").param(Role::State, "u64").output("u64"),
            Declaration::new("f").param(Role::Raw, "u64").output("u32"),
        ];
        for other in others {
            assert_ne!(base().hash(), other.hash(), "{other:?}");
        }
        let same = base().ttl(Duration::from_secs(1)).timeout(Duration::from_secs(1)).refresh(Refresh::OnRead);
        assert_eq!(base().hash(), same.hash());
    }
}
