//! The collections of this backend in one database, and the bounds of each step on them.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use mongodb::{
    Client, Collection, Database,
    bson::Document,
    options::{CollectionOptions, ReadConcern, ReadPreference, SelectionCriteria, WriteConcern},
};
use smache_core::Result;

use crate::{
    error::timed,
    keys::{ENTRIES, NOTIFIER, STATE},
};

/// The most commands of one step at a time.
pub(crate) const SIDE_BY_SIDE: usize = 16;

/// The connections that everything of one [`Mongo`](crate::Mongo) shares.
#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) database: Database,
    pub(crate) entries: Collection<Document>,
    pub(crate) state: Collection<Document>,
    pub(crate) notifier: Collection<Document>,
    /// The server's name, without user and password.
    pub(crate) server: Arc<str>,
    /// A host on another machine whose connection is not encrypted, as far as it is known.
    pub(crate) in_the_clear: Option<String>,
    /// A host on another machine whose certificate is not verified.
    pub(crate) unverified: Option<String>,
    /// Whether the connection goes to one server and not to its set, as far as it is known.
    pub(crate) direct: bool,
    /// How long a command may take.
    pub(crate) timeout: Duration,
}

impl Link {
    pub(crate) fn new(client: &Client, database: &str, server: String, timeout: Duration, journal: bool) -> Self {
        let database = client.database(database);
        // For any URL: a majority has each acknowledged write on disk, so no failover loses it, and no failover takes
        // back a value that was read.
        let mut majority = WriteConcern::majority();
        majority.journal = journal.then_some(true);
        let options = CollectionOptions::builder()
            .read_concern(ReadConcern::majority())
            .write_concern(majority)
            .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary))
            .build();
        let collection = |name| database.collection_with_options(name, options.clone());
        let entries = collection(ENTRIES);
        let state = collection(STATE);
        let notifier = collection(NOTIFIER);
        Self {
            database,
            entries,
            state,
            notifier,
            server: server.into(),
            in_the_clear: None,
            unverified: None,
            direct: false,
            timeout,
        }
    }

    /// A command of a step.
    pub(crate) async fn run<T>(
        &self,
        step: &'static str,
        command: impl Future<Output = mongodb::error::Result<T>>,
    ) -> Result<T> {
        timed(self.timeout, step, &self.server, command).await
    }

    /// A command whose work grows with the number of entries: it gets more time.
    pub(crate) async fn run_long<T>(
        &self,
        step: &'static str,
        command: impl Future<Output = mongodb::error::Result<T>>,
    ) -> Result<T> {
        timed(self.timeout.saturating_mul(6), step, &self.server, command).await
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // By hand, because the `Debug` of a database shows the options of its client.
        f.debug_struct("Link")
            .field("server", &self.server)
            .field("database", &self.database.name())
            .finish_non_exhaustive()
    }
}
