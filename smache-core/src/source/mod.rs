//! The seam to the application's data: loading entities, and following their changes.

mod announced;
mod capability;
mod change;
mod image;
mod key;
mod shared;

use std::{
    any::Any,
    fmt::{self, Debug},
    sync::Arc,
};

use async_trait::async_trait;

pub use self::{
    announced::Announced,
    capability::Capability,
    change::{Batch, Change, ChangeKind, Snapshot},
    image::{EntityKind, Image},
    key::EntityKey,
};
pub(crate) use self::{
    capability::{can, demand},
    image::Mark,
};
use crate::{Comparisons, Condition, Error, ErrorKind, Examination, FeedId, Filter, Position, Result, SourceId};

/// The place where entities of one type come from.
///
/// A source must keep four promises; its documentation says how: a read sees every change that was delivered before
/// the read began (read from the primary), a change is visible before it is delivered, deliveries carry the ids of old
/// and new images, and ids are stable.
#[async_trait]
pub trait DataSource: Debug + Send + Sync + 'static {
    /// The persisted name, equal to [`EntityType::SOURCE`](crate::EntityType::SOURCE) of its entities.
    fn id(&self) -> &SourceId;

    /// The type that its images hold.
    fn kind(&self) -> EntityKind;

    /// Loads entities by id.
    ///
    /// # Contract
    /// - MUST answer one element per key, in order, `None` where it does not exist `load_answers_in_order`
    /// - MUST see every change that was delivered or acknowledged before the call `load_sees_delivered_changes`
    ///
    /// # Cancel safety
    /// MAY be dropped at any time.
    async fn load(&self, keys: &[EntityKey]) -> Result<Vec<Option<Image>>>;

    /// Loads all entities, in any order.
    ///
    /// # Contract
    /// - MUST answer every entity once where [`Capability::List`] is declared, and MUST be refused elsewhere
    ///   `list_has_every_entity`
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where the source cannot list, which is the default.
    ///
    /// # Cancel safety
    /// MAY be dropped at any time.
    async fn list(&self) -> Result<Vec<Image>> {
        Err(unsupported(self.id(), "list its entities"))
    }

    /// Finds the entities that fulfil a filter, in any order.
    ///
    /// # Contract
    /// - MUST answer every entity whose stored fields equal the values, and MAY answer others
    ///   `find_answers_what_matches`
    /// - MUST see every change that was delivered or acknowledged before the call
    ///   `find_sees_acknowledged_changes`
    /// - MUST be refused where [`Capability::Find`] is not declared `find_answers_what_matches`
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where the source cannot find, which is the default.
    ///
    /// # Cancel safety
    /// MAY be dropped at any time.
    async fn find(&self, filter: &Filter) -> Result<Vec<Image>> {
        let fields: Vec<&str> = filter.conditions().iter().map(Condition::field).collect();
        Err(unsupported(self.id(), &format!("find by the fields `{}`", fields.join("`, `"))))
    }

    /// How it compares the values of fields. Predicates, the entities that [`find`](Self::find) returns, and the
    /// entities in changes all use the same form of a value. By default values are equal if serde writes them equal.
    ///
    /// # Contract
    /// - MUST give one form to values that the source considers equal `find_answers_what_matches`
    /// - MUST refuse the fields that it cannot compare in this way `find_answers_what_matches`
    ///
    /// # Errors
    /// Those of reaching the source. Until it has answered once, predicates without a [`find`](Self::find) make a
    /// result depend on the whole source.
    ///
    /// # Cancel safety
    /// MAY be dropped at any time.
    async fn comparisons(&self) -> Result<Comparisons> {
        Ok(Comparisons::as_written())
    }

    /// The source's report on itself, for [`Inspector::doctor`](crate::inspect::Inspector::doctor): its kind and place,
    /// and weaknesses of its setup. It changes nothing. Empty by default.
    async fn examine(&self) -> Result<Examination> {
        Ok(Examination::new(format!("a source of `{}`", self.kind().name())))
    }

    /// Its abilities beyond those of every source: none by default. The engine asks for no others.
    ///
    /// # Contract
    /// - MUST declare [`Capability::BeforeImages`] only if its changes carry them `changes_say_what_happened`
    fn capabilities(&self) -> &[Capability] {
        &[]
    }

    /// The stream of its changes, with the source's name on that stream; `None` when only the application reports
    /// changes, by `changed`.
    fn feed(&self) -> Option<(Arc<dyn ChangeFeed>, Topic)>;
}

fn unsupported(source: &SourceId, what: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("the source `{source}` cannot {what}: implement it, and declare it"))
}

/// A source as its feed knows it.
#[derive(Clone)]
#[non_exhaustive]
pub struct Topic {
    /// The source.
    pub source: SourceId,
    /// Its name on the feed, for example the collection.
    pub name: String,
    /// The feed's reader for changes of this source, which may be of a type that the feed does not know: one feed is
    /// opened for sources of several types. Only the backend that made it looks inside.
    pub reader: Option<Arc<dyn Any + Send + Sync>>,
}

impl Topic {
    /// A source by its name on the feed.
    #[must_use]
    pub fn new(source: SourceId, name: impl Into<String>) -> Self {
        Self { source, name: name.into(), reader: None }
    }

    /// Adds the feed's reader for changes of this source.
    #[must_use]
    pub fn with_reader(mut self, reader: Arc<dyn Any + Send + Sync>) -> Self {
        self.reader = Some(reader);
        self
    }

    /// The reader, for the feed of a backend whose sources have readers of this type. `of` names what such a source is
    /// of, for example "a table of Redis".
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a source of another backend, which cannot be on the feed.
    pub fn reader_of<R: Any + Send + Sync>(&self, of: &str) -> Result<&R> {
        self.reader.as_ref().and_then(|reader| reader.downcast_ref()).ok_or_else(|| {
            let fix = "give it a separate feed, whose id no other feed has";
            let message = format!("the source `{}` is not {of} and cannot be on its feed: {fix}", self.source);
            Error::new(ErrorKind::Config, message)
        })
    }
}

impl Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Topic").field("source", &self.source).field("name", &self.name).finish_non_exhaustive()
    }
}

/// A history of changes that one or several sources share.
#[async_trait]
pub trait ChangeFeed: Debug + Send + Sync + 'static {
    /// The persisted name. Feeds of the same name are opened once for all their sources.
    fn id(&self) -> &FeedId;

    /// Opens the history for some of its sources.
    ///
    /// # Contract
    /// - MUST deliver every change after the position, in order, at least once `feed_resumes_after_a_position`
    /// - MUST fail with [`ErrorKind::HistoryLost`](crate::ErrorKind::HistoryLost) when the position is not in the
    ///   history any more, instead of skipping `lost_history_is_an_error`
    ///
    /// # Errors
    /// `HistoryLost`; [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable); `WrongServer`; `Permission`.
    async fn open(&self, topics: &[Topic], start: Start) -> Result<Box<dyn ChangeStream>>;

    /// The present end of the history, where the feed can tell it without reading. With it
    /// [`run_until_idle`](crate::Smache::run_until_idle) returns as soon as everything was delivered, and
    /// [`caught_up`](crate::Smache::caught_up) waits up to it. `None` is always right: the engine then opens the feed
    /// at the present.
    ///
    /// # Contract
    /// - MUST cover every change that was committed before the call, and MUST be a place that an open stream reaches
    ///   without another change `streams_reach_the_present`
    async fn head(&self) -> Result<Option<Position>> {
        Ok(None)
    }
}

/// Where a feed starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// At the present: changes after the return of `open` are delivered.
    Now,
    /// After a saved position.
    After(Position),
}

/// An open feed.
#[async_trait]
pub trait ChangeStream: Send + Debug {
    /// The place that it has reached: every earlier change was delivered, or was before the start.
    ///
    /// # Contract
    /// - MUST sort behind every earlier position of its history, byte by byte, over any number of changes
    ///   `positions_sort_like_the_history`
    fn position(&self) -> Position;

    /// The next changes. Returns an empty batch after at most about 500 ms without any, so that its reader can renew
    /// the validity of the feed's sources.
    ///
    /// # Contract
    /// - MUST say [`Batch::as_of`] only where every change that was acknowledged before that instant is in this batch
    ///   or an earlier one: it takes the instant before it reads `batch_has_every_write_before_its_instant`
    /// - MUST deliver a backlog of any size, and say no instant after its writes while more of it is left
    ///   `backlog_larger_than_a_batch_is_delivered`
    ///
    /// # Errors
    /// As [`ChangeFeed::open`]; its reader drops the stream after an error.
    ///
    /// # Cancel safety
    /// A dropped call may lose changes: the reader then opens the feed again from the saved position.
    async fn next(&mut self) -> Result<Batch>;
}
