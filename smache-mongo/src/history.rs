//! Which history a position belongs to.
//!
//! A resume token says when, and not where. A recreated set, or one that was restored to an older state, accepts the
//! token of its predecessor and takes its own short history for complete since then. So a position carries facts that
//! only its own history has: the id of the replica set, the ids of the collections, and the last delivered change.

use std::{collections::BTreeMap, time::Duration};

use mongodb::{
    Database,
    bson::{Binary, Bson, Document, RawDocument, Timestamp, doc, oid::ObjectId, spec::BinarySubtype},
};
use smache_core::{Error, ErrorKind, Result};

use crate::{
    error::{classify, code_of},
    position::ClusterTime,
};

/// The most bytes of collection ids in a position.
const MAX_COLLECTIONS: usize = 4 * 1024;

/// The most bytes that the key of the last change may have in a position.
const MAX_KEY: usize = 1024;

/// Codes of a server that refuses the question (Unauthorized, and Atlas' own), or that does not know it
/// (CommandNotFound).
const NOT_TOLD: [i32; 3] = [13, 8000, 59];

/// The id that MongoDB gives a new collection. All members of a set have the same one, and a rename keeps it.
type CollectionId = [u8; 16];

/// The ids by which a server identifies its history.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Created with the set; the server tells it only to users that have the right.
    set: Option<ObjectId>,
    /// Of the watched collections that exist.
    collections: BTreeMap<String, CollectionId>,
}

impl Identity {
    /// Asks the server of a database for the id of its set and for those of some collections.
    pub(crate) async fn ask(database: &Database, collections: &[&String], doing: &str) -> mongodb::error::Result<Self> {
        let admin = database.client().database("admin");
        let config = admin.run_command(doc! { "replSetGetConfig": 1 });
        let list = doc! {
            "listCollections": 1,
            "filter": { "name": { "$in": collections } },
            "cursor": { "batchSize": i32::MAX },
        };
        let (config, list) = tokio::join!(told(config.into_future()), told(database.run_command(list).into_future()));
        let (config, list) = (config?, list?);
        if config.is_none() || list.is_none() {
            tracing::debug!(doing, "the user may not ask which replica set or which collections these are");
        }
        Ok(Self {
            set: config.as_ref().and_then(set_in),
            collections: list.as_ref().map(collections_in).unwrap_or_default(),
        })
    }

    /// The name of the history: the id of the set, if it is known. If it is not, the positions of two sets have the
    /// same name, and each is checked when a stream opens after it.
    pub(crate) fn name(&self) -> Vec<u8> {
        self.set.map_or_else(Vec::new, |set| set.bytes().to_vec())
    }

    /// Whether the collection existed when the server was asked.
    pub(crate) fn has(&self, collection: &str) -> bool {
        self.collections.contains_key(collection)
    }

    /// Whether it is the history of a saved position, as far as the ids say.
    fn compared_with(&self, now: &Self, watched: impl Fn(&str) -> bool) -> Same {
        match (self.set, now.set) {
            (Some(then), Some(now)) if then == now => return Same::Yes,
            (Some(_), Some(_)) => return Same::No,
            _ => {}
        }
        // A collection that is new since then delivers all its documents. One with another id was dropped since, or
        // belongs to another set.
        let is_same = |(name, then): (&String, &CollectionId)| now.collections.get(name) == Some(then);
        if self.collections.iter().filter(|(name, _)| watched(name)).all(is_same) { Same::Yes } else { Same::Unknown }
    }

    /// Leaves out ids for which a position has no room.
    fn bounded(&self) -> Self {
        let mut size = 0;
        let fits = |(name, _): &(&String, &CollectionId)| {
            size += name.len() + size_of::<CollectionId>() + 16;
            size <= MAX_COLLECTIONS
        };
        let collections = self.collections.iter().take_while(fits).map(|(name, id)| (name.clone(), *id)).collect();
        Self { set: self.set, collections }
    }
}

/// An answer, or `None` where the server refuses it to the user.
async fn told(
    answer: impl Future<Output = mongodb::error::Result<Document>>,
) -> mongodb::error::Result<Option<Document>> {
    match answer.await {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if code_of(&error.kind).is_some_and(|code| NOT_TOLD.contains(&code)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn set_in(answer: &Document) -> Option<ObjectId> {
    answer.get_document("config").ok()?.get_document("settings").ok()?.get_object_id("replicaSetId").ok()
}

fn collections_in(answer: &Document) -> BTreeMap<String, CollectionId> {
    let found = answer.get_document("cursor").and_then(|cursor| cursor.get_array("firstBatch"));
    let of = |entry: &Bson| {
        let entry = entry.as_document()?;
        let id = id_in(entry.get_document("info").ok()?.get("uuid")?)?;
        Some((entry.get_str("name").ok()?.to_owned(), id))
    };
    found.into_iter().flatten().filter_map(of).collect()
}

fn id_in(value: &Bson) -> Option<CollectionId> {
    match value {
        Bson::Binary(binary) => binary.bytes.as_slice().try_into().ok(),
        _ => None,
    }
}

fn binary(id: CollectionId) -> Bson {
    Bson::Binary(Binary { subtype: BinarySubtype::Uuid, bytes: id.to_vec() })
}

/// Whether a history is that of a saved position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Same {
    Yes,
    No,
    Unknown,
}

/// The result of the search for a change in the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    There,
    NotThere,
    /// The history does not reach back so far.
    TooOld,
}

/// The last document change that a stream has delivered, if it can be found again.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LastChange {
    time: Timestamp,
    collection: String,
    key: Option<Document>,
}

impl LastChange {
    pub(crate) fn new(time: Timestamp, collection: &str, key: &RawDocument) -> Self {
        let key = Some(key).filter(|key| key.as_bytes().len() <= MAX_KEY);
        Self { time, collection: collection.to_owned(), key: key.and_then(|key| Document::try_from(key).ok()) }
    }

    pub(crate) fn time(&self) -> ClusterTime {
        self.time.into()
    }

    /// Looks for it in the history of a database. The server finds the place by the time, so this is quick if the
    /// change is there.
    async fn find(&self, database: &Database, limit: Duration) -> mongodb::error::Result<Found> {
        let mut event = doc! { "clusterTime": self.time, "ns.coll": &self.collection };
        if let Some(key) = &self.key {
            event.insert("documentKey", doc! { "$eq": key.clone() });
        }
        let pipeline = vec![doc! { "$changeStream": { "startAtOperationTime": self.time } }, doc! { "$match": event }];
        let command = doc! {
            "aggregate": 1, "pipeline": pipeline, "cursor": { "batchSize": 1 }, "readConcern": { "level": "majority" },
            "maxTimeMS": i64::try_from(limit.as_millis() / 2).unwrap_or(i64::MAX),
        };
        match database.run_command(command).await {
            Ok(answer) => {
                let cursor = answer.get_document("cursor").ok();
                // The open cursor ends by itself with the session, or after some minutes.
                let found = cursor.and_then(|cursor| cursor.get_array("firstBatch").ok());
                if let Some(id) = cursor.and_then(|cursor| cursor.get_i64("id").ok()).filter(|id| *id != 0) {
                    let collection =
                        cursor.and_then(|cursor| cursor.get_str("ns").ok()).and_then(|ns| ns.split_once('.'));
                    let name = collection.map_or("$cmd.aggregate", |(_, name)| name);
                    let _ = database.run_command(doc! { "killCursors": name, "cursors": [id] }).await;
                }
                Ok(if found.is_some_and(|batch| !batch.is_empty()) { Found::There } else { Found::NotThere })
            }
            Err(error) => match code_of(&error.kind) {
                // The change fell out of the oplog.
                Some(286) => Ok(Found::TooOld),
                // The server has searched long and found nothing; it finds an existing change at once.
                Some(50) => Ok(Found::NotThere),
                _ => Err(error),
            },
        }
    }
}

/// The facts in a position that prove its history.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Origin {
    identity: Identity,
    last: Option<LastChange>,
}

impl Origin {
    pub(crate) fn of(identity: &Identity) -> Self {
        Self { identity: identity.bounded(), last: None }
    }

    /// Sets the server's present identity, as far as a position has room for it.
    pub(crate) fn set_identity(&mut self, identity: &Identity) {
        self.identity = identity.bounded();
    }

    pub(crate) fn set_last(&mut self, last: LastChange) {
        self.last = Some(last);
    }

    pub(crate) fn last(&self) -> Option<&LastChange> {
        self.last.as_ref()
    }

    /// The document form, for a position.
    pub(crate) fn to_document(&self) -> Document {
        let collections = self.identity.collections.iter().map(|(name, id)| (name.clone(), binary(*id)));
        let mut document = doc! { "collections": collections.collect::<Document>() };
        document.extend(self.identity.set.map(|set| ("set".to_owned(), set.into())));
        document.extend(self.last.as_ref().map(|last| {
            let mut change = doc! { "time": last.time, "collection": &last.collection };
            change.extend(last.key.clone().map(|key| ("key".to_owned(), key.into())));
            ("last".to_owned(), change.into())
        }));
        document
    }

    /// Reads the form of [`to_document`](Self::to_document); `None` for any other.
    pub(crate) fn from_document(document: &Document) -> Option<Self> {
        let collections = document.get_document("collections").ok()?;
        let collections = collections.iter().map(|(name, id)| Some((name.clone(), id_in(id)?)));
        let last = document.get_document("last").ok();
        let last = last.and_then(|last| {
            let time = last.get_timestamp("time").ok()?;
            let collection = last.get_str("collection").ok()?.to_owned();
            Some(LastChange { time, collection, key: last.get_document("key").ok().cloned() })
        });
        let identity =
            Identity { set: document.get_object_id("set").ok(), collections: collections.collect::<Option<_>>()? };
        Some(Self { identity, last })
    }

    /// Checks that a server still has the history of a saved position.
    ///
    /// # Errors
    /// `HistoryLost` when it has another one.
    pub(crate) async fn check(
        &self,
        now: &Identity,
        watched: impl Fn(&str) -> bool,
        database: &Database,
        limit: Duration,
        doing: &str,
    ) -> Result<()> {
        let same = self.identity.compared_with(now, &watched);
        if same == Same::No {
            return Err(lost(doing, "the replica set is another one, of the same name"));
        }
        let last = self.last.as_ref().filter(|last| watched(&last.collection));
        let found = match last {
            Some(last) => last.find(database, limit).await.map_err(|error| classify(error, doing))?,
            None => Found::TooOld,
        };
        match found {
            Found::There => Ok(()),
            Found::NotThere => Err(lost(doing, "it does not have the last change that was delivered")),
            // A branch that began after the change has the whole history before it, and the server refuses a token that
            // is older than its history.
            Found::TooOld if same == Same::Yes => Ok(()),
            Found::TooOld => Err(lost(doing, "a collection is another one, of the same name")),
        }
    }
}

/// A saved position is not of the history of this server.
pub(crate) fn lost(doing: &str, why: &str) -> Error {
    Error::new(ErrorKind::HistoryLost, format!("{doing}: the saved position belongs to another history: {why}"))
}

#[cfg(test)]
mod tests;
