//! An open change stream.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use mongodb::{
    bson::{RawArray, RawBsonRef, RawDocument},
    raw_batch_cursor::{RawBatch, RawBatchCursor},
};
use smache_core::{Batch, Change, ChangeStream, Error, ErrorKind, Position, Result, Start};

use crate::{
    events::{Event, Watched},
    feed::MongoFeed,
    history::{Identity, LastChange},
    position::{ClusterTime, Covers, Place},
    primary::Primary,
    progress::{Progress, Seen},
};

/// How long a batch waits for the primary's answer. Then the stream goes on, and the next batch waits for it.
const MARK_WITHIN: Duration = Duration::from_millis(500);

/// A question to the primary, bounded by the timeout of the feed.
type Asking = Pin<Box<dyn Future<Output = Result<Primary>> + Send>>;

/// One reply of the server: the first one of a cursor, or that of one `getMore`.
pub(crate) struct Reply(RawBatch);

impl Reply {
    pub(crate) fn new(batch: RawBatch) -> Self {
        Self(batch)
    }

    fn events(&self) -> Result<&RawArray> {
        self.0.doc_slices().map_err(|error| malformed("events").with_source(error))
    }

    /// The reply, if there are events in it.
    fn with_events(self) -> Result<Option<Self>> {
        Ok(if self.events()?.is_empty() { None } else { Some(self) })
    }

    /// The cluster's clock at the reply.
    fn time(&self) -> ClusterTime {
        self.0.as_raw_document().get_timestamp("operationTime").map(ClusterTime::from).unwrap_or_default()
    }

    /// Where the server has read the history up to, changes of other collections included.
    pub(crate) fn end(&self) -> Option<&RawDocument> {
        self.0
            .as_raw_document()
            .get_document("cursor")
            .and_then(|cursor| cursor.get_document("postBatchResumeToken"))
            .ok()
    }
}

fn document<E>(event: std::result::Result<RawBsonRef<'_>, E>) -> Result<&RawDocument> {
    event.ok().and_then(RawBsonRef::as_document).ok_or_else(|| malformed("event"))
}

fn malformed(part: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("a reply of the change stream has no readable {part}"))
}

/// The change stream of a database, read reply by reply.
pub(crate) struct MongoStream {
    feed: MongoFeed,
    watched: Arc<Watched>,
    cursor: RawBatchCursor,
    /// A reply that was read and not delivered yet, and when it was asked for, if that proves something. The stream
    /// delivers it before it asks for more.
    pending: Option<(Reply, Option<Instant>)>,
    place: Place,
    /// The server's identity at the last question.
    identity: Identity,
    progress: Progress,
    /// The time at which the stream began, until a change was read.
    begin: Option<ClusterTime>,
    /// A question on its way, and when it was sent.
    asking: Option<(Instant, Asking)>,
    /// The server ends a stream when its database is dropped.
    ended: bool,
}

impl MongoStream {
    pub(crate) async fn open(feed: MongoFeed, watched: Arc<Watched>, start: Start) -> Result<Self> {
        let after = match start {
            Start::Now => None,
            Start::After(position) => Some(Place::restored(&position)?),
        };
        let identity = feed.identity(&watched).await?;
        if let Some(place) = &after {
            feed.check_history(&watched, place, &identity).await?;
        }
        let (cursor, reply) = feed.cursor(&watched, after.as_ref()).await?;
        let (place, first) = match after {
            Some(mut place) => {
                place.set_identity(identity.clone());
                (place, reply.with_events()?)
            }
            None => {
                // The server has fixed the position before it answered. Without its token a process that dies before
                // the first change would not know where to go on.
                let Some(token) = reply.end() else {
                    let message =
                        "the server gives no resume token for a stream without changes; MongoDB 6.0 or newer is needed";
                    return Err(Error::new(ErrorKind::WrongServer, message));
                };
                (Place::start(token, reply.time(), &identity), None)
            }
        };
        let pending = first.map(|first| (first, None));
        let progress = Progress::default();
        let begin = place.unread();
        Ok(Self { feed, watched, cursor, pending, place, identity, progress, begin, asking: None, ended: false })
    }

    /// Begins a new stream behind the event that ended this one.
    async fn begin_anew(&mut self) -> Result<()> {
        let (cursor, reply) = self.feed.cursor(&self.watched, Some(&self.place)).await?;
        self.cursor = cursor;
        self.pending = reply.with_events()?.map(|first| (first, None));
        self.ended = false;
        Ok(())
    }

    /// Whether a reply shows that the server's collections have changed: an event of a new collection, or one that is
    /// not on a document.
    fn changes_identity(&self, reply: &Reply) -> Result<bool> {
        for event in reply.events()? {
            let event = Event::read(document(event)?)?;
            match event.document() {
                Some((collection, _)) if self.identity.has(collection) || !self.watched.has(collection) => {}
                _ => return Ok(true),
            }
        }
        Ok(false)
    }

    /// Asks the primary for its time, before the stream reads on: see [`Progress`].
    async fn mark(&mut self) -> Result<()> {
        if !self.progress.wants_mark() {
            return Ok(());
        }
        let (asked, mut asking) = self.asking.take().unwrap_or_else(|| {
            let feed = self.feed.clone();
            (Instant::now(), Box::pin(async move { feed.primary().await }))
        });
        match tokio::time::timeout(MARK_WITHIN, &mut asking).await {
            Ok(Ok(primary)) => self.progress.mark(asked, primary.time),
            Ok(Err(error)) if error.kind() != ErrorKind::Timeout => return Err(error),
            // The next call asks again; meanwhile the feed only looks older than it is.
            Ok(Err(error)) => tracing::debug!(error = %error.report(), "asking the primary for its time failed"),
            Err(_) => self.asking = Some((asked, asking)),
        }
        Ok(())
    }

    /// How far a token covers the times that the server has given to changes.
    fn covers(&self, token: &RawDocument) -> Covers {
        match Covers::of(token) {
            Covers::UpTo(time) if self.begin.is_some_and(|begin| time <= begin) => Covers::UpTo(time.before()),
            other => other,
        }
    }

    fn deliver(&mut self, reply: &Reply, asked: Option<Instant>) -> Result<Batch> {
        let mut changes: Vec<Change> = Vec::new();
        let mut last_change = None;
        for event in reply.events()? {
            let event = Event::read(document(event)?)?;
            changes.extend(self.watched.changes(&event));
            self.place.advance(event.token, event.time.map(ClusterTime::from));
            if let (Some((collection, key)), Some(time)) = (event.document(), event.time) {
                self.place.set_last(LastChange::new(time, collection, key));
            }
            self.ended |= event.operation == "invalidate";
            last_change = last_change.max(Some(event.time.map(ClusterTime::from).unwrap_or_default()));
        }
        if last_change >= self.begin {
            self.begin = None;
        }
        let mut covers = Covers::Unknown;
        let mut unmoved = false;
        if let Some(end) = reply.end() {
            covers = self.covers(end);
            unmoved = self.place.is_at(end);
            self.place.advance(end, None);
            // The server has looked behind the last change of that time, and found no more.
            if last_change.is_none() && covers == Covers::of(end) {
                self.place.complete();
            }
        }
        let as_of = asked.and_then(|asked| self.progress.see(Seen { asked, last_change, covers, unmoved }));
        Ok(Batch::new(changes, self.place.position(), as_of))
    }
}

#[async_trait]
impl ChangeStream for MongoStream {
    fn position(&self) -> Position {
        self.place.position()
    }

    async fn next(&mut self) -> Result<Batch> {
        if self.ended {
            self.begin_anew().await?;
        }
        if self.pending.is_none() {
            self.mark().await?;
            let asked = Instant::now();
            self.pending = Some((self.feed.reply(&mut self.cursor).await?, Some(asked)));
        }
        let Some((reply, asked)) = &self.pending else { return Err(malformed("cursor")) };
        // Before the delivery, so that the position behind the event has the server's identity after it. Meanwhile the
        // reply stays in `pending`, where a dropped call does not lose it.
        let identity =
            if self.changes_identity(reply)? { Some(self.feed.identity(&self.watched).await?) } else { None };
        let asked = *asked;
        let Some((reply, _)) = self.pending.take() else { return Err(malformed("cursor")) };
        if let Some(identity) = identity {
            self.place.set_identity(identity.clone());
            self.identity = identity;
        }
        self.deliver(&reply, asked)
    }
}

impl fmt::Debug for MongoStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MongoStream").field("feed", &self.feed).field("ended", &self.ended).finish_non_exhaustive()
    }
}
