//! The contract, on every shape that this backend comes in.

use std::{sync::Arc, time::Duration};

use smache_core::{Backend, Namespace};
use smache_sql::Postgres;
use smache_testkit::{
    BackendHarness, StoreHarness, random_namespace,
    servers::{PostgresServer, shared_postgres_url},
};

/// The server that all tests share; each uses a separate namespace.
async fn shared() -> Postgres {
    let postgres = Postgres::builder(shared_postgres_url()).connections(4).connect().await;
    postgres.expect("the shared PostgreSQL")
}

async fn on_shared() -> BackendHarness {
    BackendHarness::of(shared().await)
}

smache_testkit::backend_suite!(on_shared);

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

/// Compared with the protocol, in two processes on one server.
mod compared {
    use super::*;

    async fn backend() -> BackendHarness {
        BackendHarness::new(Arc::new(shared().await)).with_second(Arc::new(shared().await)).with_one_round_in(4)
    }

    smache_testkit::comparison_suite!(backend);
}
