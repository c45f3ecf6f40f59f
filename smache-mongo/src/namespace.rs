//! A namespace: its revision and everything that confirms its entries, in one document.
//!
//! Operators raise `revision` and `low_watermark`, which only grow, so that no two invalidations wait for each other. A
//! step reads all other fields, changes them in the program, and writes them on condition that the counter `rev` is the
//! one that it read.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::TryStreamExt;
use mongodb::{
    bson::{Bson, Document, doc},
    options::ReturnDocument,
};
use smache_core::{
    Epoch, Error, ErrorKind, FeedStep, Incarnation, Position, Result, SourceId, SourceValidity, Timestamp, Token,
    Validity,
    protocol::{FeedView, FeedWrites, Leader},
    support::LATEST,
};

use crate::{
    damage::Damage,
    error::{corrupt, is_duplicate, overtaken},
    expression::{now, number, time},
    keys::{Keys, SCHEMA, binary},
    link::Link,
    record::Fields,
    schema::{VERSION, make_indexes},
};

const UNREADABLE: &str = "the state of a namespace cannot be read: remove its document from `smache_state`";

/// How often a change of the document is tried before it fails with [`overtaken`].
const TRIES: u32 = 64;

/// The document of a namespace, with the server's time and incarnation.
#[derive(Debug, Clone)]
pub(crate) struct NamespaceDoc {
    pub(crate) now: Timestamp,
    pub(crate) incarnation: Incarnation,
    pub(crate) epoch: Epoch,
    pub(crate) revision: u64,
    pub(crate) low_watermark: u64,
    pub(crate) rev: i64,
    /// Where the walk over entries of old epochs goes on.
    pub(crate) sweep: Sweep,
    pub(crate) sources: BTreeMap<SourceId, SourceValidity>,
    pub(crate) positions: BTreeMap<SourceId, Position>,
    /// The leader of each feed, by its name.
    pub(crate) leaders: BTreeMap<String, Leader>,
    /// Until when the sources that the application reports are confirmed; an operator moves it.
    pub(crate) attached_until: Timestamp,
    /// The unreadable parts of the document.
    pub(crate) damage: Damage,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sweep {
    Over,
    Under {
        /// The name of the walk; a new start gets a new one.
        walk: Vec<u8>,
        /// The walk goes on behind this id.
        after: Vec<u8>,
    },
}

impl Sweep {
    /// A walk from the beginning.
    pub(crate) fn start() -> Self {
        Self::Under { walk: Token::random().as_bytes().to_vec(), after: Vec::new() }
    }

    /// The stored form: the walk's name and its place.
    pub(crate) fn written(&self) -> (Bson, Bson) {
        match self {
            Self::Over => (Bson::Null, Bson::Null),
            // A walk of a version before names has none.
            Self::Under { walk, after } if walk.is_empty() => (Bson::Null, binary(after.clone())),
            Self::Under { walk, after } => (binary(walk.clone()), binary(after.clone())),
        }
    }

    fn read(fields: &Fields<'_>) -> Self {
        let walk = fields.bytes("walk").unwrap_or_default().to_vec();
        fields.bytes("sweep").map_or(Self::Over, |after| Self::Under { walk, after: after.to_vec() })
    }
}

impl NamespaceDoc {
    /// The facts that confirm entries.
    pub(crate) fn validity(&self) -> Arc<Validity> {
        let mut validity = Validity::new(self.epoch);
        validity.sources.clone_from(&self.sources);
        validity.attached_until = Some(self.attached_until);
        Arc::new(validity)
    }

    /// Reads the two documents of a namespace.
    pub(crate) fn read(schema: &Document, namespace: &Document) -> Result<Self> {
        let schema = Fields::new(schema, UNREADABLE);
        let fields = Fields::new(namespace, UNREADABLE);
        let now = fields.time("now").ok_or_else(|| corrupt(UNREADABLE))?;
        let mut damage = Damage::None;
        let source = |source: &Fields<'_>| {
            let epoch = Epoch::from_slice(source.bytes("epoch")?)?;
            let caught_up_on = source.text("caught_up_on").map(Incarnation::new);
            let validity = match source.time("valid_until") {
                Some(valid_until) => SourceValidity::feed(epoch, caught_up_on, valid_until),
                None => SourceValidity::application(epoch, caught_up_on),
            };
            Ok((name_of(source)?, validity))
        };
        let sources = readable_parts(&fields, "sources", &mut damage, source).into_iter().collect();
        let position = |position: &Fields<'_>| {
            let order = position.bytes("order")?.to_vec();
            let token = position.bytes("token")?.to_vec();
            Ok((name_of(position)?, Position { order: order.into(), token: token.into() }))
        };
        let positions = readable_parts(&fields, "positions", &mut damage, position).into_iter().collect();
        let mut lost_leader = false;
        let feed = |feed: &Fields<'_>| {
            let name = feed.text("name").ok_or_else(|| corrupt(UNREADABLE))?.to_owned();
            let holder = feed.token("holder");
            let fence = feed.count("fence");
            let until = feed.time("until");
            let leader = match (holder, fence, until) {
                (Ok(holder), Ok(fence), Some(until)) if fence < LATEST => Leader { holder, fence, until },
                _ => {
                    // No process leads it, and no fence is as large as the time.
                    lost_leader = true;
                    Leader { holder: Token::random(), fence: now.as_millis(), until: Timestamp::default() }
                }
            };
            Ok((name, leader))
        };
        let leaders = readable_parts(&fields, "feeds", &mut damage, feed).into_iter().collect();
        let epoch = fields.bytes("epoch").and_then(Epoch::from_slice);
        if lost_leader || epoch.is_err() || fields.int("low_watermark").is_err() || fields.int("rev").is_err() {
            damage = damage.max(Damage::Parts);
        }
        // No count comes near the latest number, behind which it could not go on.
        let revision = fields.count("revision").ok().filter(|revision| *revision < LATEST).unwrap_or_else(|| {
            damage = Damage::Revision;
            now.as_millis().saturating_mul(1_000)
        });
        Ok(Self {
            now,
            incarnation: Incarnation::new(schema.text("incarnation").ok_or_else(|| corrupt(UNREADABLE))?),
            // A new epoch, of which there is no entry.
            epoch: epoch.unwrap_or_else(|_| Epoch::random()),
            revision,
            low_watermark: fields.count("low_watermark").unwrap_or(revision),
            rev: fields.int("rev").unwrap_or_default(),
            sweep: Sweep::read(&fields),
            attached_until: fields.time("attached").unwrap_or_default(),
            sources,
            positions,
            leaders,
            damage,
        })
    }

    /// The fields that a step in the program may change.
    pub(crate) fn write(&self) -> Document {
        let source = |(name, validity): (&SourceId, &SourceValidity)| {
            let mut source = doc! { "name": name.as_str(), "epoch": binary(validity.epoch.as_bytes()) };
            if let Some(caught_up_on) = &validity.caught_up_on {
                source.insert("caught_up_on", caught_up_on.as_str());
            }
            if let Some(valid_until) = validity.valid_until {
                source.insert("valid_until", time(valid_until));
            }
            Bson::from(source)
        };
        let position = |(name, position): (&SourceId, &Position)| {
            Bson::from(
                doc! { "name": name.as_str(), "order": binary(&position.order[..]), "token": binary(&position.token[..]) },
            )
        };
        let feed = |(name, leader): (&String, &Leader)| {
            let fence = number(leader.fence);
            let until = time(leader.until);
            Bson::from(
                doc! { "name": name, "holder": binary(leader.holder.as_bytes()), "fence": fence, "until": until },
            )
        };
        let (walk, after) = self.sweep.written();
        doc! {
            "epoch": binary(self.epoch.as_bytes()),
            "walk": walk,
            "sweep": after,
            "sources": self.sources.iter().map(source).collect::<Vec<_>>(),
            "positions": self.positions.iter().map(position).collect::<Vec<_>>(),
            "feeds": self.leaders.iter().map(feed).collect::<Vec<_>>(),
        }
    }

    /// Refuses a step of an older leader, and one of an earlier incarnation.
    pub(crate) fn check(&self, step: &FeedStep) -> Result<()> {
        step.check(self.leaders.get(step.feed.as_str()).map(|leader| leader.fence), &self.incarnation)
    }

    /// What a step of a feed reads, beside the positions.
    pub(crate) fn view<'a>(&'a self, step: &FeedStep, validity: &'a Validity) -> FeedView<'a> {
        let leader = self.leaders.get(step.feed.as_str());
        FeedView { now: self.now, incarnation: &self.incarnation, leader, validity }
    }

    /// Writes a plan of a step of a feed.
    pub(crate) fn write_step(&mut self, step: &FeedStep, writes: FeedWrites) {
        self.leaders.insert(step.feed.as_str().to_owned(), writes.leader);
        for (source, position, validity) in writes.sources {
            self.positions.insert(source.clone(), position);
            self.sources.insert(source, validity);
        }
    }
}

/// The readable parts of an array.
fn readable_parts<T>(
    fields: &Fields<'_>,
    name: &str,
    damage: &mut Damage,
    mut read: impl FnMut(&Fields<'_>) -> Result<T>,
) -> Vec<T> {
    let parts = fields.parts(name);
    let all = parts.len();
    let one = |part: &Bson| read(&Fields::new(part.as_document()?, UNREADABLE)).ok();
    let readable: Vec<T> = parts.iter().filter_map(one).collect();
    if readable.len() < all {
        *damage = Damage::Parts;
    }
    readable
}

fn name_of(fields: &Fields<'_>) -> Result<SourceId> {
    fields.text("name").and_then(|name| SourceId::new(name).ok()).ok_or_else(|| corrupt(UNREADABLE))
}

/// The answer to a read of a namespace.
pub(crate) struct Seen {
    pub(crate) namespace: NamespaceDoc,
    /// The documents of the added stages.
    pub(crate) more: Vec<Document>,
}

/// Adds the documents of another collection to a pipeline.
pub(crate) fn and(collection: &str, pipeline: Vec<Document>) -> Document {
    doc! { "$unionWith": { "coll": collection, "pipeline": pipeline } }
}

/// Reads a namespace and then, in the same round trip, the documents of the added stages.
///
/// A server reads them in order, each at least as new as the one before: the namespace is never newer than an entry
/// that is read with it. The time is that of the command's beginning, so the oldest.
pub(crate) async fn read(link: &Link, keys: &Keys, step: &'static str, more: Vec<Document>) -> Result<Seen> {
    read_all(link, keys, step, more, true).await
}

/// The same without the fields that only feeds need.
pub(crate) async fn look(link: &Link, keys: &Keys, step: &'static str, more: Vec<Document>) -> Result<Seen> {
    read_all(link, keys, step, more, false).await
}

async fn read_all(link: &Link, keys: &Keys, step: &'static str, more: Vec<Document>, feeds: bool) -> Result<Seen> {
    let namespace = keys.namespace();
    for _ in 0..3 {
        let mut pipeline =
            vec![doc! { "$match": { "_id": { "$in": [SCHEMA, &namespace] } } }, doc! { "$set": { "now": now() } }];
        if !feeds {
            pipeline.push(doc! { "$unset": ["feeds", "positions"] });
        }
        pipeline.extend(more.iter().cloned());
        let reading = async { link.state.aggregate(pipeline).await?.try_collect::<Vec<Document>>().await };
        let mut schema = None;
        let mut own = None;
        let mut rest = Vec::new();
        for document in link.run(step, reading).await? {
            match document.get_str("_id") {
                Ok(SCHEMA) => schema = Some(document),
                Ok(id) if id == namespace => own = Some(document),
                _ => rest.push(document),
            }
        }
        if let (Some(schema), Some(own)) = (&schema, &own) {
            return Ok(Seen { namespace: NamespaceDoc::read(schema, own)?, more: rest });
        }
        make(link, keys, step).await?;
    }
    Err(overtaken(step))
}

/// Creates the documents of a namespace if they are missing; without an epoch the store can answer nothing.
///
/// The revision starts at the time in microseconds, not at zero: it does not go back when these documents are dropped
/// and created again.
async fn make(link: &Link, keys: &Keys, step: &'static str) -> Result<()> {
    let own = link.clone();
    // The task goes on when its caller is dropped: a process that finds the document counts on the indexes.
    let making = tokio::spawn(async move {
        if make_schema(&own, step).await? {
            // The documents were dropped under a running system, and maybe the other collections as well.
            make_indexes(&own, step).await?;
        }
        Ok(())
    });
    making.await.unwrap_or_else(|error| {
        Err(Error::new(ErrorKind::Internal, "the task that creates the collections did not finish").with_source(error))
    })?;
    let missing = |field: &str, value: Bson| -> Bson { doc! { "$ifNull": [field, value] }.into() };
    let begins = doc! { "$multiply": [now(), 1_000_i64] };
    // Older entries, if there are any, have an epoch that this document does not know.
    let (walk, after) = Sweep::start().written();
    let if_new = |new: Bson, field: &str| doc! { "$cond": [{ "$eq": [{ "$type": "$rev" }, "missing"] }, new, field] };
    let namespace = doc! { "$set": {
        "epoch": missing("$epoch", binary(Epoch::random().as_bytes())),
        "revision": missing("$revision", begins.into()),
        "low_watermark": missing("$low_watermark", 0_i64.into()),
        "rev": missing("$rev", 0_i64.into()),
        "walk": if_new(walk, "$walk"),
        "sweep": if_new(after, "$sweep"),
    } };
    let made = link.state.update_one(doc! { "_id": keys.namespace() }, vec![namespace]).upsert(true);
    link.run(step, async { tolerate(made.await) }).await.map(drop)
}

/// Creates the document with the version and the incarnation if it is missing. Returns whether it was.
pub(crate) async fn make_schema(link: &Link, step: &'static str) -> Result<bool> {
    let new = doc! { "version": VERSION, "incarnation": Token::random().to_string() };
    let made = link.state.update_one(doc! { "_id": SCHEMA }, doc! { "$setOnInsert": new }).upsert(true);
    let made = link.run(step, async { tolerate(made.await) }).await?;
    Ok(made.is_some_and(|made| made.upserted_id.is_some()))
}

/// Accepts that another process created the document at the same moment.
fn tolerate<T>(made: mongodb::error::Result<T>) -> mongodb::error::Result<Option<T>> {
    match made {
        Err(error) if is_duplicate(&error) => Ok(None),
        made => made.map(Some),
    }
}

/// The decision of a step on a namespace.
pub(crate) enum Change<T> {
    /// Write the changed fields; `ticks` raises the revision.
    Write { ticks: bool, answer: T },
    /// Write nothing.
    Keep(T),
}

/// Changes a namespace in one step, and returns the revision after it.
pub(crate) async fn change<T: Send>(
    link: &Link,
    keys: &Keys,
    step: &'static str,
    mut decide: impl FnMut(&mut NamespaceDoc) -> Result<Change<T>> + Send,
) -> Result<(T, u64)> {
    for attempt in 0..TRIES {
        let mut namespace = read(link, keys, step, Vec::new()).await?.namespace;
        let (ticks, answer) = match decide(&mut namespace)? {
            Change::Write { ticks, answer } => (ticks, answer),
            Change::Keep(answer) => return Ok((answer, namespace.revision)),
        };
        let update = doc! { "$set": namespace.write(), "$inc": { "rev": 1_i64, "revision": i64::from(ticks) } };
        let written = link
            .state
            .find_one_and_update(doc! { "_id": keys.namespace(), "rev": namespace.rev }, update)
            .projection(doc! { "revision": 1 })
            .return_document(ReturnDocument::After);
        if let Some(written) = link.run(step, async { written.await }).await? {
            return Ok((answer, Fields::new(&written, UNREADABLE).count("revision")?));
        }
        // A step that lost more often waits longer, and the times are random.
        let random = u64::from(Token::random().as_bytes()[0]);
        tokio::time::sleep(Duration::from_micros(u64::from(attempt + 1) * random * 20)).await;
    }
    Err(overtaken(step))
}

/// Raises the revision, and returns it.
pub(crate) async fn tick(link: &Link, keys: &Keys, step: &'static str) -> Result<u64> {
    for _ in 0..3 {
        let ticked = link
            .state
            .find_one_and_update(doc! { "_id": keys.namespace() }, doc! { "$inc": { "revision": 1_i64 } })
            .projection(doc! { "revision": 1 })
            .return_document(ReturnDocument::After);
        if let Some(ticked) = link.run(step, async { ticked.await }).await? {
            return Fields::new(&ticked, UNREADABLE).count("revision");
        }
        make(link, keys, step).await?;
    }
    Err(overtaken(step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespace_is_read_as_it_is_written() {
        let source = SourceId::new("users").expect("a name");
        let namespace = NamespaceDoc {
            now: Timestamp::from_millis(5),
            incarnation: Incarnation::new("incarnation"),
            epoch: Epoch::from_bytes([1; 16]),
            revision: 7,
            low_watermark: 3,
            rev: 9,
            sweep: Sweep::Under { walk: vec![8], after: vec![1, 2] },
            sources: [(source.clone(), SourceValidity::behind(Epoch::from_bytes([2; 16])))].into(),
            positions: [(source, Position::new("one", [1], vec![2]))].into(),
            attached_until: Timestamp::default(),
            leaders: [(
                "feed".into(),
                Leader { holder: Token::from_bytes([3; 16]), fence: 4, until: Timestamp::from_millis(6) },
            )]
            .into(),
            damage: Damage::None,
        };
        let mut written = namespace.write();
        written.extend(doc! { "now": 5_i64, "revision": 7_i64, "low_watermark": 3_i32, "rev": 9_i64 });
        let read = NamespaceDoc::read(&doc! { "incarnation": "incarnation" }, &written).expect("a namespace");
        assert_eq!(format!("{read:?}"), format!("{namespace:?}"));
    }

    #[test]
    fn namespace_that_cannot_be_read_is_corrupt() {
        let error =
            NamespaceDoc::read(&doc! { "incarnation": "incarnation" }, &doc! { "epoch": 1 }).expect_err("damaged");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
}
