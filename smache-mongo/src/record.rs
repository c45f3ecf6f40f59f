//! Reads the document of an entry.

use std::sync::Arc;

use bytes::Bytes;
use mongodb::bson::{Bson, Document};
use smache_core::{
    Epochs, Record, Result, RunFailure, Staleness, StoredEntry, Timestamp, Token, UsedDependency, Via,
    support::{count, few, log_damaged_record, log_damaged_state},
};

use crate::{
    error::corrupt,
    keys::{Keys, edge_of},
};

const UNREADABLE: &str = "the bookkeeping of a record cannot be read: remove its document of `smache_entries`";

/// The fields of a document, and the message for one that cannot be read.
pub(crate) struct Fields<'a> {
    document: &'a Document,
    unreadable: &'static str,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(document: &'a Document, unreadable: &'static str) -> Self {
        Self { document, unreadable }
    }

    /// A number. The server returns the sum of two numbers in any type that fits.
    pub(crate) fn maybe_int(&self, name: &str) -> Option<i64> {
        self.document.get(name).and_then(int)
    }

    pub(crate) fn int(&self, name: &str) -> Result<i64> {
        self.maybe_int(name).ok_or_else(|| corrupt(self.unreadable))
    }

    pub(crate) fn count(&self, name: &str) -> Result<u64> {
        self.int(name).map(count)
    }

    pub(crate) fn time(&self, name: &str) -> Option<Timestamp> {
        self.maybe_int(name).map(|millis| Timestamp::from_millis(count(millis)))
    }

    pub(crate) fn text(&self, name: &str) -> Option<&'a str> {
        self.document.get_str(name).ok()
    }

    pub(crate) fn bytes(&self, name: &str) -> Result<&'a [u8]> {
        self.document.get_binary_generic(name).map(Vec::as_slice).map_err(|_| corrupt(self.unreadable))
    }

    pub(crate) fn token(&self, name: &str) -> Result<Token> {
        Token::from_slice(self.bytes(name)?)
    }

    /// The elements of an array, of any type. A value that is no array has one unreadable element.
    pub(crate) fn parts(&self, name: &str) -> &'a [Bson] {
        const BROKEN: &[Bson] = &[Bson::Null];
        match self.document.get(name) {
            None => &[],
            Some(Bson::Array(parts)) => parts,
            Some(_) => BROKEN,
        }
    }

    /// The documents in an array; none where there is no array.
    pub(crate) fn documents(&self, name: &str) -> impl Iterator<Item = &'a Document> + use<'a> {
        self.document.get_array(name).into_iter().flatten().filter_map(Bson::as_document)
    }
}

fn int(value: &Bson) -> Option<i64> {
    match value {
        Bson::Int32(number) => Some((*number).into()),
        Bson::Int64(number) => Some(*number),
        _ => None,
    }
}

/// Logs and leaves out a damaged document: it must not stop the work on others.
pub(crate) fn readable<T>(document: &Document, read: Result<T>) -> Option<T> {
    read.inspect_err(|error| {
        let id = document.get("_id");
        log_damaged_record(format_args!("{id:?}"), error.report());
    })
    .ok()
}

/// The same for a run, a remembered change or a mark, which is no record.
pub(crate) fn readable_state<T>(document: &Document, read: Result<T>) -> Option<T> {
    read.inspect_err(|error| {
        let id = document.get("_id");
        log_damaged_state(format_args!("{id:?}"), error.report());
    })
    .ok()
}

/// The fields for a look-up.
pub(crate) fn entry_fields() -> Document {
    let names = ["n", "value", "meta", "version", "epochs", "stale", "since", "stored", "expires"]
        .map(|name| (name.to_owned(), 1.into()));
    names.into_iter().collect()
}

/// Whether a document has a value, and is not only a job or a run.
pub(crate) fn has_record(document: &Document) -> bool {
    document.contains_key("n")
}

/// The stored entry, if there is one.
pub(crate) fn entry(document: &Document) -> Result<Option<StoredEntry>> {
    if !has_record(document) {
        return Ok(None);
    }
    let fields = Fields::new(document, UNREADABLE);
    let staleness = match fields.int("stale")? {
        0 => Staleness::Fresh,
        1 => Staleness::MaybeStale,
        2 => Staleness::Stale,
        _ => return Err(corrupt(UNREADABLE)),
    };
    Ok(Some(StoredEntry {
        value: Bytes::copy_from_slice(fields.bytes("value")?),
        meta: Bytes::copy_from_slice(fields.bytes("meta")?),
        version: fields.count("version")?,
        epochs: epochs(document)?,
        staleness,
        since: fields.time("since"),
        stored_at: fields.time("stored").ok_or_else(|| corrupt(UNREADABLE))?,
        expires: fields.time("expires"),
    }))
}

/// The epochs of the stored value.
pub(crate) fn epochs(document: &Document) -> Result<Epochs> {
    let bytes = Fields::new(document, UNREADABLE).bytes("epochs")?;
    Epochs::decode(bytes).ok_or_else(|| corrupt(UNREADABLE))
}

/// The whole record, if there is one.
pub(crate) fn record(document: &Document) -> Result<Option<Record>> {
    let Some(entry) = entry(document)? else { return Ok(None) };
    let fields = Fields::new(document, UNREADABLE);
    let mut record = Record::new(entry, Bytes::copy_from_slice(fields.bytes("call")?), used(document)?);
    let causes = document.get_array("causes").map_err(|_| corrupt(UNREADABLE))?;
    record.causes = causes.iter().filter_map(Bson::as_str).map(Arc::from).collect();
    record.lazy = document.get_bool("lazy").map_err(|_| corrupt(UNREADABLE))?;
    (record.conflicts, record.failures) = (few(fields.int("conflicts")?), few(fields.int("failures")?));
    let failure = fields.text("failure").zip(fields.time("failed"));
    record.last_failure = failure.map(|(message, at)| RunFailure { message: message.to_owned(), at });
    Ok(Some(record))
}

/// The dependencies of the stored value. While a run stores a value beside it, the index has the edges of both.
fn used(document: &Document) -> Result<Vec<UsedDependency>> {
    let own = match document.get_document("next") {
        Ok(next) => next.get_array("was"),
        Err(_) => document.get_array("deps"),
    };
    // A record without dependencies has no list where another tool has removed the empty one.
    let own = own.into_iter().flatten();
    let one = |edge: &Bson| {
        let Bson::Binary(edge) = edge else { return Err(corrupt(UNREADABLE)) };
        let (dependency, direct) = edge_of(&edge.bytes).ok_or_else(|| corrupt(UNREADABLE))?;
        Ok(UsedDependency { dependency, via: if direct { Via::Direct } else { Via::Child } })
    };
    own.map(one).collect()
}

/// The keys of the edges for used dependencies.
pub(crate) fn edges(keys: &Keys, used: &[UsedDependency]) -> Vec<Bson> {
    let edges = smache_core::support::edges(used);
    edges.iter().map(|edge| keys.edge(&edge.dependency, edge.via != Via::Child)).collect()
}

#[cfg(test)]
mod tests {
    use mongodb::bson::doc;
    use smache_core::{Dependency, Epoch, ErrorKind, Namespace, SourceId};

    use super::*;
    use crate::keys::binary;

    fn keys() -> Keys {
        Keys::new(&Namespace::new("shop").expect("a name"))
    }

    fn epochs() -> Epochs {
        let source = |name| SourceId::new(name).expect("a name");
        let sources = vec![(source("a"), Epoch::from_bytes([2; 16])), (source("orders"), Epoch::from_bytes([3; 16]))];
        Epochs { global: Epoch::from_bytes([1; 16]), sources }
    }

    fn stored() -> Document {
        let used = [UsedDependency { dependency: Dependency::tag("a"), via: Via::Child }];
        doc! {
            "n": 5_i64, "value": binary([1]), "meta": binary([2]), "call": binary([3]), "version": 7_i64,
            "epochs": binary(epochs().encode()), "stale": 1_i32, "since": 8_i64, "stored": 9_i64, "causes": ["a"],
            "lazy": true, "conflicts": 1_i64, "failures": 2_i64, "failure": "paper", "failed": 3_i64,
            "deps": edges(&keys(), &used),
        }
    }

    #[test]
    fn record_is_read_as_it_is_stored() {
        let record = record(&stored()).expect("a record").expect("there");
        assert_eq!(
            (record.entry.staleness, record.entry.version, record.entry.expires),
            (Staleness::MaybeStale, 7, None)
        );
        assert_eq!((record.lazy, record.conflicts, record.failures), (true, 1, 2));
        assert_eq!(record.used, [UsedDependency { dependency: Dependency::tag("a"), via: Via::Child }]);
        assert_eq!(record.entry.epochs, epochs());
    }

    #[test]
    fn damaged_record_is_corrupt_and_a_job_alone_is_none() {
        for (name, value) in [("epochs", binary([1; 20])), ("stale", 3.into()), ("deps", vec![binary([1])].into())] {
            let mut damaged = stored();
            damaged.insert(name, value);
            assert_eq!(record(&damaged).expect_err(name).kind(), ErrorKind::Corrupt);
        }
        assert!(entry(&doc! { "job": {} }).expect("no entry").is_none());
    }

    #[test]
    fn dependency_that_is_used_in_both_ways_has_one_direct_edge() {
        let used =
            [Via::Child, Via::Direct, Via::Guard].map(|via| UsedDependency { dependency: Dependency::tag("a"), via });
        assert_eq!(edges(&keys(), &used), [keys().edge(&Dependency::tag("a"), true)]);
    }

    #[test]
    fn value_beside_the_stored_one_adds_no_dependencies_to_it() {
        let mut both = stored();
        both.insert("next", doc! { "was": both.get_array("deps").expect("there").clone() });
        both.insert("deps", vec![keys().edge(&Dependency::tag("b"), true)]);
        assert_eq!(used(&both).expect("used"), used(&stored()).expect("used"));
    }
}
