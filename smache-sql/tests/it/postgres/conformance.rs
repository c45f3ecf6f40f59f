//! The contract, on every shape that this backend comes in.

use std::{sync::Arc, time::Duration};

use smache_core::{Backend, Namespace};
use smache_sql::Postgres;
use smache_testkit::{
    Joined, JoinedHarness, QueueHarness, StoreHarness, random_namespace,
    servers::{PostgresServer, shared_postgres_url},
};

/// The server that all tests share; each uses a separate namespace.
async fn shared() -> Postgres {
    Postgres::builder(shared_postgres_url()).connections(4).connect().await.expect("the shared PostgreSQL")
}

/// A store whose queue is another backend: it reports the entries that need a job.
mod alone {
    use super::*;

    async fn store() -> StoreHarness {
        StoreHarness::new(shared().await.store(&random_namespace()).expect("a store"))
    }

    async fn queue() -> QueueHarness {
        QueueHarness::new(shared().await.queue(&random_namespace()).expect("a queue"))
    }

    smache_testkit::store_suite!(store);
    smache_testkit::queue_suite!(queue);
}

/// A store and a queue that share their steps.
mod together {
    use super::*;

    async fn store() -> StoreHarness {
        StoreHarness::new(shared().await.both(&random_namespace()).expect("both").0)
    }

    async fn queue() -> QueueHarness {
        QueueHarness::new(shared().await.both(&random_namespace()).expect("both").1)
    }

    async fn joined() -> JoinedHarness {
        let (store, queue) = shared().await.both(&random_namespace()).expect("both");
        JoinedHarness::new(Joined { store, queue })
    }

    smache_testkit::store_suite!(store);
    smache_testkit::queue_suite!(queue);
    smache_testkit::joined_suite!(joined);
}

/// A server that loses nothing when it is killed, and is another incarnation afterwards.
mod restarted {
    use super::*;

    async fn store() -> StoreHarness {
        let server = Arc::new(PostgresServer::start().await);
        let postgres = Postgres::connect(server.url()).await.expect("the private PostgreSQL");
        let store = postgres.store(&random_namespace()).expect("a store");
        let probe = postgres.store(&Namespace::new("probe").expect("a name")).expect("a store");
        let restarted = server.clone();
        StoreHarness::new(store).with_guard(server).with_new_incarnation(move || {
            let server = restarted.clone();
            let probe = probe.clone();
            async move {
                server.kill().await;
                server.restart().await;
                while probe.stats().await.is_err() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        })
    }

    smache_testkit::incarnation_suite!(store);
}
