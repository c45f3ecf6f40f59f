//! How a namespace, its entries and their dependencies are called in the collections.

use mongodb::bson::{Binary, Bson, doc, spec::BinarySubtype};
use smache_core::{Dependency, EntryId, Error, ErrorKind, Namespace, Result, Token};

/// The namespace as a prefix of eight bytes.
const PREFIX: usize = 8;

/// The collection of everything that is known of entries.
pub(crate) const ENTRIES: &str = "smache_entries";

/// The collection of everything that confirms entries: it is lost as a whole or not at all.
pub(crate) const STATE: &str = "smache_state";

/// The collection whose changes wake workers of other processes.
pub(crate) const NOTIFIER: &str = "smache_notifier";

/// The document of the state with the version and the incarnation.
pub(crate) const SCHEMA: &str = "smache";

/// A namespace as it is written in keys.
///
/// Its number is a hash of the name: 60 bits of it are random, so that two of a thousand namespaces in one database share
/// one with a probability below 10⁻¹².
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    /// The name.
    pub(crate) name: String,
    /// The number that documents of the namespace have.
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

    /// The id of the document of a program, and what the ids of all programs of the namespace begin with. The number has
    /// one length, so that no namespace is within another one.
    pub(crate) fn program(&self, id: &Token) -> String {
        format!("{}{id}", self.programs())
    }

    pub(crate) fn programs(&self) -> String {
        format!("program:{:016x}:", self.number)
    }

    /// What documents of entries have in their index of dependencies.
    pub(crate) fn edge(&self, dependency: &Dependency, direct: bool) -> Bson {
        self.prefixed(&[dependency.as_bytes(), if direct { b"1" } else { b"0" }])
    }

    /// What changes have in their index of dependencies.
    pub(crate) fn changed(&self, dependency: &Dependency) -> Bson {
        self.prefixed(&[dependency.as_bytes()])
    }

    /// The id of the document of a change.
    pub(crate) fn change(&self, nonce: &[u8]) -> Bson {
        self.prefixed(&[nonce])
    }

    /// Greater than `after`, or than everything below the entries of the namespace, and within the namespace.
    pub(crate) fn after(&self, after: Option<&EntryId>) -> mongodb::bson::Document {
        let start = after.map_or_else(|| self.prefixed(&[&[0; EntryId::LEN]]), |id| self.entry(id));
        let end = self.prefixed(&[&[0xff; EntryId::LEN]]);
        // The smallest id of all is one: it is only left out when it is the place to go on behind.
        let from = if after.is_some() { "$gt" } else { "$gte" };
        doc! { from: start, "$lte": end }
    }
}

/// The entry behind the id of a document.
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

/// The entry that a page starts after.
pub(crate) fn cursor(cursor: Option<&[u8]>) -> Result<Option<EntryId>> {
    cursor.map(EntryId::from_slice).transpose().map_err(|error| {
        let message = "a cursor is not one that a listing of this backend answered: start without one";
        Error::new(ErrorKind::Argument, message).with_source(error)
    })
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
