//! The change stream of a database as a feed.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::{StreamExt, future::try_join_all};
use mongodb::{
    Database,
    bson::doc,
    options::{ReadConcern, ReadPreference, SelectionCriteria},
    raw_batch_cursor::RawBatchCursor,
};
use smache_core::{ChangeFeed, ChangeStream, Error, ErrorKind, FeedId, Position, Result, Start, Topic};

use crate::{
    document::TopicReader,
    error::{bounded, classify},
    events::Watched,
    history::{Identity, lost},
    position::{Place, sorts},
    primary::Primary,
    stream::{MongoStream, Reply},
};

/// The most changes in one batch.
const CHANGES_A_BATCH: u32 = 500;

/// How long the server waits for a change before it answers without any. It delivers a change at once; the feed looks
/// at most this old while there are none.
const AWAIT: Duration = Duration::from_millis(250);

/// The change stream of a database; all sources in it share it.
///
/// Each source makes its own handle. Handles of the same name are interchangeable, because the topic of a source says
/// how to read its documents.
#[derive(Clone)]
pub(crate) struct MongoFeed {
    id: FeedId,
    database: Database,
    timeout: Duration,
    /// Whether the server's tokens sort by their time; known after its first one.
    sorts: Arc<OnceLock<bool>>,
}

impl MongoFeed {
    pub(crate) fn new(database: Database, id: Option<FeedId>, timeout: Duration) -> Self {
        let id = id.unwrap_or_else(|| default_id(database.name()));
        Self { id, database, timeout, sorts: Arc::default() }
    }

    fn doing(&self) -> String {
        format!("opening the change stream of the database `{}`", self.database.name())
    }

    /// Asks the primary for its state and its time.
    pub(crate) async fn primary(&self) -> Result<Primary> {
        let doing = format!("asking for the primary of the database `{}`", self.database.name());
        Primary::ask(&self.database, self.timeout, &doing).await
    }

    /// Asks the server which history it has.
    pub(crate) async fn identity(&self, watched: &Watched) -> Result<Identity> {
        let doing = self.doing();
        let names: Vec<&String> = watched.collections().collect();
        bounded(self.timeout, ErrorKind::Unavailable, &doing, Identity::ask(&self.database, &names, &doing)).await
    }

    /// Checks that the server has the history of a saved position, and has reached it.
    pub(crate) async fn check_history(&self, watched: &Watched, place: &Place, now: &Identity) -> Result<()> {
        let doing = self.doing();
        let primary = self.primary().await?;
        if place.time().is_some_and(|time| time > primary.time) {
            // The server accepts such a token, and sends nothing until its clock is there.
            return Err(lost(&doing, "its time is in the future of this server, which was restored to an older state"));
        }
        let watched = |name: &str| watched.has(name);
        place.origin().check(now, watched, &self.database, self.timeout, &doing).await
    }

    /// All sources must be on the server and in the database of this feed; it would not see the changes of others.
    async fn check(&self, watched: &Watched) -> Result<()> {
        let doing = self.doing();
        let own = Primary::ask(&self.database, self.timeout, &doing).await?;
        try_join_all(watched.readers().map(|(source, TopicReader { database, .. })| {
            let (doing, own) = (&doing, &own);
            async move {
                let other = Primary::ask(database, self.timeout, doing).await?;
                if database.name() == self.database.name() && other.set == own.set && other.hosts == own.hosts {
                    return Ok(());
                }
                let message = format!(
                    "the feed `{}` has sources of different databases, `{source}` among them: give each database a feed of its \
                     own with `MongoSourceBuilder::feed`",
                    self.id
                );
                Err(Error::new(ErrorKind::Config, message))
            }
        }))
        .await?;
        Ok(())
    }

    /// Opens a cursor, and returns its first reply.
    pub(crate) async fn cursor(&self, watched: &Watched, after: Option<&Place>) -> Result<(RawBatchCursor, Reply)> {
        // Images of the moment of the change, where the collection keeps them. `updateLookup` would give the document
        // as it is now, which is the image of another change.
        let mut stream = doc! { "fullDocument": "whenAvailable", "fullDocumentBeforeChange": "whenAvailable" };
        if let Some(place) = after {
            // Unlike `resumeAfter` it also accepts the token of an `invalidate` event, behind which a new stream
            // begins.
            stream.insert("startAfter", place.token()?);
        }
        let doing = self.doing();
        let opening = async {
            // Not `watch`: its stream resumes by itself and hides where the server's replies begin and end, and with
            // that the instant up to which it has delivered everything.
            let pipeline = [doc! { "$changeStream": stream }, watched.filter()];
            let mut cursor = self
                .database
                .aggregate(pipeline)
                .read_concern(ReadConcern::majority())
                .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary))
                .batch_size(CHANGES_A_BATCH)
                .max_await_time(AWAIT)
                .batch()
                .await?;
            let first = cursor.next().await;
            Ok((cursor, first))
        };
        // Unreachable rather than slow: a reachable server opens a stream at once.
        let opened = bounded(self.timeout, ErrorKind::Unavailable, &doing, opening).await;
        let opened = opened.and_then(|(cursor, first)| match first {
            Some(first) => Ok((cursor, Reply::new(first.map_err(|error| classify(error, &doing))?))),
            None => Err(closed(&doing)),
        });
        opened.map_err(|error| match (error.kind(), after) {
            // A server has some dozens of codes for an invalid token, some of which have other meanings too. If the
            // token is not the cause, the start without one fails as well, and nothing is lost.
            (ErrorKind::WrongServer, Some(_)) => refused(&doing).with_source(error),
            _ => error,
        })
    }

    /// Whether the server's tokens sort by their time, as those of MongoDB do.
    async fn sorts(&self) -> Result<bool> {
        if let Some(sorts) = self.sorts.get() {
            return Ok(*sorts);
        }
        let (_cursor, first) = self.cursor(&Watched::new(self.database.name(), &[])?, None).await?;
        Ok(*self.sorts.get_or_init(|| first.end().is_some_and(sorts)))
    }

    /// Waits for the next reply.
    pub(crate) async fn reply(&self, cursor: &mut RawBatchCursor) -> Result<Reply> {
        let doing = format!("reading the change stream of the database `{}`", self.database.name());
        let next = async { cursor.next().await.transpose() };
        let reply = bounded(AWAIT + self.timeout, ErrorKind::Unavailable, &doing, next).await?;
        reply.map(Reply::new).ok_or_else(|| closed(&doing))
    }
}

fn refused(doing: &str) -> Error {
    Error::new(ErrorKind::HistoryLost, format!("{doing}: the server does not take the saved position"))
}

fn closed(doing: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("{doing}: the server has closed the stream"))
}

/// `mongo:` and the name of the database, which may contain characters that a feed's name may not.
fn default_id(database: &str) -> FeedId {
    FeedId::new(format!("mongo:{database}")).unwrap_or_else(|_| {
        let digits: String = database.bytes().map(|byte| format!("{byte:02x}")).collect();
        FeedId::new(format!("m:{digits}")).expect("MongoDB's names of databases have less than 64 bytes")
    })
}

#[async_trait]
impl ChangeFeed for MongoFeed {
    fn id(&self) -> &FeedId {
        &self.id
    }

    async fn open(&self, topics: &[Topic], start: Start) -> Result<Box<dyn ChangeStream>> {
        let watched = Watched::new(self.database.name(), topics)?;
        self.check(&watched).await?;
        Ok(Box::new(MongoStream::open(self.clone(), Arc::new(watched), start).await?))
    }

    /// The end of the primary's present time. A stream reaches it as soon as the server has nothing to add: a quarter
    /// of a second after the last change.
    async fn head(&self) -> Result<Option<Position>> {
        if !self.sorts().await? {
            return Ok(None);
        }
        // The primary has reached the time of every committed change.
        let time = self.primary().await?.time;
        let nothing = Watched::new(self.database.name(), &[])?;
        Ok(Some(Place::end_of(time, &self.identity(&nothing).await?)))
    }
}

impl fmt::Debug for MongoFeed {
    // By hand, because the `Debug` of a database shows the options of its client.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MongoFeed")
            .field("id", &self.id)
            .field("database", &self.database.name())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_a_database_makes_a_feed_of_its_own() {
        let longest = "x".repeat(63);
        let odd = "ä".repeat(31);
        let names = ["shop", "a b", "café", &longest, &odd];
        let ids: Vec<FeedId> = names.iter().map(|name| default_id(name)).collect();
        assert_eq!(ids[0].as_str(), "mongo:shop");
        assert!(ids.iter().enumerate().all(|(index, id)| !ids[..index].contains(id)), "{ids:?}");
    }
}
