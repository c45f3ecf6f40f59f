//! Why an entry is fresh or stale.

use std::{collections::BTreeMap, fmt, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::Inspector;
use crate::{
    Call, ChangeKind, Computed, Dependency, DependencyKind, EntryId, FoundJob, Freshness, FullRecord, JobState, Record,
    Result, RunFailure, SourceId, Staleness, Timestamp, Via, call_key::describe, engine::Engine, tracking::Meta,
};

/// How many entries are inspected for the path of a change.
const LOOKED_AT: usize = 1_000;

/// Why an entry is fresh or stale, what happens next, and what it is made of. `Display` says it in a few lines.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Why {
    /// The entry.
    pub id: EntryId,
    /// The call, readable: `greeting@1("anna")`. Only the id where nothing is stored and the program does not know the
    /// call.
    pub call: String,
    /// The time of the answer, by the store's clock.
    pub now: Timestamp,
    /// The state of the entry.
    pub state: WhyState,
    /// The stored value, if there is one.
    pub stored: Option<WhyStored>,
    /// The changes that affected it since it was computed, the newest last. Stores keep the last eight changes. A
    /// change that affects several dependencies appears once, with its shortest path.
    pub causes: Vec<Cause>,
    /// Its job, if it has one.
    pub job: Option<FoundJob>,
    /// The last failure since the last success.
    pub failure: Option<RunFailure>,
    /// Runs in a row that failed.
    pub failures: u32,
    /// Runs in a row that a change overtook.
    pub conflicts: u32,
    /// Its dependencies, counted.
    pub depends_on: Vec<WhyDependsOn>,
    /// The nested calls that it is made of, in the order of use, at most 20.
    pub calls: Vec<String>,
}

/// The state of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhyState {
    /// Nothing is stored.
    Absent,
    /// The value reflects every change that was acknowledged before `as_of`.
    Fresh {
        /// The store's time of this answer.
        as_of: Timestamp,
    },
    /// Something that it depends on changed.
    Stale {
        /// Since when.
        since: Timestamp,
        /// Whether the function must run again. Otherwise the entry is maybe stale: only nested calls were affected,
        /// and if their values come out equal, so does this one.
        must_run: bool,
        /// The sources that have started a new epoch, for example because their history was lost; `everything` for the
        /// whole namespace.
        lost: Vec<String>,
    },
    /// No change of the value is known, but at the moment no feed confirms some of its sources.
    Unconfirmed {
        /// The sources whose feed does not keep up, and the relations and indexes that the feed's leader does not know.
        silent: Vec<String>,
    },
    /// The value has expired.
    Expired {
        /// Since when.
        since: Timestamp,
    },
}

/// Facts about a stored value.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WhyStored {
    /// The store's revision before its run read any data.
    pub version: u64,
    /// When it was stored.
    pub at: Timestamp,
    /// When it expires.
    pub expires: Option<Timestamp>,
    /// How long its function ran.
    pub took: Option<Duration>,
    /// The size of the encoded value in bytes.
    pub bytes: usize,
    /// Whether a reader recomputes it when it is stale, instead of a worker.
    pub lazy: bool,
}

/// A change that affects an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cause {
    /// When the change was handed to the store, by the clock of the process that did it.
    pub at: Option<Timestamp>,
    /// The kind of the dependency that it affects.
    pub dependency: Option<DependencyKind>,
    /// The source, where it was a change of an entity.
    pub source: Option<String>,
    /// The id of the entity.
    pub entity: Option<String>,
    /// The kind of the change.
    pub kind: Option<ChangeKind>,
    /// The change in words: `grades 7 updated`.
    pub text: String,
    /// The calls from the one that read the changed data up to the entry itself. A call whose entry was recomputed
    /// since may be missing.
    pub path: Vec<String>,
}

/// How many dependencies of a kind and a source an entry has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct WhyDependsOn {
    /// The source, for kinds that are of one.
    pub source: Option<SourceId>,
    /// The kind.
    pub kind: DependencyKind,
    /// How many the function itself read.
    pub direct: usize,
    /// How many only its nested calls read.
    pub through_calls: usize,
}

impl Inspector {
    /// Why the result of a call is fresh or stale: since when, which change affected it by which path, which job it has
    /// and how its last run failed.
    ///
    /// # Errors
    /// [`ErrorKind::Unregistered`](crate::ErrorKind::Unregistered),
    /// [`ErrorKind::Argument`](crate::ErrorKind::Argument); the store's and the queue's errors.
    pub async fn why<F: Computed>(&self, call: Call<F>) -> Result<Why> {
        let (function, key) = self.engine.key(&call)?;
        let mut why = self.why_entry(&key.id).await?;
        why.call = describe(&key.id, &key.stored(function.name, function.version));
        Ok(why)
    }

    /// The same for an entry by its id, as it appears in logs and listings.
    ///
    /// # Errors
    /// The store's and the queue's errors.
    pub async fn why_entry(&self, id: &EntryId) -> Result<Why> {
        let engine = &self.engine;
        let full = engine.timed("read_record", engine.store.read_record(id)).await?;
        let job = engine.timed("find", engine.queue.find(id)).await?;
        let Some(record) = &full.record else {
            return Ok(Why {
                id: *id,
                call: format!("the entry {id}"),
                now: full.now,
                state: WhyState::Absent,
                stored: None,
                causes: Vec::new(),
                job,
                failure: None,
                failures: 0,
                conflicts: 0,
                depends_on: Vec::new(),
                calls: Vec::new(),
            });
        };
        let meta = Meta::read(&record.entry.meta);
        let mut causes: Vec<Cause> = Vec::with_capacity(record.causes.len());
        for text in &record.causes {
            let cause = engine.cause(id, record, text).await?;
            // One change may affect an entry by several dependencies: the shortest path is the most useful one.
            match causes.iter_mut().find(|known| (known.at, &known.text) == (cause.at, &cause.text)) {
                Some(known) if known.path.len() > cause.path.len() => *known = cause,
                Some(_) => {}
                None => causes.push(cause),
            }
        }
        let mut calls = Vec::new();
        for child in meta.iter().flat_map(|meta| &meta.child_calls).take(20) {
            calls.push(engine.call_of(&child.id).await?);
        }
        Ok(Why {
            id: *id,
            call: describe(id, &record.call),
            now: full.now,
            state: state(engine, &full, record),
            stored: Some(WhyStored {
                version: record.entry.version,
                at: record.entry.stored_at,
                expires: record.entry.expires,
                took: meta.map(|meta| meta.cost),
                bytes: record.entry.value.len(),
                lazy: record.lazy,
            }),
            causes,
            job,
            failure: record.last_failure.clone(),
            failures: record.failures,
            conflicts: record.conflicts,
            depends_on: engine.depends_on(record),
            calls,
        })
    }
}

/// The state of an entry, by the one definition of freshness.
pub(super) fn state(engine: &Engine, full: &FullRecord, record: &Record) -> WhyState {
    let entry = &record.entry;
    if let Some(since) = entry.expires.filter(|_| entry.is_expired(full.now)) {
        return WhyState::Expired { since };
    }
    let meta = Meta::read(&entry.meta);
    match engine.freshness(&full.validity, entry, meta.as_ref(), full.now, &full.incarnation) {
        Freshness::Fresh { as_of } => WhyState::Fresh { as_of },
        Freshness::Stale { since } => {
            let other = |(source, epoch): &&(SourceId, _)| {
                full.validity.sources.get(source).is_none_or(|validity| validity.epoch != *epoch)
            };
            let other = entry.epochs.sources.iter().filter(other);
            let mut lost: Vec<String> = other.map(|(source, _)| engine.routes.describe(source)).collect();
            if full.validity.epoch != entry.epochs.global {
                lost = vec!["everything".to_owned()];
            }
            WhyState::Stale { since, must_run: entry.staleness != Staleness::MaybeStale || !lost.is_empty(), lost }
        }
        Freshness::Unconfirmed { .. } => {
            let silent = |(source, _): &&(SourceId, _)| {
                full.validity.sources.get(source).is_none_or(|validity| {
                    validity.caught_up_on.as_ref() != Some(&full.incarnation)
                        || validity.valid_until.or(full.validity.attached_until).is_some_and(|until| until <= full.now)
                })
            };
            let silent = entry.epochs.sources.iter().filter(silent);
            WhyState::Unconfirmed { silent: silent.map(|(source, _)| engine.routes.describe(source)).collect() }
        }
    }
}

impl Engine {
    /// The call of an entry, readable.
    pub(super) async fn call_of(&self, id: &EntryId) -> Result<String> {
        let record = self.timed("inspect", self.store.inspect(id)).await?;
        let call = record.map_or_else(Bytes::new, |record| record.call);
        Ok(match self.registry.by_key(id.function()) {
            Some(function) if call.is_empty() => format!("{}@{}(…)", function.name, function.version),
            _ => describe(id, &call),
        })
    }

    async fn cause(&self, id: &EntryId, record: &Record, text: &str) -> Result<Cause> {
        let mut cause = Cause::parse(text);
        if let Some((dependency, _)) = parts(text).map(|(_, dependency, text)| (dependency, text)) {
            let mut budget = LOOKED_AT;
            let path = self.path(*id, record.clone(), dependency, &mut budget).await?;
            cause.path = path.unwrap_or_else(|| vec![describe(id, &record.call)]);
        } else {
            cause.path = vec![describe(id, &record.call)];
        }
        Ok(cause)
    }

    /// The calls from the one that read something itself up to this one.
    fn path<'a>(
        &'a self,
        id: EntryId,
        record: Record,
        dependency: Dependency,
        budget: &'a mut usize,
    ) -> BoxFuture<'a, Result<Option<Vec<String>>>> {
        Box::pin(async move {
            let own = describe(&id, &record.call);
            let via = record.used.iter().find(|used| used.dependency == dependency).map(|used| used.via);
            if via != Some(Via::Child) {
                return Ok(via.map(|_| vec![own]));
            }
            for child in Meta::read(&record.entry.meta).iter().flat_map(|meta| &meta.child_calls) {
                *budget = budget.saturating_sub(1);
                if *budget == 0 {
                    break;
                }
                if Dependency::entry(&child.id) == dependency {
                    return Ok(Some(vec![self.call_of(&child.id).await?, own]));
                }
                let Some(record) = self.timed("inspect", self.store.inspect(&child.id)).await? else { continue };
                if let Some(mut path) = self.path(child.id, record, dependency, budget).await? {
                    path.push(own);
                    return Ok(Some(path));
                }
            }
            Ok(Some(vec![own]))
        })
    }

    /// The dependencies of an entry, counted by kind and source.
    pub(super) fn depends_on(&self, record: &Record) -> Vec<WhyDependsOn> {
        let mut counts: BTreeMap<(Option<&SourceId>, DependencyKind), (usize, usize)> = BTreeMap::new();
        for used in &record.used {
            let Some(kind) = used.dependency.kind() else { continue };
            let source = self.sources.keys().find(|source| used.dependency.may_be_of(source));
            let (direct, through_calls) = counts.entry((source, kind)).or_default();
            match used.via {
                Via::Direct => *direct += 1,
                Via::Child => *through_calls += 1,
                Via::Guard => {}
            }
        }
        let counted = |((source, kind), (direct, through_calls)): ((Option<&SourceId>, _), _)| WhyDependsOn {
            source: source.cloned(),
            kind,
            direct,
            through_calls,
        };
        counts.into_iter().map(counted).filter(|count| count.direct + count.through_calls > 0).collect()
    }
}

/// The parts of a cause: the time, the affected dependency, and the change in words.
fn parts(text: &str) -> Option<(Timestamp, Dependency, &str)> {
    let (at, rest) = text.split_once(' ')?;
    let (dependency, change) = rest.split_once(' ')?;
    Some((Timestamp::from_millis(at.parse().ok()?), Dependency::from_hex(dependency)?, change))
}

impl Cause {
    fn parse(text: &str) -> Self {
        let (at, dependency, text) = match parts(text) {
            Some((at, dependency, text)) => (Some(at), Some(dependency), text),
            None => (None, None, text),
        };
        let kinds = [ChangeKind::Insert, ChangeKind::Update, ChangeKind::Put, ChangeKind::Delete, ChangeKind::Reset];
        let change = text.split_once(' ').and_then(|(source, rest)| {
            let (entity, verb) = rest.rsplit_once(' ')?;
            Some((source, entity, kinds.into_iter().find(|kind| kind.verb() == verb)?))
        });
        let of_a_source = dependency.is_some_and(|dependency| {
            !matches!(dependency.kind(), Some(DependencyKind::Tag | DependencyKind::Function | DependencyKind::Entry))
        });
        let change = change.filter(|_| of_a_source);
        Self {
            at,
            dependency: dependency.and_then(|dependency| dependency.kind()),
            source: change.map(|(source, ..)| source.to_owned()),
            entity: change.map(|(_, entity, _)| entity.to_owned()),
            kind: change.map(|(.., kind)| kind),
            text: text.to_owned(),
            path: Vec::new(),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ago = |at: Timestamp| match self.now.since(at) {
            Duration::ZERO => "0 ms".to_owned(),
            since => format!("{since:.1?}"),
        };
        write!(f, "{} is ", self.call)?;
        match &self.state {
            WhyState::Absent => f.write_str("not stored: the next reader computes it")?,
            WhyState::Fresh { .. } => f.write_str("fresh")?,
            WhyState::Stale { since, must_run, lost } => {
                write!(f, "stale for {}", ago(*since))?;
                f.write_str(if *must_run { ": its function must run again" } else { ", only through nested calls" })?;
                if !lost.is_empty() {
                    write!(f, "; lost: {}", lost.join(", "))?;
                }
            }
            WhyState::Unconfirmed { silent } => {
                write!(f, "unconfirmed: no feed that keeps up confirms {}", silent.join(", "))?;
            }
            WhyState::Expired { since } => write!(f, "expired for {}", ago(*since))?,
        }
        for cause in &self.causes {
            write!(f, "\n  changed by: {}", cause.text)?;
            if cause.path.len() > 1 {
                write!(f, ", through {}", cause.path.join(" → "))?;
            }
        }
        if let Some(stored) = &self.stored {
            write!(f, "\n  stored: {} ago, {} bytes", ago(stored.at), stored.bytes)?;
            if let Some(took) = stored.took {
                write!(f, ", computed in {took:.1?}")?;
            }
            if let Some(expires) = stored.expires {
                write!(f, ", expires in {:.1?}", expires.since(self.now))?;
            }
        }
        if !self.depends_on.is_empty() {
            let each: Vec<String> = self.depends_on.iter().map(ToString::to_string).collect();
            write!(f, "\n  depends on: {}", each.join(", "))?;
        }
        if !self.calls.is_empty() {
            write!(f, "\n  made of: {}", self.calls.join(", "))?;
        }
        match &self.job {
            Some(job) => {
                let what = match job.state {
                    JobState::Running => "is running",
                    JobState::DeadLetter => "is dead: see `dead_letters` and `requeue`",
                    _ => "is queued",
                };
                write!(f, "\n  its job {what}, after {} errors and {} crashes", job.errors, job.crashes)?;
            }
            None if matches!(self.state, WhyState::Stale { .. }) => {
                let lazy = self.stored.as_ref().is_some_and(|stored| stored.lazy);
                f.write_str(if lazy {
                    "\n  no job: the next reader computes it"
                } else {
                    "\n  no job: maintenance queues it"
                })?;
            }
            None => {}
        }
        if let Some(failure) = &self.failure {
            write!(f, "\n  failed {} times, last {} ago: {}", self.failures, ago(failure.at), failure.message)?;
        }
        if self.conflicts > 0 {
            write!(f, "\n  overtaken by changes {} times", self.conflicts)?;
        }
        Ok(())
    }
}

impl fmt::Display for WhyDependsOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let many = self.direct + self.through_calls;
        let of = self.source.as_ref().map(|source| format!(" of {source}")).unwrap_or_default();
        let (one, several) = match self.kind {
            DependencyKind::Entity => ("entity", "entities"),
            DependencyKind::Row => ("entity in part", "entities in part"),
            DependencyKind::Field => ("field", "fields"),
            DependencyKind::Source => return write!(f, "all{of}"),
            DependencyKind::Predicate => ("predicate", "predicates"),
            DependencyKind::Relation => ("relation", "relations"),
            DependencyKind::Wildcard => return write!(f, "changes{of} without images"),
            DependencyKind::Tag => ("tag", "tags"),
            DependencyKind::Function => ("function", "functions"),
            DependencyKind::Entry => ("nested call", "nested calls"),
        };
        write!(f, "{many} {}{of}", if many == 1 { one } else { several })
    }
}
