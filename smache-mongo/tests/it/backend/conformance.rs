//! The contract, on every shape that this backend comes in.

use std::sync::Arc;

use mongodb::bson::doc;
use smache_core::{Backend, Token};
use smache_testkit::{Joined, JoinedHarness, QueueHarness, StoreHarness, random_namespace};

use super::support::Own;

/// Where a case is about very many entries: some pages of the backend.
const MANY: u32 = 300;

/// A store whose queue is another backend: it reports the entries that need a job.
mod alone {
    use super::*;

    async fn store() -> StoreHarness {
        let own = Own::new().await;
        StoreHarness::new(own.mongo.store(&random_namespace()).expect("a store")).with_many(MANY).with_guard(own)
    }

    smache_testkit::store_suite!(store);
}

/// A store and a queue that share their documents. The steps of the store are those of one alone, but for the jobs, which
/// have a suite of their own, and those of a queue are the same alone; the stand-in is too slow to do all of them twice.
mod together {
    use super::*;

    async fn queue() -> QueueHarness {
        let own = Own::new().await;
        QueueHarness::new(own.mongo.both(&random_namespace()).expect("both").1).with_guard(own)
    }

    async fn joined() -> JoinedHarness {
        let own = Own::new().await;
        let (store, queue) = own.mongo.both(&random_namespace()).expect("both");
        JoinedHarness::new(Joined { store, queue }).with_many(MANY).with_guard(own)
    }

    smache_testkit::queue_suite!(queue);
    smache_testkit::joined_suite!(joined);
}

/// A database that has kept all its data and is another one all the same, as after it was restored.
mod renamed {
    use super::*;

    async fn store() -> StoreHarness {
        let own = Arc::new(Own::new().await);
        let store = own.mongo.store(&random_namespace()).expect("a store");
        let renamed = own.clone();
        StoreHarness::new(store).with_guard(own).with_new_incarnation(move || {
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
