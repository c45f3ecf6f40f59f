//! Strict mode, the auditor, and code that reads by its own client.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::SeqCst},
};

use serde::{Deserialize, Serialize};
use smache::{
    Builder, Cx, Entity, ErrorKind, Failure, Result, Smache, State, Strictness, computed,
    inspect::Verified,
    memory::{Memory, MemorySource},
    note_read,
};

use crate::logged::Logged;

#[derive(Clone, Debug, Serialize, Deserialize, Entity)]
#[entity(source = "prices")]
struct Price {
    #[entity(id)]
    id: u64,
    cents: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize, Entity)]
#[entity(source = "rates")]
struct Rate {
    #[entity(id)]
    id: u64,
    percent: u64,
}

/// A database client of the application, with a hook such as drivers have.
#[derive(Clone)]
struct Client(MemorySource<Rate>);

impl Client {
    fn percent(&self, id: u64) -> Result<u64> {
        note_read("rates");
        Ok(self.0.get(&id)?.map_or(0, |rate| rate.percent))
    }
}

#[computed(reads(Rate))]
async fn declared(cx: &Cx, price: Entity<Price>) -> Result<u64> {
    Ok(price.cents + cx.load::<Rate>(&1).await?.map_or(0, |rate| rate.percent))
}

#[computed]
async fn undeclared(cx: &Cx, price: Entity<Price>) -> Result<u64> {
    // The error of one read is no way around the check.
    Ok(price.cents + cx.load::<Rate>(&1).await.ok().flatten().map_or(0, |rate| rate.percent))
}

#[computed(reads(Rate))]
async fn idle(price: Entity<Price>) -> u64 {
    price.cents
}

#[computed]
async fn by_own_client(client: State<Client>, price: Entity<Price>) -> Result<u64> {
    Ok(price.cents + client.percent(1)?)
}

#[computed(reads(Rate))]
async fn says_so(cx: &Cx, client: State<MemorySource<Rate>>, price: Entity<Price>) -> Result<u64> {
    cx.reads::<Rate>()?;
    Ok(price.cents + client.get(&1)?.map_or(0, |rate| rate.percent))
}

#[computed]
async fn outer(cx: &Cx, price: u64) -> Result<u64, Failure> {
    Ok(*cx.get(declared(price)).await?)
}

#[computed]
async fn counter(count: State<Arc<AtomicU64>>) -> u64 {
    count.fetch_add(1, SeqCst)
}

struct World {
    smache: Smache,
    rates: MemorySource<Rate>,
}

async fn world(with: impl FnOnce(Builder) -> Builder) -> Result<World> {
    let prices = MemorySource::new();
    let rates = MemorySource::new();
    prices.insert(Price { id: 1, cents: 100 })?;
    rates.insert(Rate { id: 1, percent: 5 })?;
    let builder = Smache::builder("audit")
        .backend(Memory::new())
        .source(prices)
        .source(rates.clone())
        .state(Client(rates.clone()))
        .state(rates.clone())
        .state(Arc::new(AtomicU64::new(0)))
        .register::<declared>()
        .register::<undeclared>()
        .register::<idle>()
        .register::<by_own_client>()
        .register::<says_so>()
        .register::<outer>()
        .register::<counter>();
    Ok(World { smache: with(builder).build().await?, rates })
}

#[tokio::test]
async fn strict_mode_fails_an_undeclared_read_with_the_names() -> Result<()> {
    let World { smache, .. } = world(Builder::strict).await?;
    assert_eq!(*smache.get(declared(1u64)).await?, 105);
    assert_eq!(*smache.get(outer(1)).await?, 105, "what a nested call reads is its own matter");
    for error in [
        smache.get(undeclared(1u64)).await.expect_err("strict"),
        smache.get(by_own_client(1u64)).await.expect_err("the hook tells"),
    ] {
        assert_eq!(error.kind(), ErrorKind::Undeclared);
        let text = error.to_string();
        assert!(text.contains("undeclared") || text.contains("by_own_client"), "{text}");
        assert!(text.contains("`rates`") && text.contains("`reads(…)`"), "{text}");
    }
    assert!(smache.peek(undeclared(1u64)).await?.is_none(), "nothing is stored");
    Ok(())
}

#[tokio::test]
async fn the_audit_names_what_is_read_undeclared_and_what_is_declared_and_not_read() -> Result<()> {
    let World { smache, .. } = world(|builder| builder).await?;
    smache.inspect().audit().assert_clean();
    smache.get(declared(1u64)).await?;
    smache.get(says_so(1u64)).await?;
    smache.get(outer(1)).await?;
    smache.inspect().audit().assert_clean();
    smache.get(undeclared(1u64)).await?;
    smache.get(idle(1u64)).await?;
    let audit = smache.inspect().audit();
    assert!(!audit.is_clean());
    assert_eq!(
        audit.to_string(),
        "functions do not read what they declare:\n  \
         `idle` declares `rates` and read it in none of 1 runs: take it out of the declaration, or say `cx.reads::<…>()` where \
         its own client reads it\n  \
         `undeclared` reads `rates` and does not declare it: add `reads(…)`"
    );
    let panic = std::panic::catch_unwind(|| audit.assert_clean()).expect_err("it is not clean");
    let text = panic.downcast_ref::<String>().expect("a text");
    assert!(text.contains("`idle`") && text.contains("`undeclared`"), "{text}");
    assert_eq!(smache.inspect().stats().await?.process.undeclared, 1);
    Ok(())
}

#[tokio::test]
async fn production_takes_samples_and_fails_nothing() -> Result<()> {
    let (logged, _listening) = Logged::listen();
    let World { smache, .. } = world(|builder| builder.strictness(Strictness::Sampled(0.0))).await?;
    assert_eq!(*smache.get(undeclared(1u64)).await?, 105);
    assert!(!logged.text().contains("does not declare"), "no share of the runs is looked at: {}", logged.text());
    let World { smache, .. } = world(|builder| builder.strictness(Strictness::Sampled(0.5))).await?;
    assert_eq!(*smache.get(undeclared(1u64)).await?, 105);
    assert_eq!(smache.inspect().stats().await?.process.undeclared, 1);
    let text = logged.text();
    assert!(text.contains("WARN") && text.contains("function=\"undeclared\"") && text.contains("rates"), "{text}");
    let Err(error) = world(|builder| builder.strictness(Strictness::Sampled(1.5))).await else {
        panic!("a share above one");
    };
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("from 0 to 1"), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_read_outside_of_any_run_belongs_to_no_function() -> Result<()> {
    let World { smache, .. } = world(Builder::strict).await?;
    assert!(!note_read("rates"));
    smache.inspect().audit().assert_clean();
    Ok(())
}

#[tokio::test]
async fn a_check_finds_what_a_function_forgot_to_depend_on() -> Result<()> {
    let World { smache, rates } = world(|builder| builder).await?;
    assert_eq!(smache.inspect().verify(says_so(1u64)).await?, Verified::Unknown, "nothing is stored");
    for call in [says_so(1u64), says_so(1u64)] {
        smache.get(call).await?;
    }
    smache.get(declared(1u64)).await?;
    assert_eq!(smache.inspect().verify(says_so(1u64)).await?, Verified::Same);
    rates.insert(Rate { id: 1, percent: 7 })?;
    smache.run_until_idle().await?;
    assert!(smache.is_fresh(says_so(1u64)).await?, "it does not declare that it depends on the rate");
    assert_eq!(smache.inspect().verify(says_so(1u64)).await?, Verified::Different);
    assert_eq!(smache.inspect().verify(declared(1u64)).await?, Verified::Same, "it was computed again");
    smache.get(counter()).await?;
    assert_eq!(smache.inspect().verify(counter()).await?, Verified::Different, "it never gives the same twice");
    Ok(())
}

#[tokio::test]
async fn a_change_on_its_way_is_not_taken_for_a_mistake() -> Result<()> {
    let World { smache, rates } = world(|builder| builder).await?;
    smache.get(declared(1u64)).await?;
    rates.insert(Rate { id: 1, percent: 9 })?;
    assert_ne!(smache.inspect().verify(declared(1u64)).await?, Verified::Different);
    Ok(())
}
