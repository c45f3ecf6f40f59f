//! Change stream events as changes of entities.

use std::collections::{BTreeMap, HashMap};

use mongodb::bson::{Document, RawBson, RawDocument, Timestamp, doc};
use smache_core::{
    Change, ChangeKind, Error, ErrorKind, Result, Snapshot, SourceId, Topic, support::log_damaged_change,
};

use crate::document::{TopicReader, foreign_key, shown_id};

/// The sources that one stream watches, by the name of their collection.
#[derive(Debug)]
pub(crate) struct Watched {
    database: String,
    /// More than one source where several types are read from one collection.
    collections: HashMap<String, Vec<(SourceId, TopicReader)>>,
}

impl Watched {
    /// Watches topics. Sources of this crate must have made all of them.
    pub(crate) fn new(database: &str, topics: &[Topic]) -> Result<Self> {
        let mut collections = HashMap::<_, Vec<_>>::new();
        for topic in topics {
            let reader: &TopicReader = topic.reader_of("a collection of MongoDB")?;
            collections.entry(topic.name.clone()).or_default().push((topic.source.clone(), reader.clone()));
        }
        Ok(Self { database: database.to_owned(), collections })
    }

    /// The names of the collections.
    pub(crate) fn collections(&self) -> impl Iterator<Item = &String> {
        self.collections.keys()
    }

    /// Whether it is one of the collections.
    pub(crate) fn has(&self, collection: &str) -> bool {
        self.collections.contains_key(collection)
    }

    /// The sources with their readers.
    pub(crate) fn readers(&self) -> impl Iterator<Item = &(SourceId, TopicReader)> {
        self.collections.values().flatten()
    }

    /// Selects the events of the watched collections. A rename is an event of the old name. The ends of the database
    /// and of the stream name no collection: a stream that filters those out ends without an event.
    pub(crate) fn filter(&self) -> Document {
        let names: Vec<&String> = self.collections.keys().collect();
        doc! { "$match": { "$or": [
            { "ns.coll": { "$in": &names } },
            { "to.coll": { "$in": &names } },
            { "operationType": { "$in": ["dropDatabase", "invalidate"] } },
        ] } }
    }

    /// The changes of an event, in their order.
    pub(crate) fn changes(&self, event: &Event<'_>) -> Vec<Change> {
        let kind = match event.operation {
            "insert" => ChangeKind::Insert,
            "update" | "replace" => ChangeKind::Update,
            "delete" => ChangeKind::Delete,
            "rename" => {
                let mut resets = self.resets(self.of(event.collection));
                resets.extend(
                    self.resets(
                        self.of(event
                            .renamed_to
                            .as_ref()
                            .and_then(|(database, collection)| (*database == self.database).then_some(*collection))),
                    ),
                );
                return resets;
            }
            "dropDatabase" | "invalidate" => return self.resets(self.readers()),
            // `drop`, and any collection event of a future server.
            _ => return self.resets(self.of(event.collection)),
        };
        self.of(event.collection).map(|(source, reader)| change(source, reader, kind, event)).collect()
    }

    fn of(&self, collection: Option<&str>) -> impl Iterator<Item = &(SourceId, TopicReader)> {
        collection.and_then(|name| self.collections.get(name)).into_iter().flatten()
    }

    fn resets<'a>(&self, sources: impl Iterator<Item = &'a (SourceId, TopicReader)>) -> Vec<Change> {
        sources.map(|(source, _)| Change::reset(source.clone())).collect()
    }
}

/// The parts of an event that SMache uses, borrowed from the server's reply.
#[derive(Debug)]
pub(crate) struct Event<'a> {
    /// The position after it.
    pub(crate) token: &'a RawDocument,
    /// The operation.
    pub(crate) operation: &'a str,
    /// The time of the cluster's clock.
    pub(crate) time: Option<Timestamp>,
    collection: Option<&'a str>,
    renamed_to: Option<(&'a str, &'a str)>,
    key: Option<&'a RawDocument>,
    before: Option<&'a RawDocument>,
    after: Option<&'a RawDocument>,
    fields: Option<Vec<String>>,
}

/// The operations on one document. All others are on a collection or more.
const ON_DOCUMENTS: [&str; 4] = ["insert", "update", "replace", "delete"];

impl<'a> Event<'a> {
    /// Reads an event.
    ///
    /// # Errors
    /// When it has no resume token or no operation. Only a pipeline removes those.
    pub(crate) fn read(event: &'a RawDocument) -> Result<Self> {
        let part = |name: &str| event.get_document(name).ok();
        let (token, operation) = match (part("_id"), event.get_str("operationType")) {
            (Some(token), Ok(operation)) => (token, operation),
            _ => {
                return Err(Error::new(
                    ErrorKind::Corrupt,
                    "an event of the change stream has no `_id` or no `operationType`",
                ));
            }
        };
        let place = |name: &str| part(name).map(|place| (place.get_str("db").ok(), place.get_str("coll").ok()));
        Ok(Self {
            token,
            operation,
            time: event.get_timestamp("clusterTime").ok(),
            collection: place("ns").and_then(|(_, collection)| collection),
            renamed_to: place("to").and_then(|(database, collection)| Some((database?, collection?))),
            key: part("documentKey"),
            before: part("fullDocumentBeforeChange"),
            after: part("fullDocument"),
            fields: part("updateDescription").and_then(fields),
        })
    }

    /// The document's collection and key, if it is a change of one.
    pub(crate) fn document(&self) -> Option<(&'a str, &'a RawDocument)> {
        if ON_DOCUMENTS.contains(&self.operation) { self.collection.zip(self.key) } else { None }
    }

    /// The changed fields, if they are known. An update by a pipeline arrives as a replacement where its description
    /// would be longer than the document; its changed fields are the difference of the images.
    fn changed(&self) -> Option<Vec<String>> {
        match self.operation {
            "update" => self.fields.clone(),
            "replace" => difference(self.before?, self.after?),
            _ => None,
        }
    }
}

/// The top-level fields that an update changed, if its whole description can be read. A name with a dot in it looks
/// like a path, and counts as its first part.
fn fields(update: &RawDocument) -> Option<Vec<String>> {
    let mut paths = Vec::new();
    if let Some(updated) = update.get("updatedFields").ok()? {
        for field in updated.as_document()? {
            paths.push(field.ok()?.0.to_owned());
        }
    }
    for list in ["removedFields", "truncatedArrays"] {
        let Some(list) = update.get(list).ok()? else { continue };
        for entry in list.as_array()? {
            let entry = entry.ok()?;
            let path = entry.as_str().or_else(|| entry.as_document()?.get_str("field").ok())?;
            paths.push(path.to_owned());
        }
    }
    let mut fields: Vec<String> = paths.iter().filter_map(|path| path.split('.').next()).map(str::to_owned).collect();
    fields.sort_unstable();
    fields.dedup();
    // An update without changes has no event, so an empty list means that the description has another form.
    Some(fields).filter(|fields| !fields.is_empty())
}

/// The top-level fields in which two images differ. A number that is not equal to itself counts as changed.
fn difference(before: &RawDocument, after: &RawDocument) -> Option<Vec<String>> {
    let fields = |document: &'_ RawDocument| {
        let all = document.iter().map(|field| field.ok().map(|(name, value)| (name.to_string(), value.to_raw_bson())));
        all.collect::<Option<BTreeMap<String, RawBson>>>()
    };
    let before = fields(before)?;
    let after = fields(after)?;
    let differs = |name: &&String| before.get(*name) != after.get(*name);
    let mut all: Vec<String> = before.keys().chain(after.keys()).filter(differs).cloned().collect();
    all.sort_unstable();
    all.dedup();
    // Without a difference the order of the fields has changed, which no list of fields expresses.
    Some(all).filter(|all| !all.is_empty())
}

fn change(source: &SourceId, reader: &TopicReader, kind: ChangeKind, event: &Event<'_>) -> Change {
    let Some(document_key) = event.key else {
        tracing::warn!(%source, operation = event.operation, "an event names no document: the whole source counts as changed");
        return Change::reset(source.clone());
    };
    let key = (reader.key)(document_key).or_else(|error| {
        // No entity has this id, but the whole source has changed.
        tracing::warn!(%source, id = shown_id(document_key), error = error.report(), "a changed document is not an entity");
        foreign_key(document_key).ok_or(error)
    });
    let Ok(key) = key else { return Change::reset(source.clone()) };

    let image = |document: Option<&RawDocument>| match document.map(reader.image) {
        Some(Ok((id, image))) if id == key => Snapshot::Known(image),
        Some(Err(error)) => {
            log_damaged_change(source, shown_id(document_key), error.report());
            Snapshot::Unknown
        }
        _ => Snapshot::Unknown,
    };
    let mut change = Change::new(source.clone(), key.clone(), kind);
    change.before = if kind == ChangeKind::Insert { Snapshot::Absent } else { image(event.before) };
    change.after = if kind == ChangeKind::Delete { Snapshot::Absent } else { image(event.after) };
    change.fields = event.changed();
    change
}

#[cfg(test)]
mod tests;
