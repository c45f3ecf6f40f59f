//! The collections of this backend on one database, and how each step on them is bounded.

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

/// How many commands of one step are on their way at a time.
pub(crate) const SIDE_BY_SIDE: usize = 16;

/// The connections that everything of one [`Mongo`](crate::Mongo) shares.
#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) database: Database,
    pub(crate) entries: Collection<Document>,
    pub(crate) state: Collection<Document>,
    pub(crate) notifier: Collection<Document>,
    /// Where it is, without user and password.
    pub(crate) server: Arc<str>,
    /// A host on another machine that is asked in the clear, as far as it is known.
    pub(crate) in_the_clear: Option<String>,
    /// A host on another machine whose certificate is not verified.
    pub(crate) unverified: Option<String>,
    /// Whether one server is asked and not its set, as far as it is known.
    pub(crate) direct: bool,
    /// How long a command may take.
    pub(crate) timeout: Duration,
}

impl Link {
    pub(crate) fn new(client: &Client, database: &str, server: String, timeout: Duration, journal: bool) -> Self {
        let database = client.database(database);
        // Whatever concerns the URL names: what is acknowledged is with a majority, on disk, so that no failover loses it, and
        // what is read is, so that none takes it back.
        let mut majority = WriteConcern::majority();
        majority.journal = journal.then_some(true);
        let options = CollectionOptions::builder()
            .read_concern(ReadConcern::majority())
            .write_concern(majority)
            .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary))
            .build();
        let collection = |name| database.collection_with_options(name, options.clone());
        let (entries, state, notifier) = (collection(ENTRIES), collection(STATE), collection(NOTIFIER));
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

    /// A command whose work grows with the number of entries: it is given more time.
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
        // By hand, because the handle of a database shows the options of its client.
        f.debug_struct("Link")
            .field("server", &self.server)
            .field("database", &self.database.name())
            .finish_non_exhaustive()
    }
}
