//! The computed functions of a program, by key and by type.

use std::{
    any::TypeId,
    collections::{HashMap, HashSet},
    fmt,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use super::observe::Observed;
use crate::{
    Codec, Computed, Cx, Declaration, Error, ErrorKind, FunctionKey, Result, SourceId, canonical,
    codec::{self, Encoded},
    computed::{Outages, RawRelation},
    settings::Settings,
    shape::Shape,
    tracking::{Meta, NameHash},
};

/// A registered function, without its types.
pub(crate) struct Function {
    pub(crate) name: &'static str,
    pub(crate) version: u32,
    pub(crate) key: FunctionKey,
    /// Every source that it declares.
    pub(crate) sources: Vec<SourceId>,
    /// The sources that it reads as a whole.
    pub(crate) whole: Vec<SourceId>,
    pub(crate) relations: Vec<RawRelation>,
    pub(crate) declaration: Declaration,
    pub(super) observed: Mutex<Observed>,
    pub(crate) ttl: Option<Duration>,
    pub(crate) timeout: Duration,
    pub(crate) lazy: bool,
    /// How long errors are kept.
    pub(crate) cache_errors: Option<Duration>,
    pub(crate) remove_on_permanent: bool,
    /// Whether its result type hides its shape, so that each stored value is compared with the form that the type
    /// writes.
    pub(crate) hides_its_shape: bool,
    run: Box<Runner>,
}

/// A value with its bytes, from a run.
pub(crate) struct Output {
    pub(crate) value: Arc<dyn std::any::Any + Send + Sync>,
    pub(crate) encoded: Encoded,
}

type Running = Pin<Box<dyn Future<Output = Result<Output>> + Send>>;
type Runner = dyn Fn(Cx, Bytes) -> Running + Send + Sync;

impl Function {
    pub(crate) fn of<F: Computed>(settings: &Settings) -> Result<Self> {
        let declaration = F::declaration();
        let (_, sources) = declaration.names()?;
        declaration.check_relations()?;
        let name = declaration.id;
        for (what, duration) in
            [("ttl", declaration.ttl), ("timeout", declaration.timeout), ("cache_errors", declaration.cache_errors)]
        {
            if duration.is_some_and(|duration| duration.as_millis() == 0) {
                let message =
                    format!("the {what} of the function `{name}` is below a millisecond: give it more, or none");
                return Err(Error::new(ErrorKind::Config, message));
            }
        }
        let codec = settings.codec;
        let limit = settings.max_value_bytes;
        let argument_limit = settings.max_argument_bytes;
        let outages = settings.outages;
        Ok(Self {
            name,
            version: declaration.version,
            key: FunctionKey::of::<F>(),
            sources,
            whole: declaration.sources.iter().map(SourceId::new).collect::<Result<_>>()?,
            ttl: declaration.ttl,
            timeout: declaration.timeout.unwrap_or(Duration::from_secs(300)),
            lazy: declaration.refresh == crate::Refresh::OnRead,
            cache_errors: declaration.cache_errors,
            remove_on_permanent: declaration.remove_on_permanent,
            hides_its_shape: !Shape::of::<F::Output>().is_complete(),
            relations: declaration.relations.clone(),
            declaration,
            observed: Mutex::default(),
            run: Box::new(move |cx, args| Box::pin(run::<F>(cx, name, args, argument_limit, codec, limit, outages))),
        })
    }

    /// The name of the function in notes.
    pub(crate) fn noted(&self) -> (FunctionKey, NameHash) {
        (self.key, name_hash(self.name))
    }

    /// Decodes a stored value.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when it cannot be read, or a type of another shape wrote it.
    pub(crate) fn value<T: Serialize + DeserializeOwned>(&self, meta: &Meta, bytes: &[u8]) -> Result<T> {
        let value = codec::decode(bytes)?;
        if self.hides_its_shape && codec::form(&value) != meta.form {
            return Err(Error::new(ErrorKind::Corrupt, "a stored value is of a type that has other fields now"));
        }
        Ok(value)
    }

    pub(crate) fn run(&self, cx: Cx, args: Bytes) -> Running {
        (self.run)(cx, args)
    }
}

async fn run<F: Computed>(
    cx: Cx,
    name: &'static str,
    args: Bytes,
    argument_limit: usize,
    codec: Codec,
    limit: usize,
    outages: Option<Outages>,
) -> Result<Output> {
    let unfaithful = || {
        let fix = "make the `Serialize` and `Deserialize` of its types agree";
        Error::new(ErrorKind::Argument, format!("an argument of `{name}` does not survive serialization: {fix}"))
    };
    let decoded: F::Args = canonical::from_slice(&args).map_err(|error| unfaithful().with_source(error))?;
    // Without this check a worker could compute with other arguments than the reader asked for.
    let again = canonical::to_vec(&decoded, argument_limit).map_err(|error| unfaithful().with_source(error))?;
    if !canonical::equal_but_for_order(&again, &args) {
        return Err(unfaithful());
    }
    let value = F::compute(&cx, decoded).await.map_err(|failure| failure.into_error(name, outages))?;
    let encoded = codec::encode(&value, codec, limit).map_err(|error| error.with_context("function", name))?;
    Ok(Output { value: Arc::new(value), encoded })
}

/// All functions of a program.
#[derive(Default)]
pub(crate) struct Registry {
    by_key: HashMap<FunctionKey, Arc<Function>>,
    by_type: HashMap<TypeId, Arc<Function>>,
    names: HashSet<NameHash>,
}

fn name_hash(name: &str) -> NameHash {
    let mut hash = [0; 8];
    hash.copy_from_slice(&blake3::hash(name.as_bytes()).as_bytes()[..8]);
    hash
}

impl Registry {
    pub(crate) fn add(&mut self, of: TypeId, function: Function) -> Result<()> {
        if let Some(other) = self.by_key.values().find(|other| other.name == function.name) {
            // The same type twice is a harmless repetition; two types under one id would share entries.
            if self.by_type.get(&of).is_some_and(|known| Arc::ptr_eq(known, other)) {
                return Ok(());
            }
            let fix = "give one of them another `id`";
            let message = format!("two computed functions have the id `{}`: {fix}", function.name);
            return Err(Error::new(ErrorKind::Config, message));
        }
        if let Some(other) = self.by_key.get(&function.key) {
            let message =
                format!("the functions `{}` and `{}` hash alike: give one another `id`", function.name, other.name);
            return Err(Error::new(ErrorKind::Config, message));
        }
        let function = Arc::new(function);
        self.by_key.insert(function.key, Arc::clone(&function));
        self.names.insert(name_hash(function.name));
        self.by_type.insert(of, function);
        Ok(())
    }

    pub(crate) fn get<F: Computed>(&self) -> Result<&Arc<Function>> {
        self.by_type.get(&TypeId::of::<F>()).ok_or_else(|| {
            let id = F::declaration().id;
            let fix = "add `.register::<…>()` to the builder";
            Error::new(ErrorKind::Unregistered, format!("the computed function `{id}` is not registered: {fix}"))
        })
    }

    pub(crate) fn by_key(&self, key: FunctionKey) -> Option<&Arc<Function>> {
        self.by_key.get(&key)
    }

    /// Whether a value used a function that this program has in another version.
    pub(crate) fn has_replaced(&self, meta: &Meta) -> bool {
        meta.called.iter().any(|(key, name)| !self.by_key.contains_key(key) && self.names.contains(name))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Function>> {
        self.by_key.values()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.by_key.values().map(|function| function.name)).finish()
    }
}
