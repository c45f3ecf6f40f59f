//! The reads of a run that can be repeated. When a change overtakes the run, the same answers prove that the run had
//! seen the change.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{ChildCall, Tracked};
use crate::{DataSource, Dependency, EntityKey, Filter, Image, Result, SourceId, Via, source::Mark};

/// How many marks a run keeps, one for each entity that it read.
const MOST: usize = 1_000;

/// One read of a source, with marks of what it found.
#[derive(Debug, Clone)]
pub(crate) struct Read {
    source: SourceId,
    what: What,
    found: Vec<Option<Mark>>,
}

/// The question that a read asked.
#[derive(Debug, Clone)]
pub(crate) enum What {
    Keys(Vec<EntityKey>),
    Matching(Filter),
    All,
}

/// The reads of a run that can be repeated.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    made: Vec<Read>,
    /// The reads that each dependency stands for.
    of: BTreeMap<Dependency, Vec<usize>>,
    /// Dependencies that (also) stand for something else: a database client of the function, a relation, the error of a
    /// nested call.
    opaque: BTreeSet<Dependency>,
    /// Dependencies of reads that have not answered yet.
    under_way: BTreeSet<Dependency>,
    marks: usize,
}

/// The reads and nested calls to repeat after a change of some dependencies.
#[derive(Debug)]
pub(crate) struct Again {
    pub(crate) reads: Vec<Read>,
    /// The direct uses of the run; a repetition of its nested calls adds their leaves.
    pub(crate) own: Tracked,
    pub(crate) child_calls: Vec<ChildCall>,
}

impl Read {
    pub(crate) fn of_keys(source: &SourceId, keys: Vec<EntityKey>, images: &[Option<Image>]) -> Self {
        let found = images.iter().map(|image| image.as_ref().map(Image::mark)).collect();
        Self { source: source.clone(), what: What::Keys(keys), found }
    }

    /// A read that answers in any order.
    pub(crate) fn of<'a>(source: &SourceId, what: What, images: impl Iterator<Item = &'a Image>) -> Self {
        let mut found: Vec<_> = images.map(|image| Some(image.mark())).collect();
        found.sort_unstable();
        Self { source: source.clone(), what, found }
    }

    pub(crate) fn source(&self) -> &SourceId {
        &self.source
    }

    /// Whether the read finds the same now.
    pub(crate) async fn finds_the_same(&self, source: &Arc<dyn DataSource>) -> Result<bool> {
        let id = &self.source;
        let now = match &self.what {
            What::Keys(keys) => Self::of_keys(id, keys.clone(), &source.load(keys).await?),
            What::Matching(filter) => {
                let mut matching = Vec::new();
                for image in source.find(filter).await? {
                    if filter.matches(&image)? {
                        matching.push(image);
                    }
                }
                Self::of(id, What::All, matching.iter())
            }
            What::All => Self::of(id, What::All, source.list().await?.iter()),
        };
        Ok(now.found == self.found)
    }
}

impl Reads {
    /// Notes that a dependency stands for something that cannot be read again.
    pub(super) fn cannot_repeat(&mut self, dependency: Dependency) {
        self.opaque.insert(dependency);
    }

    fn add(&mut self, read: Read, leaves: Vec<Dependency>) {
        self.marks = self.marks.saturating_add(read.found.len());
        if self.marks > MOST {
            self.made = Vec::new();
            self.of = BTreeMap::new();
            return;
        }
        for leaf in leaves {
            self.of.entry(leaf).or_default().push(self.made.len());
        }
        self.made.push(read);
    }
}

impl Tracked {
    /// A read of a source begins: the result depends on its answer.
    pub(super) fn loads(&mut self, source: &SourceId, leaves: &[Dependency]) {
        self.reads(source);
        for &leaf in leaves {
            self.used.insert(leaf, Via::Direct);
        }
        self.again.under_way.extend(leaves);
    }

    /// The read has answered.
    pub(super) fn found(&mut self, read: Read, leaves: Vec<Dependency>) {
        for leaf in &leaves {
            self.again.under_way.remove(leaf);
        }
        self.again.add(read, leaves);
    }

    /// Whether a read is under way that may or may not see one of these changes.
    pub(crate) fn is_reading(&self, changed: &[Dependency]) -> bool {
        changed.iter().any(|dependency| self.again.under_way.contains(dependency))
    }

    /// Whether the run can prove that it had seen a change: all its reads are repeatable, or made by nested calls.
    pub(crate) fn may_be_repeated(&self) -> bool {
        !(self.tainted || self.again.of.is_empty() && self.child_calls.is_empty())
    }

    /// The reads and nested calls to repeat after a change of these dependencies; `None` if one of them stands for more
    /// than that.
    pub(crate) fn again(&self, changed: &[Dependency]) -> Option<Again> {
        let mut reads: BTreeSet<usize> = BTreeSet::new();
        for dependency in changed {
            match self.used.get(dependency)? {
                Via::Child => {}
                _ if self.again.opaque.contains(dependency) => return None,
                _ => reads.extend(self.again.of.get(dependency)?),
            }
        }
        let own = Self {
            used: self.used.iter().filter(|(_, via)| **via == Via::Direct).map(|(&leaf, &via)| (leaf, via)).collect(),
            sources: self.sources.clone(),
            not_after: self.not_after,
            ..Self::default()
        };
        let reads = reads.into_iter().filter_map(|read| self.again.made.get(read).cloned()).collect();
        Some(Again { reads, own, child_calls: self.child_calls.clone() })
    }

    /// Starts from the direct uses of another run.
    pub(crate) fn take_over(&mut self, own: Self) {
        *self = own;
    }
}
