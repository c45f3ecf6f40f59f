//! The contract, for every combination that this backend allows.

use std::sync::Arc;

use mongodb::bson::{DateTime, doc};
use smache_core::{Backend, Token};
use smache_mongo::Mongo;
use smache_testkit::{BackendHarness, Harness, Joined, JoinedHarness, QueueHarness, StoreHarness, random_namespace};

use super::support::Own;

/// The harness of a role in a database of its test. The stand-in that the scripts start where MongoDB is missing does
/// some hundred commands a second: a case of very many entries has a few pages there, and one of many rounds a part of
/// them.
fn harness<R>(role: R, own: Arc<Own>) -> Harness<R> {
    let changes = own.raw("smache_state");
    let harness = Harness::new(role).with_guard(own).with_deadlines_passed(move || {
        let changes = changes.clone();
        async move {
            let unfinished = doc! { "k": i64::MAX, "until": { "$exists": true } };
            let passed = doc! { "$set": { "until": DateTime::from_millis(1) } };
            changes.update_many(unfinished, passed).await.expect("an update");
        }
    });
    if std::env::var_os("SMACHE_SLOW_MONGODB").is_some() {
        return harness.with_many(300).with_one_round_in(4);
    }
    // Twenty pages.
    harness.with_many(1_000)
}

/// A store whose queue is another backend: it reports the entries that need a job.
mod alone {
    use super::*;

    async fn store() -> StoreHarness {
        let own = Arc::new(Own::new().await);
        harness(own.mongo.store(&random_namespace()).expect("a store"), own)
    }

    smache_testkit::store_suite!(store);
}

/// A store and a queue that share their documents. The store's steps are those of a store alone, except for the jobs,
/// which have another suite. The queue's steps are those of a queue alone.
mod together {
    use super::*;

    async fn queue() -> QueueHarness {
        let own = Arc::new(Own::new().await);
        harness(own.mongo.both(&random_namespace()).expect("both").1, own)
    }

    async fn joined() -> JoinedHarness {
        let own = Arc::new(Own::new().await);
        let (store, queue) = own.mongo.both(&random_namespace()).expect("both");
        harness(Joined { store, queue }, own)
    }

    smache_testkit::queue_suite!(queue);
    smache_testkit::joined_suite!(joined);
}

/// A database with all its data and another incarnation, as after a restore.
mod renamed {
    use super::*;

    async fn store() -> StoreHarness {
        let own = Arc::new(Own::new().await);
        let store = own.mongo.store(&random_namespace()).expect("a store");
        let renamed = own.clone();
        harness(store, own).with_new_incarnation(move || {
            let own = renamed.clone();
            async move {
                let another = doc! { "$set": { "incarnation": Token::random().to_string() } };
                let state = own.database.collection::<mongodb::bson::Document>("smache_state");
                state.update_one(doc! { "_id": "smache" }, another).await.expect("an update");
            }
        })
    }

    smache_testkit::incarnation_suite!(store);
}

/// Compared with the protocol, in two processes on one database.
mod compared {
    use super::*;

    async fn backend() -> BackendHarness {
        let own = Arc::new(Own::new().await);
        let another = Mongo::builder(&own.url).journal(false).page(2).connect().await.expect("the shared MongoDB");
        let backend: Arc<dyn Backend> = Arc::new(own.mongo.clone());
        let harness = harness(backend, own).with_second(Arc::new(another)).with_pages();
        if std::env::var_os("SMACHE_SLOW_MONGODB").is_some() {
            return harness.with_one_round_in(40);
        }
        harness.with_one_round_in(8)
    }

    smache_testkit::comparison_suite!(backend);
}
