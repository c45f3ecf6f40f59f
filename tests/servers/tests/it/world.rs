//! Servers, a separate namespace and database, and the application on them.

use std::{fmt::Debug, time::Duration};

use mongodb::{
    Client, Collection, Database,
    bson::{doc, oid::ObjectId},
};
use smache::{Cached, Call, Computed, Smache, redis::Redis};
use smache_server_tests::{Doc, Log, Setup, Sight, Silent, State, Table, report};
use smache_testkit::servers::{shared_mongo_uri, shared_redis_url};
use tempfile::TempDir;
use tokio::sync::SemaphorePermit;

use crate::{
    node::Node,
    place,
    waits::{PATIENCE, until, until_result},
    watch::VALIDITY,
};

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

    /// Ends the processes, and leaves nothing on servers that others use too.
    pub(crate) async fn end(self, nodes: impl IntoIterator<Item = Node>) {
        for node in nodes {
            node.end().await;
        }
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

/// Waits until a report is fresh, with that number.
pub(crate) async fn until_report(smache: &Smache, id: i64, millis: u64, n: i64) {
    until_result(smache, report(id, millis), |found| *found == n).await;
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

/// Waits until a call has no result any more.
pub(crate) async fn until_gone<F: Computed<Args: Clone, Output: Debug>>(smache: &Smache, call: Call<F>) {
    until("end of the result", async || match look(smache, call.clone()).await? {
        None => Ok(()),
        Some(found) => Err(format!("{found:?}")),
    })
    .await;
}
