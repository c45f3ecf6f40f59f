//! From changes to the dependencies that they affect: the entities themselves, their sources, and the relations and
//! predicates that the entities before and after lead to.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::AssertUnwindSafe,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use futures_util::{FutureExt, StreamExt, stream};

use super::{Engine, Registry};
use crate::{
    Change, ChangeKind, ChangedDependency, Clock, Comparisons, Cx, DataSource, Dependency, EntityKey, EntryId, Error,
    ErrorKind, Image, Result, Snapshot, SourceId, SystemClock, Timestamp,
    computed::{RawRelation, panic_text},
    counters,
    fields::RawIndex,
    guard::{guarded, panicked},
    tracking::CallFrame,
};

/// How many entities, which their changes do not show, are loaded at once.
const LOADED: usize = 500;
/// How long that load may take: the feed has to go on.
const LOADING: Duration = Duration::from_secs(30);
/// How long a source may take to describe how its fields compare, while a system is built.
const ASKING: Duration = Duration::from_secs(2);
/// How many relations are evaluated at the same time.
const EVALUATED: usize = 16;
/// How long a relation may take. A slower one counts as leading anywhere.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many entities a relation may lead to from one entity. Beyond it, it counts as leading anywhere.
const MAX_ENDS: usize = 10_000;

/// The relations and indexes of each source in this program.
#[derive(Debug, Default)]
pub(crate) struct Routes(BTreeMap<SourceId, Route>);

/// The relations and indexes that changes of a source lead to.
#[derive(Debug, Default)]
pub(crate) struct Route {
    pub(crate) relations: Vec<RawRelation>,
    pub(crate) indexes: Vec<RawIndex>,
    /// Whether a feed delivers its changes.
    pub(crate) fed: bool,
    /// How its fields compare, once the source has answered.
    comparisons: RwLock<Option<Arc<Comparisons>>>,
}

impl Routes {
    pub(crate) fn new(sources: &BTreeMap<SourceId, Arc<dyn DataSource>>, registry: &Registry) -> Self {
        let route = |(id, source): (&SourceId, &Arc<dyn DataSource>)| {
            let all = registry.iter().flat_map(|function| &function.relations);
            let mut relations: Vec<_> = all.filter(|relation| relation.from == id.as_str()).cloned().collect();
            relations.sort_by(|one, other| one.id.cmp(&other.id));
            let indexes = source.kind().indexes();
            let fed = source.feed().is_some();
            let route = Route { relations, indexes, fed, comparisons: RwLock::default() };
            (id.clone(), route)
        };
        Self(sources.iter().map(route).collect())
    }

    pub(crate) fn of(&self, source: &SourceId) -> Option<&Route> {
        self.0.get(source)
    }

    /// A readable name for a source, relation or index.
    pub(crate) fn describe(&self, name: &SourceId) -> String {
        let described = self.0.iter().find_map(|(source, route)| {
            let relation = route.relations.iter().find(|relation| relation.id == *name);
            let index = route.indexes.iter().find(|index| index.id == *name);
            relation
                .map(|relation| format!("the relation from {} to {}", relation.from, relation.to))
                .or_else(|| index.map(|index| format!("the index {} of {source}", index.fields.join(", "))))
        });
        described.unwrap_or_else(|| name.to_string())
    }

    /// The sources with the names of their relations and indexes: a leader confirms those that it knows. A leader of
    /// older code confirms those of the older code only.
    pub(crate) fn confirmed(&self, sources: impl IntoIterator<Item = SourceId>) -> Vec<SourceId> {
        let with_derived = |source: SourceId| {
            let derived: Vec<SourceId> = self.of(&source).into_iter().flat_map(Route::derived).cloned().collect();
            std::iter::once(source).chain(derived)
        };
        sources.into_iter().flat_map(with_derived).collect()
    }
}

impl Route {
    /// How its fields compare, if that is known.
    pub(crate) fn comparisons(&self) -> Option<Arc<Comparisons>> {
        self.comparisons.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_comparisons(&self, comparisons: Option<Arc<Comparisons>>) {
        *self.comparisons.write().unwrap_or_else(PoisonError::into_inner) = comparisons;
    }

    fn derived(&self) -> impl Iterator<Item = &SourceId> {
        let relations = self.relations.iter().map(|relation| &relation.id);
        relations.chain(self.indexes.iter().map(|index| &index.id)).filter(|_| self.fed)
    }
}

/// When a change is routed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// After its commit: every reader can see the change.
    Committed,
    /// Before its commit: other connections still read the data from before.
    Uncommitted,
}

/// The affected dependencies, each with its last change.
struct Affected {
    affected: BTreeMap<Dependency, Arc<str>>,
    at: Timestamp,
}

impl Affected {
    fn add(&mut self, dependency: Dependency, change: &Change) {
        let cause = cause(self.at, dependency, format_args!("{} {} {}", change.source, change.key, change.kind.verb()));
        // Of several changes in a batch the last one is the most useful cause.
        self.affected.insert(dependency, cause);
    }
}

/// The text of a cause: the time, the affected dependency, and the change.
pub(crate) fn cause(at: Timestamp, dependency: Dependency, change: impl std::fmt::Display) -> Arc<str> {
    format!("{} {dependency} {change}", at.as_millis()).into()
}

impl Engine {
    /// The dependencies that changes affect.
    ///
    /// # Errors
    /// The errors of sources, when an entity had to be loaded because its change does not show it.
    pub(crate) async fn route(self: &Arc<Self>, changes: &[Change], moment: Moment) -> Result<Vec<ChangedDependency>> {
        let mut affected = Affected { affected: BTreeMap::new(), at: SystemClock.now() };
        for change in changes {
            let (source, key) = (&change.source, &change.key);
            affected.add(Dependency::entity(source, key), change);
            affected.add(Dependency::source(source), change);
            match &change.fields {
                Some(fields) if change.kind == ChangeKind::Update => {
                    fields.iter().for_each(|field| affected.add(Dependency::field(source, key, field), change));
                }
                _ => affected.add(Dependency::row(source, key), change),
            }
            // Covers all relations and predicates, also those of another version of the program.
            if matches!(change.before, Snapshot::Unknown) || matches!(change.after, Snapshot::Unknown) {
                affected.add(Dependency::wildcard(source), change);
            }
        }
        self.affect_relations(changes, moment, &mut affected).await;
        self.affect_predicates(changes, moment, &mut affected).await?;
        Ok(affected.affected.into_iter().map(|(dependency, cause)| ChangedDependency { dependency, cause }).collect())
    }

    /// How the fields of a source compare; asks the source once.
    pub(crate) async fn comparisons(&self, source: &Arc<dyn DataSource>) -> Result<Arc<Comparisons>> {
        let route = self.routes.of(source.id());
        if let Some(known) = route.and_then(Route::comparisons) {
            return Ok(known);
        }
        let comparisons = source.comparisons().await.map_err(|error| error.with_context("source", source.id()))?;
        let comparisons = Arc::new(comparisons);
        if let Some(route) = route {
            route.set_comparisons(Some(Arc::clone(&comparisons)));
        }
        Ok(comparisons)
    }

    /// Asks all sources how the fields of their predicates compare, and refuses indexes of fields that do not. A source
    /// that is away is asked again when it is needed.
    pub(crate) async fn check_indexes(&self) -> Result<()> {
        let indexed = self.sources.values().filter(|source| !source.kind().indexed_fields().is_empty());
        let checks = indexed.map(|source| async move {
            match tokio::time::timeout(ASKING, self.comparisons(source)).await {
                Ok(Ok(comparisons)) => comparisons
                    .check(source.kind().indexed_fields())
                    .map_err(|error| error.with_context("source", source.id())),
                Ok(Err(error)) => {
                    tracing::debug!(source = %source.id(), error = %error.report(), "the source is asked later how its fields compare");
                    Ok(())
                }
                Err(_) => Ok(()),
            }
        });
        futures_util::future::try_join_all(checks).await.map(drop)
    }

    /// Asks sources again whose fields may have other types now. Without an answer the comparisons are unknown.
    pub(crate) async fn ask_comparisons_again(&self, sources: &[SourceId]) {
        let known = sources.iter().filter_map(|id| Some((self.sources.get(id)?, self.routes.of(id)?)));
        let asked = known.filter(|(_, route)| !route.indexes.is_empty()).map(|(source, route)| async move {
            let asked = AssertUnwindSafe(tokio::time::timeout(ASKING, source.comparisons())).catch_unwind().await;
            let answer = asked.ok().and_then(|answer| answer.ok()?.ok());
            route.set_comparisons(answer.map(Arc::new));
        });
        futures_util::future::join_all(asked).await;
    }

    /// Asks a source in the background, for a run that needs the answer.
    pub(crate) fn ask_comparisons(self: &Arc<Self>, source: &Arc<dyn DataSource>) {
        let engine = Arc::downgrade(self);
        let source = Arc::clone(source);
        self.background.spawn_if_possible(async move {
            if let Some(engine) = engine.upgrade()
                && let Err(error) = engine.comparisons(&source).await
            {
                tracing::debug!(source = %source.id(), error = %error.report(), "how its fields are compared is not known");
            }
        });
    }

    async fn affect_relations(self: &Arc<Self>, changes: &[Change], moment: Moment, affected: &mut Affected) {
        let nowhere =
            CallFrame { parent: EntryId::from_bytes([0; EntryId::LEN]), token: None, start_revision: None, depth: 1 };
        let cx = Cx::new(Arc::clone(self), nowhere);
        let relations = |change: &Change| self.routes.of(&change.source).into_iter().flat_map(|route| &route.relations);
        // Where such a relation leads depends on the rest of the transaction, which no other connection sees yet.
        let leads_anywhere = |relation: &RawRelation| relation.reads && moment == Moment::Uncommitted;
        for change in changes.iter().filter(|change| relations(change).any(leads_anywhere)) {
            affected.add(Dependency::wildcard(&change.source), change);
        }
        let related = changes.iter().flat_map(|change| {
            let relations = relations(change).filter(|relation| !leads_anywhere(relation));
            relations.flat_map(move |relation| images(change).map(move |image| (change, relation, image)))
        });
        let evaluate = |(change, relation, image)| {
            let cx = &cx;
            async move { (change, relation, evaluate(relation, cx, image).await) }
        };
        let mut ends = stream::iter(related.map(evaluate).collect::<Vec<_>>()).buffered(EVALUATED);
        while let Some((change, relation, ends)) = ends.next().await {
            match ends {
                Ok(ends) => {
                    for end in &ends {
                        affected.add(Dependency::relation(&relation.id, &change.source, end), change);
                    }
                }
                Err(error) => {
                    counters::count(&self.tally.wildcard_changes);
                    tracing::warn!(?relation, entity = %change.key, error = %error.report(), "where a relation leads is not known: everything that it may lead to goes stale");
                    affected.add(Dependency::wildcard(&change.source), change);
                }
            }
        }
    }

    async fn affect_predicates(&self, changes: &[Change], moment: Moment, affected: &mut Affected) -> Result<()> {
        let present = match moment {
            Moment::Committed => self.present(changes).await?,
            Moment::Uncommitted => BTreeMap::new(),
        };
        for change in changes {
            let Some(route) = self.routes.of(&change.source) else { continue };
            let unknown = matches!(change.after, Snapshot::Unknown);
            let now = present.get(&(&change.source, &change.key)).filter(|_| unknown);
            if route.indexes.is_empty() {
                continue;
            }
            let comparisons = match self.sources.get(&change.source) {
                Some(source) => self.comparisons(source).await,
                None => continue,
            };
            let comparisons = match comparisons {
                Ok(comparisons) => comparisons,
                Err(error) => {
                    tracing::warn!(source = %change.source, error = %error.report(), "how the fields of a source are compared is not known: all of its predicates go stale");
                    counters::count(&self.tally.wildcard_changes);
                    for index in &route.indexes {
                        affected.add(Dependency::incomparable(&index.id, &change.source), change);
                    }
                    continue;
                }
            };
            for index in &route.indexes {
                let mut found = BTreeSet::new();
                let mut unreadable = unknown && route.fed && matches!(now, None | Some(Present::Unreadable));
                for image in images(change).chain(now.and_then(Present::image)) {
                    let what = format!("the `Serialize` of the index {index:?} of `{}`", change.source);
                    match guarded(&what, || index.values(image, &comparisons)) {
                        Ok(values) => drop(found.insert(values)),
                        Err(error) => {
                            tracing::warn!(?index, entity = %change.key, error = %error.report(), "an entity cannot be compared with predicates: all of them go stale");
                            unreadable = true;
                        }
                    }
                }
                if unreadable {
                    counters::count(&self.tally.wildcard_changes);
                    affected.add(Dependency::incomparable(&index.id, &change.source), change);
                }
                for values in found {
                    affected.add(Dependency::predicate(&index.id, &change.source, &values), change);
                }
            }
        }
        Ok(())
    }

    /// The present state of the entities whose changes do not show it. It may be later than the change, which is right:
    /// a result that matched in between has either read the entity, and depends on it, or has not. Only for sources
    /// with feeds: elsewhere predicates depend on every change that does not show the entity.
    async fn present<'a>(&self, changes: &'a [Change]) -> Result<BTreeMap<(&'a SourceId, &'a EntityKey), Present>> {
        let mut wanted: BTreeMap<&SourceId, BTreeSet<&EntityKey>> = BTreeMap::new();
        for change in changes.iter().filter(|change| matches!(change.after, Snapshot::Unknown)) {
            if self.routes.of(&change.source).is_some_and(|route| route.fed && !route.indexes.is_empty()) {
                wanted.entry(&change.source).or_default().insert(&change.key);
            }
        }
        let mut present = BTreeMap::new();
        for (id, keys) in wanted {
            let Some(source) = self.sources.get(id) else { continue };
            let keys: Vec<&EntityKey> = keys.into_iter().collect();
            for keys in keys.chunks(LOADED) {
                let owned: Vec<EntityKey> = keys.iter().copied().cloned().collect();
                let loading = AssertUnwindSafe(source.load(&owned)).catch_unwind().map(|loaded| {
                    let what = format!("the source `{id}`");
                    loaded.unwrap_or_else(|panic| Err(panicked(&what, panic_text(panic.as_ref()))))
                });
                let loading = tokio::time::timeout(LOADING, loading).await.unwrap_or_else(|_| {
                    Err(Error::new(ErrorKind::Timeout, format!("the source took longer than {LOADING:?}")))
                });
                match loading {
                    Ok(images) if images.len() == keys.len() => {
                        let image = |image: Option<Image>| image.map_or(Present::Absent, Present::Image);
                        present.extend(keys.iter().map(|&key| (id, key)).zip(images.into_iter().map(image)));
                    }
                    // The next try would fail as well, and the feed has to get past the change.
                    Err(error) if !error.is_transient() => {
                        tracing::warn!(source = %id, error = %error.report(), "changed entities cannot be loaded: all predicates of their source go stale");
                        present.extend(keys.iter().map(|&key| ((id, key), Present::Unreadable)));
                    }
                    Err(error) => return Err(error.with_context("source", id)),
                    Ok(_) => {
                        let message =
                            format!("the source `{id}` answered another number of entities than it was asked for");
                        return Err(Error::new(ErrorKind::Internal, message));
                    }
                }
            }
        }
        Ok(present)
    }
}

/// The present state of an entity.
enum Present {
    Absent,
    Unreadable,
    Image(Image),
}

impl Present {
    fn image(&self) -> Option<&Image> {
        match self {
            Self::Image(image) => Some(image),
            Self::Absent | Self::Unreadable => None,
        }
    }
}

/// The known images of a change.
fn images(change: &Change) -> impl Iterator<Item = &Image> {
    [&change.before, &change.after].into_iter().filter_map(|snapshot| match snapshot {
        Snapshot::Known(image) => Some(image),
        Snapshot::Unknown | Snapshot::Absent => None,
    })
}

async fn evaluate(relation: &RawRelation, cx: &Cx, image: &Image) -> Result<Vec<EntityKey>> {
    // A panic must not end the feed that delivered the change.
    let keys = AssertUnwindSafe(async { relation.keys(cx, image).await }).catch_unwind();
    let ends = match tokio::time::timeout(PATIENCE, keys).await {
        Ok(Ok(ends)) => ends?,
        Ok(Err(panic)) => {
            let what = format!("the relation {relation:?}");
            return Err(panicked(&what, panic_text(panic.as_ref())));
        }
        Err(_) => return Err(Error::new(ErrorKind::Timeout, format!("the relation took longer than {PATIENCE:?}"))),
    };
    if ends.len() > MAX_ENDS {
        let message =
            format!("the relation leads to {} entities; at most {MAX_ENDS} are followed one by one", ends.len());
        return Err(Error::new(ErrorKind::TooLarge, message));
    }
    Ok(ends)
}
