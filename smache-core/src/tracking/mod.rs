//! The tracking context: a result depends on everything that its function reads through it.

use std::{
    any::{Any, TypeId, type_name},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

mod again;
mod call;
mod current;
mod failed;
mod meta;
mod predicate;
mod reads;
mod tracked;

pub use self::current::note_read;
pub(crate) use self::{
    again::{Again, Read, What},
    call::{CallFrame, ChildCall},
    current::RUN,
    failed::FailedReads,
    meta::{Meta, NameHash},
    tracked::{StoredUses, Tracked},
};
use crate::{DataSource, EntityType, Error, ErrorKind, Result, State, engine::Engine, on::DependsOn};

/// The context of one run of a computed function. Cheap to clone.
///
/// Reads go to the sources *after* the run began, and are remembered as dependencies without a round trip to the store.
#[derive(Clone)]
pub struct Cx {
    engine: Arc<Engine>,
    frame: CallFrame,
    tracked: Arc<Mutex<Tracked>>,
}

impl Cx {
    pub(crate) fn new(engine: Arc<Engine>, frame: CallFrame) -> Self {
        Self { engine, frame, tracked: Arc::default() }
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Where a nested call of this run happens.
    pub(crate) fn frame(&self) -> CallFrame {
        self.frame
    }

    pub(crate) fn tracked(&self) -> MutexGuard<'_, Tracked> {
        // A panic under the lock leaves a set that is complete up to that read: still right to use.
        self.tracked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer of a source. An error is no data: a function that tolerates it must run again.
    fn explained<T>(&self, answer: Result<T>) -> Result<T> {
        answer.inspect_err(|error| {
            let mut tracked = self.tracked();
            tracked.unexplained();
            if error.is_outage() {
                tracked.met_outage();
            }
        })
    }

    /// Makes the result depend on something that the function reads by its own client: a [`tag`], a
    /// [`Predicate`](crate::Predicate), an entity ([`on::entity`](crate::on::entity)) or a whole source
    /// ([`on::all`](crate::on::all)). The call may come before or after the read.
    ///
    /// The read must see every change that was acknowledged before the run began: it goes to the primary.
    ///
    /// # Errors
    /// As [`find`](Self::find), without those of reading.
    ///
    /// [`tag`]: crate::tag
    pub fn depends_on(&self, what: impl DependsOn) -> Result<()> {
        what.track(self)
    }

    /// Notes that the function reads a source by its own client, for [strict mode](crate::Builder::strict) and the
    /// [auditor](crate::inspect::Inspector::audit). The result does not depend on the source by this: use a relation or
    /// [`depends_on`](Self::depends_on).
    ///
    /// # Errors
    /// [`ErrorKind::Unregistered`] when the source is not registered.
    pub fn reads<T: EntityType>(&self) -> Result<()> {
        let source = self.source_of::<T>()?.id();
        self.tracked().reads(source);
        Ok(())
    }

    /// The same by the name of the source. Says whether there is one.
    pub(crate) fn note_read(&self, source: &str) -> bool {
        let known = self.engine.sources.keys().find(|known| known.as_str() == source);
        known.inspect(|source| self.tracked().reads(source)).is_some()
    }

    /// The application's state of a type.
    ///
    /// # Errors
    /// [`ErrorKind::Unregistered`] when the builder has none.
    pub fn state<T: Send + Sync + 'static>(&self) -> Result<State<T>> {
        let state = self.engine.states.get(&TypeId::of::<T>()).and_then(|state| Arc::clone(state).downcast().ok());
        state.map(State::shared).ok_or_else(|| {
            let name = type_name::<T>();
            let fix = "give it to the builder with `.state(value)`";
            Error::new(ErrorKind::Unregistered, format!("there is no state of type `{name}`: {fix}"))
        })
    }

    pub(crate) fn source_of<T: EntityType>(&self) -> Result<&Arc<dyn DataSource>> {
        self.engine.source_of::<T>()
    }
}

/// The states of an application, by type.
pub(crate) type States = std::collections::HashMap<TypeId, Arc<dyn Any + Send + Sync>>;

impl fmt::Debug for Cx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cx").field("tracked", &*self.tracked()).finish_non_exhaustive()
    }
}
