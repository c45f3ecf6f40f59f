//! Servers, a separate namespace and database, and the application on them.

use std::time::Duration;

use mongodb::{
    Client, Collection, Database,
    bson::{doc, oid::ObjectId},
};
use smache::{Cached, Call, Computed, Smache, backend::JobCounts, redis::Redis};
use smache_server_tests::{Doc, Log, Setup, Sight, Silent, State, Table, report};
use smache_testkit::servers::{shared_mongo_uri, shared_redis_url};
use tempfile::TempDir;
use tokio::{sync::SemaphorePermit, time::Instant};

use crate::{node::Node, place, watch::VALIDITY};

/// A wait for something that must happen is over by then.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// The lease of runs and jobs where no process dies: one that lapses because a machine is slow would only be another
/// run.
const LEASE: Duration = Duration::from_secs(20);
/// For how long feeds confirm where no process dies: one that is a little late would only make values unconfirmed.
const FEED_LEASE: Duration = Duration::from_secs(60);

/// A namespace, and a database of the same name.
pub(crate) struct World {
    /// A process that only reads: it neither works nor leads the feed nor does the maintenance.
    pub(crate) setup: Setup,
    pub(crate) client: Client,
    pub(crate) db: Database,
    pub(crate) docs: Collection<Doc>,
    /// Where the documents are instead.
    pub(crate) table: Option<Table>,
    pub(crate) log: Log,
    pub(crate) folder: TempDir,
    /// Held as long as a slow server is used.
    pub(crate) turn: Option<SemaphorePermit<'static>>,
}

impl World {
    /// On the servers that all tests share.
    pub(crate) async fn shared() -> Self {
        Self::on(shared_redis_url(), shared_mongo_uri()).await
    }

    /// With results and jobs in a store of that URL, and documents in that MongoDB.
    pub(crate) async fn on(store: String, mongo: String) -> Self {
        let name = format!("it_{}", ObjectId::new().to_hex());
        let setup = Setup {
            namespace: name.clone(),
            store,
            queue: None,
            mongo,
            database: name,
            table: None,
            feeds: false,
            maintenance: false,
            worker: false,
            knows_report: true,
            quiet: false,
            lease: LEASE,
            feed_validity: FEED_LEASE,
            store_timeout: PATIENCE,
            silent: Silent::Compute,
        };
        let client = Client::with_uri_str(&setup.mongo).await.expect("a client");
        let db = client.database(&setup.database);
        let folder = tempfile::tempdir().expect("a folder");
        Self { docs: db.collection("docs"), table: None, log: Log::new(&db), client, db, setup, folder, turn: None }
    }

    /// The same with a lease that a story about dead processes can wait for.
    pub(crate) fn leased(mut self, lease: Duration) -> Self {
        self.setup.lease = lease;
        self
    }

    /// The same with feeds that confirm only for as long as [watching](crate::watch) readers know.
    pub(crate) fn watched(mut self) -> Self {
        self.setup.feed_validity = VALIDITY;
        self
    }

    /// One that does everything.
    pub(crate) fn all_roles(&self) -> Setup {
        Setup { feeds: true, maintenance: true, worker: true, ..self.setup.clone() }
    }

    /// One that leads the feed and does the maintenance.
    pub(crate) fn feeder(&self) -> Setup {
        Setup { feeds: true, maintenance: true, ..self.setup.clone() }
    }

    pub(crate) fn worker(&self) -> Setup {
        Setup { worker: true, ..self.setup.clone() }
    }

    /// A process that is ready.
    pub(crate) async fn node(&self, setup: &Setup) -> Node {
        Node::start(setup).ready().await
    }

    /// This process as a reader.
    pub(crate) async fn reader(&self) -> Smache {
        self.setup.smache(&self.db).await.expect("a reader")
    }

    pub(crate) async fn insert(&self, id: i64, n: i64) {
        if let Some(table) = &self.table {
            return table.insert(id, n).await.expect("an insert");
        }
        self.docs.insert_one(Doc::new(id, n)).await.expect("an insert");
    }

    /// Another program changes a document.
    pub(crate) async fn set(&self, id: i64, n: i64) {
        if let Some(table) = &self.table {
            return table.set(id, n).await.expect("an update");
        }
        self.docs.update_one(doc! { "_id": id }, doc! { "$set": { "n": n } }).await.expect("an update");
    }

    /// Lets the runs of [`held`](fn@smache_server_tests::held) through that have read that number, or a lower one.
    pub(crate) async fn let_through(&self, id: i64, n: i64) {
        self.log.let_through(id, n).await.expect("an open gate");
    }

    /// How often the report of a document was computed.
    pub(crate) async fn runs_of(&self, id: i64) -> u64 {
        self.log.count(doc! { "id": id }).await.expect("a count")
    }

    pub(crate) async fn rename(&self, from: &str, to: &str) {
        let name = |collection: &str| format!("{}.{collection}", self.db.name());
        let command = doc! { "renameCollection": name(from), "to": name(to) };
        self.client.database("admin").run_command(command).await.expect("a rename");
    }

    /// Leaves nothing on servers that others use too.
    pub(crate) async fn end(self) {
        self.db.drop().await.expect("the database is dropped");
        place::clear(&self.setup).await;
    }
}

/// The Redis that all tests share, by a client that outwaits a machine that stands still.
pub(crate) async fn patient_redis() -> Redis {
    let redis = Redis::builder(shared_redis_url()).response_timeout(PATIENCE).connect_timeout(PATIENCE);
    redis.connect().await.expect("Redis")
}

/// The stored result of a report.
pub(crate) async fn peek(smache: &Smache, id: i64, millis: u64) -> Option<Sight> {
    smache.peek(report(id, millis)).await.expect("a look").map(Into::into)
}

/// The stored result of any call, for a wait: a server that does not answer now may do so later.
///
/// # Panics
/// At an error that does not go by itself.
pub(crate) async fn look<F: Computed>(smache: &Smache, call: Call<F>) -> Result<Option<Cached<F::Output>>, String> {
    smache.peek(call).await.map_err(|error| {
        assert!(error.is_transient(), "{}", error.report());
        error.report()
    })
}

/// A read of a report.
pub(crate) async fn get(smache: &Smache, id: i64, millis: u64) -> Sight {
    smache.get(report(id, millis)).await.expect("a value").into()
}

/// Waits until a report is stored in that state.
pub(crate) async fn until_sight(smache: &Smache, id: i64, millis: u64, n: i64, state: State) {
    let wanted = Some(Sight { n, state });
    until(&format!("{state:?} report {n} of {id}"), async || {
        let seen = look(smache, report(id, millis)).await?.map(Sight::from);
        (seen == wanted).then_some(()).ok_or_else(|| format!("{seen:?}"))
    })
    .await;
}

pub(crate) async fn until_fresh(smache: &Smache, id: i64, millis: u64, n: i64) {
    until_sight(smache, id, millis, n, State::Fresh).await;
}

/// Waits until any call has a fresh result that fits.
pub(crate) async fn until_result<F: Computed>(
    smache: &Smache,
    call: impl Fn() -> Call<F>,
    what: &str,
    fits: impl Fn(&F::Output) -> bool,
) {
    until(what, async || {
        let found = look(smache, call()).await?;
        found.filter(|found| found.is_fresh() && fits(found)).map(drop).ok_or_else(|| "not yet".to_owned())
    })
    .await;
}

/// Waits until no job is queued, running or dead.
pub(crate) async fn until_idle(smache: &Smache) {
    until("empty queue", async || {
        let jobs = smache.stats().await.map_err(|error| error.report())?.jobs;
        if jobs == JobCounts::default() { Ok(()) } else { Err(format!("{jobs:?}")) }
    })
    .await;
}

/// Looks until there is what was expected; `Err` says what there is instead.
pub(crate) async fn until<T, E: std::fmt::Display>(what: &str, mut look: impl AsyncFnMut() -> Result<T, E>) -> T {
    let deadline = Instant::now() + PATIENCE;
    let mut instead = String::from("no answer");
    loop {
        match tokio::time::timeout_at(deadline, look()).await {
            Ok(Ok(found)) => return found,
            Ok(Err(other)) => instead = other.to_string(),
            Err(_) => panic!("no {what} within {PATIENCE:?}, but: {instead}"),
        }
        assert!(Instant::now() < deadline, "no {what} within {PATIENCE:?}, but: {instead}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
