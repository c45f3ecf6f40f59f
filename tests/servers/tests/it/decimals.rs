//! Predicates on decimals, which are written in several ways: an inserted row makes the results stale that count it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use smache::{Cx, Entity, Error, backend::DataSource, computed, memory::Memory};

use crate::{
    databases::{File, Rows},
    waits::until_result,
};

#[derive(Debug, Clone, Serialize, Deserialize, Entity)]
#[entity(source = "prices")]
struct Price {
    #[entity(id)]
    id: i64,
    #[entity(index)]
    amount: String,
}

#[computed]
async fn priced(cx: &Cx, amount: String) -> Result<usize, Error> {
    Ok(cx.find(Price::AMOUNT.eq(amount)).await?.len())
}

/// By the function's own query, for which it only declares the dependency.
#[computed]
async fn watched(cx: &Cx, amount: String) -> Result<usize, Error> {
    cx.depends_on(Price::AMOUNT.eq(amount.clone()))?;
    Ok(cx.find(Price::AMOUNT.eq(amount)).await?.len())
}

async fn tell(source: impl DataSource, insert: impl AsyncFn(usize, &str)) {
    let smache = smache::Smache::builder("decimals")
        .source(source)
        .backend(Memory::new())
        .register::<priced>()
        .register::<watched>()
        .build()
        .await
        .expect("a system");
    let worker = smache.worker().start();
    for asked in ["0.1", "0.10"] {
        assert_eq!(*smache.get(priced(asked.into())).await.expect("a count"), 0);
        assert_eq!(*smache.get(watched(asked.into())).await.expect("a count"), 0);
    }
    for (id, written) in (1..).zip(["0.10", "0.1", "0.100"]) {
        insert(id, written).await;
        insert(100 + id, "7.25").await;
        for asked in ["0.1", "0.10"] {
            until_result(&smache, priced(asked.into()), |found| *found == id).await;
            until_result(&smache, watched(asked.into()), |found| *found == id).await;
        }
    }
    worker.shutdown(Duration::from_secs(5)).await;
    smache.shutdown().await;
}

#[tokio::test]
async fn an_inserted_decimal_reaches_the_results_that_count_it_on_postgres() {
    let (rows, source) = Rows::create::<Price>("id bigint PRIMARY KEY, amount numeric(12, 3)").await;
    tell(source, async |id, amount| rows.write(&format!("VALUES ({id}, {amount})")).await).await;
    rows.remove::<Price>().await;
}

#[tokio::test]
async fn an_inserted_decimal_reaches_the_results_that_count_it_on_sqlite() {
    let (file, source) = File::create::<Price>("id INTEGER PRIMARY KEY, amount DECIMAL(12, 3)").await;
    tell(source, async |id, amount| file.write(&format!("VALUES ({id}, {amount})")).await).await;
}
