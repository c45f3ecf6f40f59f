//! The names of namespaces, entries and dependencies in the collections.

use mongodb::bson::{Binary, Bson, doc, spec::BinarySubtype};
use smache_core::{Dependency, EntryId, Namespace, Result, Token};

/// The namespace as a prefix of eight bytes.
const PREFIX: usize = 8;

/// The collection of the entries, with their values, runs, jobs and dependencies.
pub(crate) const ENTRIES: &str = "smache_entries";

/// The collection of the facts that confirm entries: it is lost as a whole or not at all.
pub(crate) const STATE: &str = "smache_state";

/// The collection whose changes wake workers of other processes.
pub(crate) const NOTIFIER: &str = "smache_notifier";

/// The document of `smache_state` with the version and the incarnation.
pub(crate) const SCHEMA: &str = "smache";

/// A namespace in the form that keys contain.
///
/// Its number is a hash of the name. 60 of its bits are random, so two of a thousand namespaces in one database share a
/// number with a probability below 10⁻¹².
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    /// The name.
    pub(crate) name: String,
    /// The number of the namespace, in its documents.
    pub(crate) number: i64,
    prefix: [u8; PREFIX],
}

impl Keys {
    pub(crate) fn new(namespace: &Namespace) -> Self {
        let hash = Dependency::tag(&format!("namespace {namespace}"));
        let mut prefix = [0; PREFIX];
        prefix.copy_from_slice(&hash.as_bytes()[..PREFIX]);
        Self { name: namespace.as_str().to_owned(), number: i64::from_be_bytes(prefix), prefix }
    }

    fn prefixed(&self, rest: &[&[u8]]) -> Bson {
        let mut bytes = self.prefix.to_vec();
        rest.iter().for_each(|part| bytes.extend_from_slice(part));
        binary(bytes)
    }

    /// The id of the document of the namespace.
    pub(crate) fn namespace(&self) -> String {
        format!("namespace:{}", self.name)
    }

    /// The id of the document of an entry.
    pub(crate) fn entry(&self, id: &EntryId) -> Bson {
        self.prefixed(&[id.as_bytes()])
    }

    /// The id of a program's document, which starts with the common prefix of the namespace. All numbers have the same
    /// length, so no namespace's prefix is a prefix of another's.
    pub(crate) fn program(&self, id: &Token) -> String {
        format!("{}{id}", self.programs())
    }

    pub(crate) fn programs(&self) -> String {
        format!("program:{:016x}:", self.number)
    }

    /// A dependency in the index of an entry's edges.
    pub(crate) fn edge(&self, dependency: &Dependency, direct: bool) -> Bson {
        self.prefixed(&[dependency.as_bytes(), if direct { b"1" } else { b"0" }])
    }

    /// A dependency in the index of changes.
    pub(crate) fn changed(&self, dependency: &Dependency) -> Bson {
        self.prefixed(&[dependency.as_bytes()])
    }

    /// The id of a change's document.
    pub(crate) fn change(&self, nonce: &[u8]) -> Bson {
        self.prefixed(&[nonce])
    }

    /// Ids behind `after`, or from the first entry of the namespace on, within the namespace.
    pub(crate) fn after(&self, after: Option<&EntryId>) -> mongodb::bson::Document {
        let start = after.map_or_else(|| self.prefixed(&[&[0; EntryId::LEN]]), |id| self.entry(id));
        let end = self.prefixed(&[&[0xff; EntryId::LEN]]);
        // The smallest id is an entry too: a page excludes it only behind that entry.
        let from = if after.is_some() { "$gt" } else { "$gte" };
        doc! { from: start, "$lte": end }
    }
}

/// The entry in a document id.
pub(crate) fn entry_of(key: &[u8]) -> Result<EntryId> {
    EntryId::from_slice(key.get(PREFIX..).unwrap_or_default())
}

/// The dependency in an edge, and whether it is direct.
pub(crate) fn edge_of(key: &[u8]) -> Option<(Dependency, bool)> {
    let (dependency, flag) = key.get(PREFIX..)?.split_at_checked(Dependency::LEN)?;
    let direct = match flag {
        b"0" => false,
        b"1" => true,
        _ => return None,
    };
    Some((Dependency::from_slice(dependency).ok()?, direct))
}

/// The dependency in a change.
pub(crate) fn changed_of(key: &[u8]) -> Option<Dependency> {
    Dependency::from_slice(key.get(PREFIX..)?).ok()
}

pub(crate) fn binary(bytes: impl Into<Vec<u8>>) -> Bson {
    Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes: bytes.into() })
}

#[cfg(test)]
mod tests {
    use smache_core::FunctionKey;

    use super::*;

    #[test]
    fn keys_are_read_as_they_are_written() {
        let keys = Keys::new(&Namespace::new("shop").expect("a name"));
        let id = EntryId::new(FunctionKey::from_bytes([7; 8]), [9; 16]);
        let dependency = Dependency::tag("pricing");
        let bytes = |key: Bson| match key {
            Bson::Binary(binary) => binary.bytes,
            key => panic!("{key}"),
        };
        assert_eq!(entry_of(&bytes(keys.entry(&id))).ok(), Some(id));
        for direct in [false, true] {
            assert_eq!(edge_of(&bytes(keys.edge(&dependency, direct))), Some((dependency, direct)));
        }
        assert_eq!(changed_of(&bytes(keys.changed(&dependency))), Some(dependency));
        assert!(entry_of(&[1, 2]).is_err() && edge_of(&[1; 24]).is_none());
    }

    #[test]
    fn namespaces_share_no_key() {
        let [one, two] = ["shop", "shop2"].map(|name| Keys::new(&Namespace::new(name).expect("a name")));
        assert_ne!(one.number, two.number);
        assert_ne!(one.namespace(), two.namespace());
    }
}
