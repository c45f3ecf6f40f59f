//! The contract, for every combination that this backend allows.

use std::{sync::Arc, time::Duration};

use smache_core::{Backend, Namespace};
use smache_redis::Redis;
use smache_testkit::{
    BackendHarness, Joined, JoinedHarness, QueueHarness, StoreHarness, random_namespace,
    servers::{RedisServer, shared_redis_url},
};

use crate::{
    rights::{Of, User},
    support::{pass_deadlines, shared},
};

/// A store whose queue is another backend: it reports the entries that need a job.
mod alone {
    use super::*;

    async fn store() -> StoreHarness {
        let namespace = random_namespace();
        let store = shared().await.store(&namespace).expect("a store");
        StoreHarness::new(store).with_deadlines_passed(move || pass_deadlines(namespace.clone()))
    }

    async fn queue() -> QueueHarness {
        QueueHarness::new(shared().await.queue(&random_namespace()).expect("a queue"))
    }

    smache_testkit::store_suite!(store);
    smache_testkit::queue_suite!(queue);
}

/// A store and a queue that share their steps, for a user with exactly the documented rights.
mod together {
    use super::*;

    async fn both() -> (Joined, User, Namespace) {
        let namespace = random_namespace();
        let user = User::documented(Of::Both, shared_redis_url(), namespace.as_str()).await;
        let (store, queue) = Redis::connect(&user.url).await.expect("Redis").both(&namespace).expect("both");
        (Joined { store, queue }, user, namespace)
    }

    async fn store() -> StoreHarness {
        let (joined, user, namespace) = both().await;
        StoreHarness::new(joined.store)
            .with_guard(user)
            .with_deadlines_passed(move || pass_deadlines(namespace.clone()))
    }

    async fn queue() -> QueueHarness {
        let (joined, user, _) = both().await;
        QueueHarness::new(joined.queue).with_guard(user)
    }

    async fn joined() -> JoinedHarness {
        let (joined, user, namespace) = both().await;
        JoinedHarness::new(joined).with_guard(user).with_deadlines_passed(move || pass_deadlines(namespace.clone()))
    }

    smache_testkit::store_suite!(store);
    smache_testkit::queue_suite!(queue);
    smache_testkit::joined_suite!(joined);
}

/// A server that loses nothing when it is killed, and has another incarnation afterwards.
mod restarted {
    use super::*;

    async fn store() -> StoreHarness {
        let server = Arc::new(RedisServer::builder().keep_data().start().await);
        let redis = Redis::connect(server.url()).await.expect("the private Redis");
        let store = redis.store(&random_namespace()).expect("a store");
        let restarted = server.clone();
        let probe = redis.store(&Namespace::new("probe").expect("a name")).expect("a store");
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
