//! How a process is put together.

use std::{sync::Arc, time::Duration};

use mongodb::{Client, Database};
use serde::{Deserialize, Serialize};
use smache::{
    Error, ErrorKind, Smache, StoreFailure, Worker, backend::Backend, connect, mongo::MongoSource, redis::Redis,
};

use crate::{Doc, Log, Table, census, held, label, quiet::add, report, total};

/// How long clients wait by default: a machine that stands still for some seconds is not the subject of the tests.
const PATIENT: Duration = Duration::from_secs(30);

/// The roles of a process, and its places. Sent to nodes as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Setup {
    /// The namespace.
    pub namespace: String,
    /// The URL of the backend that is the store, and the queue if there is no other one.
    pub store: String,
    /// The URL of the backend that is the queue.
    pub queue: Option<String>,
    /// The MongoDB of the log, and of the documents if they are in no table.
    pub mongo: String,
    /// The database there.
    pub database: String,
    /// The URL of the SQL database that has a table of the documents.
    pub table: Option<String>,
    /// Whether it may lead the feed.
    pub feeds: bool,
    /// Whether it may do the maintenance.
    pub maintenance: bool,
    /// Whether it works.
    pub worker: bool,
    /// Whether it knows the function `report`.
    pub knows_report: bool,
    /// Whether only the application reports changes.
    pub quiet: bool,
    /// The lease of runs and jobs.
    pub lease: Duration,
    /// For how long a feed confirms.
    pub feed_validity: Duration,
    /// The bound of a step of the store.
    pub store_timeout: Duration,
    /// The answer to readers while the store fails.
    pub silent: Silent,
}

/// The answer to readers while the store fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Silent {
    /// A value that is computed for it.
    Compute,
    /// The error.
    Fail,
}

impl Setup {
    /// The application's database, without a connection yet.
    ///
    /// # Errors
    /// The driver's.
    pub async fn database(&self) -> mongodb::error::Result<Database> {
        Ok(Client::with_uri_str(&self.mongo).await?.database(&self.database))
    }

    /// The system of the process, on its database.
    ///
    /// # Errors
    /// Those of the servers.
    pub async fn smache(&self, db: &Database) -> smache::Result<Smache> {
        let builder = Smache::builder(&self.namespace)
            .state(Log::new(db))
            .feeds(self.feeds)
            .maintenance(self.maintenance)
            .run_lease(self.lease)
            .feed_validity(self.feed_validity)
            .store_timeout(self.store_timeout)
            // A machine that is busy is no store that is silent.
            .read_patience(self.store_timeout)
            .on_store_failure(match self.silent {
                Silent::Compute => StoreFailure::Compute,
                Silent::Fail => StoreFailure::Error,
            })
            .register::<held>()
            .register::<label>()
            .register::<total>()
            .register::<census>();
        let builder = match &self.table {
            Some(url) => {
                let failed =
                    |error| Error::new(ErrorKind::Unavailable, "the table of the documents").with_source(error);
                Table::connect(url).await.map_err(failed)?.source(builder, self.quiet)
            }
            None => add(builder, MongoSource::<Doc>::new(&db.collection::<Doc>("docs")), self.quiet),
        };
        let builder = if self.knows_report { builder.register::<report>() } else { builder };
        let store = self.backend(&self.store).await?;
        let builder = match &self.queue {
            None => builder.backend(store),
            Some(queue) => builder.store(store).queue(self.backend(queue).await?),
        };
        builder.build().await
    }

    /// The backend of a URL. Its client waits longer than a step of the store may take, so that the bound of the step
    /// is the one that shows.
    async fn backend(&self, url: &str) -> smache::Result<Arc<dyn Backend>> {
        if url.starts_with("redis") {
            let redis = Redis::builder(url).response_timeout(self.store_timeout.max(PATIENT)).connect_timeout(PATIENT);
            return Ok(Arc::new(redis.connect().await?));
        }
        connect(url).await
    }

    /// The worker of the process, if it is to have one.
    #[must_use]
    pub fn start_worker(&self, smache: &Smache) -> Option<Worker> {
        // A worker that is killed again and again is the test's doing, not the job's.
        let worker = smache.worker().job_lease(self.lease).max_crashes(1_000).poll_interval(Duration::from_millis(250));
        self.worker.then(|| worker.start())
    }
}
