//! The edges of an entry: the dependencies through which a change finds it.

use std::collections::{HashMap, HashSet};

use crate::{Dependency, UsedDependency, Via};

/// How many bytes [`EdgeChanges`] and records have for a used dependency.
const USED: usize = Dependency::LEN + 1;

/// The dependencies that get an edge, each once, in the order of use. `Direct` wins; a `Guard` is checked at commit and
/// has no edge.
#[must_use]
pub fn edges(used: &[UsedDependency]) -> Vec<UsedDependency> {
    let mut edges: Vec<UsedDependency> = Vec::with_capacity(used.len());
    let mut places: HashMap<Dependency, usize> = HashMap::with_capacity(used.len());
    for used in used.iter().filter(|used| used.via != Via::Guard) {
        let place = *places.entry(used.dependency).or_insert(edges.len());
        if place == edges.len() {
            edges.push(*used);
        } else if used.via != Via::Child {
            edges[place].via = Via::Direct;
        }
    }
    edges
}

/// The first dependencies of a list, each once.
pub fn distinct(dependencies: impl IntoIterator<Item = Dependency>, most: usize) -> Vec<Dependency> {
    let mut seen = HashSet::new();
    dependencies.into_iter().filter(|dependency| seen.insert(*dependency)).take(most).collect()
}

/// The difference between the edges that an entry has and those that it gets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EdgeChanges {
    /// The dependencies whose edge goes.
    pub removed: Vec<Dependency>,
    /// The edges to write: new ones, and those that are direct or through a child and were the other before.
    pub written: Vec<UsedDependency>,
}

impl EdgeChanges {
    /// The changes from some edges to others. Both have each dependency once, as [`edges`] returns them.
    #[must_use]
    pub fn between(old: &[UsedDependency], new: &[UsedDependency]) -> Self {
        if old == new {
            return Self::default();
        }
        let before: HashMap<Dependency, Via> = old.iter().map(|used| (used.dependency, used.via)).collect();
        let after: HashSet<Dependency> = new.iter().map(|used| used.dependency).collect();
        let gone = old.iter().map(|used| used.dependency).filter(|dependency| !after.contains(dependency));
        let written = new.iter().filter(|used| before.get(&used.dependency) != Some(&used.via));
        Self { removed: gone.collect(), written: written.copied().collect() }
    }

    /// The changes from edges as a record keeps them. If the record is damaged, the edges beside it are not known, and
    /// all new ones are written.
    #[must_use]
    pub fn since(stored: &[u8], new: &[UsedDependency]) -> Self {
        match UsedDependency::decode_edges(stored) {
            Some(old) => Self::between(&old, new),
            None => Self { written: new.to_vec(), ..Self::between(&UsedDependency::edges_in(stored), new) },
        }
    }
}

impl UsedDependency {
    /// Edges as records keep them: the bytes of the dependency, and `1` direct or `0` through a child. Any other kind
    /// is direct: an entry that runs once too often is better than one that misses a change.
    #[must_use]
    pub fn encode_edges(edges: &[Self]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(edges.len() * USED);
        for Self { dependency, via } in edges {
            bytes.extend_from_slice(dependency.as_bytes());
            bytes.push(if *via == Via::Child { b'0' } else { b'1' });
        }
        bytes
    }

    /// The edges in bytes that may be damaged: an entry is removed with as many of them as can be read.
    #[must_use]
    pub fn edges_in(bytes: &[u8]) -> Vec<Self> {
        let one = |edge: &[u8; USED]| {
            let (dependency, via) = edge.split_first_chunk()?;
            let via = if via == b"0" { Via::Child } else { Via::Direct };
            Some(Self { dependency: Dependency::from_bytes(*dependency), via })
        };
        bytes.as_chunks::<USED>().0.iter().filter_map(one).collect()
    }

    /// The opposite of [`encode_edges`](Self::encode_edges); `None` for bytes that it never writes.
    #[must_use]
    pub fn decode_edges(bytes: &[u8]) -> Option<Vec<Self>> {
        let (edges, rest) = bytes.as_chunks::<USED>();
        let one = |edge: &[u8; USED]| {
            let (dependency, via) = edge.split_first_chunk()?;
            let via = match via {
                b"0" => Via::Child,
                b"1" => Via::Direct,
                _ => return None,
            };
            Some(Self { dependency: Dependency::from_bytes(*dependency), via })
        };
        rest.is_empty().then(|| edges.iter().map(one).collect())?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(number: u8, via: Via) -> UsedDependency {
        UsedDependency { dependency: Dependency::from_bytes([number; 16]), via }
    }

    #[test]
    fn a_dependency_that_is_used_twice_has_one_edge_and_the_direct_one() {
        let all = [
            used(1, Via::Child),
            used(2, Via::Direct),
            used(1, Via::Direct),
            used(2, Via::Child),
            used(3, Via::Guard),
            used(3, Via::Child),
            used(4, Via::Guard),
        ];
        let edges = edges(&all);
        assert_eq!(edges, [used(1, Via::Direct), used(2, Via::Direct), used(3, Via::Child)]);
        let bytes = UsedDependency::encode_edges(&edges);
        assert_eq!(UsedDependency::decode_edges(&bytes), Some(edges));
        assert_eq!(UsedDependency::decode_edges(&bytes[1..]), None, "half an edge");
        assert_eq!(UsedDependency::decode_edges(&[1; 17]), None, "no kind of edge");
    }

    #[test]
    fn only_edges_that_differ_are_written() {
        let old = [used(1, Via::Direct), used(2, Via::Child), used(3, Via::Child)];
        let new = [used(4, Via::Child), used(2, Via::Direct), used(3, Via::Child)];
        let changes = EdgeChanges::between(&old, &new);
        assert_eq!(changes.removed, [old[0].dependency]);
        assert_eq!(changes.written, [new[0], new[1]]);
        assert_eq!(EdgeChanges::between(&old, &old), EdgeChanges::default());
        let turned = [old[2], old[0], old[1]];
        assert_eq!(EdgeChanges::between(&old, &turned), EdgeChanges::default(), "the order is no difference");
    }

    #[test]
    fn beside_a_damaged_record_all_edges_are_written() {
        let old = [used(1, Via::Child), used(2, Via::Child)];
        let new = [used(1, Via::Direct), used(3, Via::Child)];
        let mut stored = UsedDependency::encode_edges(&old);
        assert_eq!(EdgeChanges::since(&stored, &new), EdgeChanges::between(&old, &new));
        stored[16] = b'x';
        let changes = EdgeChanges::since(&stored, &new);
        assert_eq!(changes.removed, [old[1].dependency]);
        assert_eq!(changes.written, new, "the first one looks as if it had been direct before");
    }

    #[test]
    fn the_first_conflicts_are_named_once() {
        let all = [1, 1, 2, 3, 2].map(|number| Dependency::from_bytes([number; 16]));
        assert_eq!(distinct(all, 2), [all[0], all[2]]);
        assert_eq!(distinct(all, 9), [all[0], all[2], all[3]]);
    }
}
