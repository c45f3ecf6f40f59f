//! The uses of a run: what its result depends on.

use std::collections::{BTreeMap, BTreeSet};

use super::{ChildCall, Meta, NameHash, again};
use crate::{
    Dependency, DependencyKind, Error, Freshness, FunctionKey, Record, SourceId, Timestamp, UsedDependency, Via,
};

/// Everything that a run has used so far.
#[derive(Debug, Default)]
pub(crate) struct Tracked {
    pub(super) used: BTreeMap<Dependency, Via>,
    pub(super) sources: BTreeSet<SourceId>,
    /// Sources that the function itself read, not only its nested calls.
    pub(super) own: BTreeSet<SourceId>,
    /// Sources that nested calls depend on.
    pub(super) inherited: BTreeSet<SourceId>,
    pub(super) child_calls: Vec<ChildCall>,
    /// Every function that was called, directly or through others.
    pub(super) called: BTreeMap<FunctionKey, NameHash>,
    pub(super) not_after: Option<Timestamp>,
    /// The oldest state of the data behind a nested call that did not stay fresh.
    pub(super) oldest: Option<Timestamp>,
    pub(super) tainted: bool,
    /// Whether a source was away, for the run or for a nested call.
    pub(super) outage: bool,
    pub(super) again: again::Reads,
}

/// The part of a run's uses that a commit stores.
pub(crate) enum StoredUses {
    /// All of it.
    All(Vec<UsedDependency>),
    /// Whole sources instead of single entities, of which there were too many.
    Coarse(Vec<UsedDependency>),
    /// More than the limit even so: that many.
    TooMuch(usize),
}

impl Tracked {
    /// The run uses something that it does not read through the context.
    pub(crate) fn direct(&mut self, dependency: Dependency) {
        self.again.cannot_repeat(dependency);
        self.used.insert(dependency, Via::Direct);
    }

    /// The result of a nested call: the parent takes over its leaves, and expires no later than the child.
    pub(crate) fn child(&mut self, child: ChildCall, record: &Record, meta: &Meta) {
        self.called.extend(meta.called.iter().copied());
        let leaves = record.used.iter().map(|used| used.dependency);
        for dependency in leaves.chain([Dependency::entry(&child.id)]) {
            self.used.entry(dependency).or_insert(Via::Child);
        }
        for (source, _) in &record.entry.epochs.sources {
            self.source(source);
            if !source.is_reserved() && !self.inherited.contains(source) {
                self.inherited.insert(source.clone());
            }
        }
        self.not_after = [self.not_after, record.entry.expires].into_iter().flatten().min();
        self.child_calls.push(child);
    }

    /// The run uses something that may not be fresh.
    pub(crate) fn taint(&mut self, dependency: Dependency) {
        self.used.insert(dependency, Via::Direct);
        self.tainted = true;
    }

    /// Something that the run needs is away: an error of its function then counts as an outage.
    pub(crate) fn met_outage(&mut self) {
        self.outage = true;
    }

    pub(crate) fn has_met_outage(&self) -> bool {
        self.outage
    }

    /// The run uses a value that is not fresh.
    pub(crate) fn reflects(&mut self, freshness: Freshness) {
        if let Freshness::Stale { since } | Freshness::Unconfirmed { since: Some(since) } = freshness {
            self.oldest = Some(self.oldest.map_or(since, |oldest| oldest.min(since)));
        }
    }

    /// The result reflects every change before this time, for a run that began at `begun`.
    pub(crate) fn reflected(&self, begun: Timestamp) -> Timestamp {
        self.oldest.map_or(begun, |oldest| oldest.min(begun))
    }

    /// No data explains the outcome: the function must run again.
    pub(crate) fn unexplained(&mut self) {
        self.tainted = true;
    }

    /// A nested call ended in an error, which is an outcome like any other. Its leaves become direct ones of the
    /// parent: there is no value that could come out equal.
    pub(crate) fn failed_child(&mut self, child: Dependency, error: &Error, start_revision: Option<u64>) {
        self.direct(child);
        self.outage |= error.is_outage();
        let Some(reads) = error.reads().filter(|_| error.is_explained()) else {
            // The arguments alone explain an error without a run.
            self.tainted |= !error.is_explained();
            return;
        };
        for &leaf in &reads.leaves {
            self.direct(leaf);
        }
        for source in &reads.sources {
            self.source(source);
            if !source.is_reserved() {
                self.inherited.insert(source.clone());
            }
        }
        self.called.extend(&reads.called);
        self.not_after = [self.not_after, reads.not_after].into_iter().flatten().min();
        self.tainted |=
            reads.tainted || start_revision.is_some_and(|start_revision| reads.began_before(start_revision));
    }

    pub(crate) fn is_tainted(&self) -> bool {
        self.tainted
    }

    /// A function is called; its outcome does not matter.
    pub(crate) fn calls(&mut self, (function, name): (FunctionKey, NameHash)) {
        self.called.insert(function, name);
    }

    pub(crate) fn calls_all(&mut self, called: Vec<(FunctionKey, NameHash)>) {
        self.called.extend(called);
    }

    pub(crate) fn called(&self) -> Vec<(FunctionKey, NameHash)> {
        self.called.iter().map(|(&function, &name)| (function, name)).collect()
    }

    pub(crate) fn child_calls(&self) -> &[ChildCall] {
        &self.child_calls
    }

    pub(crate) fn not_after(&self) -> Option<Timestamp> {
        self.not_after
    }

    pub(crate) fn source(&mut self, source: &SourceId) {
        if !self.sources.contains(source) {
            self.sources.insert(source.clone());
        }
    }

    /// A source that the function itself reads.
    pub(crate) fn reads(&mut self, source: &SourceId) {
        self.source(source);
        if !self.own.contains(source) {
            self.own.insert(source.clone());
        }
    }

    pub(crate) fn inherited(&self) -> &BTreeSet<SourceId> {
        &self.inherited
    }

    pub(crate) fn own(&self) -> &BTreeSet<SourceId> {
        &self.own
    }

    /// The uses, at most `limit` of them: beyond it, every source counts as read as a whole.
    pub(crate) fn used(&self, limit: usize) -> StoredUses {
        let all = || self.used.iter().map(|(&dependency, &via)| UsedDependency { dependency, via });
        if self.used.len() <= limit {
            return StoredUses::All(all().collect());
        }
        let of_a_source = |used: &UsedDependency| {
            use DependencyKind::{Entity, Field, Predicate, Relation, Row, Wildcard};
            matches!(used.dependency.kind(), Some(Entity | Row | Field | Predicate | Relation | Wildcard))
        };
        let mut kept: BTreeMap<Dependency, Via> = BTreeMap::new();
        for used in all().filter(|used| !of_a_source(used)) {
            kept.insert(used.dependency, used.via);
        }
        for source in self.sources.iter().filter(|source| !source.is_reserved()) {
            let direct = all().any(|used| used.via == Via::Direct && used.dependency.may_be_of(source));
            kept.insert(Dependency::source(source), if direct { Via::Direct } else { Via::Child });
        }
        if kept.len() > limit {
            return StoredUses::TooMuch(kept.len());
        }
        StoredUses::Coarse(kept.into_iter().map(|(dependency, via)| UsedDependency { dependency, via }).collect())
    }

    pub(crate) fn sources(&self) -> &BTreeSet<SourceId> {
        &self.sources
    }
}
