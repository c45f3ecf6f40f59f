//! The most dependencies of an entry, and runs beyond that limit.

use serde::{Deserialize, Serialize};
use smache::{
    Cx, DependencyKind, Entity, ErrorKind, Failure, Result, Smache, computed,
    memory::{Memory, MemorySource},
    tag,
};

use crate::logged::Logged;

#[derive(Clone, Debug, Serialize, Deserialize, Entity)]
#[entity(source = "items")]
struct Item {
    #[entity(id)]
    id: u64,
    #[entity(index)]
    group: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize, Entity)]
#[entity(source = "others")]
struct Other {
    #[entity(id)]
    id: u64,
}

#[computed]
async fn total(cx: &Cx, items: u64) -> Result<u64> {
    cx.depends_on(tag("total"))?;
    let ids: Vec<u64> = (0..items).collect();
    Ok(cx.load_many::<Item>(&ids).await?.iter().flatten().map(|item| item.group).sum())
}

#[computed]
async fn above(cx: &Cx, items: u64) -> Result<u64, Failure> {
    Ok(*cx.get(total(items)).await? / 1_000)
}

#[computed]
async fn tagged(cx: &Cx, tags: u64) -> Result<u64> {
    for number in 0..tags {
        cx.depends_on(tag(number.to_string()))?;
    }
    Ok(tags)
}

/// Leads to more entities than are followed one by one.
#[computed(relation(Other, |_| (0..20_000).collect::<Vec<u64>>()))]
async fn everywhere(item: Entity<Item>) -> u64 {
    item.group
}

async fn world() -> Result<(Smache, MemorySource<Item>, MemorySource<Other>)> {
    let items = MemorySource::new();
    let others = MemorySource::new();
    for id in 0..100 {
        items.insert(Item { id, group: 1 })?;
    }
    let smache = Smache::builder("limits")
        .backend(Memory::new())
        .source(items.clone())
        .source(others.clone())
        .max_dependencies(20)
        .register::<total>()
        .register::<above>()
        .register::<tagged>()
        .register::<everywhere>()
        .build()
        .await?;
    Ok((smache, items, others))
}

async fn runs(smache: &Smache) -> Result<u64> {
    smache.run_until_idle().await?;
    Ok(smache.inspect().stats().await?.process.runs)
}

#[tokio::test]
async fn a_result_that_reads_too_much_depends_on_whole_sources_and_is_counted() -> Result<()> {
    let (logged, _listening) = Logged::listen();
    let (smache, items, _) = world().await?;
    assert_eq!(*smache.get(total(18)).await?, 18);
    assert_eq!(smache.inspect().stats().await?.process.coarsened, 0, "18 entities, a tag and the function");
    assert!(!logged.text().contains("whole sources"), "{}", logged.text());
    assert_eq!(*smache.get(total(19)).await?, 19);
    assert!(logged.text().contains("function=\"total\" limit=20"), "{}", logged.text());
    assert_eq!(smache.inspect().stats().await?.process.coarsened, 1);
    let on = smache.inspect().why(total(19)).await?.depends_on;
    let kinds: Vec<_> = on.iter().map(|on| (on.kind, on.direct)).collect();
    assert_eq!(kinds, [(DependencyKind::Tag, 1), (DependencyKind::Function, 1), (DependencyKind::Source, 1)]);

    let before = runs(&smache).await?;
    items.update(&50, |item| item.group = 2)?;
    assert_eq!(runs(&smache).await? - before, 1, "too often rather than too seldom");
    items.update(&1, |item| item.group = 2)?;
    assert_eq!(runs(&smache).await? - before, 3);
    assert_eq!((*smache.get(total(18)).await?, *smache.get(total(19)).await?), (19, 20));
    smache.changed_tag("total").await?;
    assert_eq!(runs(&smache).await? - before, 5, "tags stay what they are");
    Ok(())
}

#[tokio::test]
async fn what_is_coarse_through_a_nested_call_is_still_cut_off() -> Result<()> {
    let (smache, items, _) = world().await?;
    assert_eq!(*smache.get(above(30)).await?, 0);
    let before = runs(&smache).await?;
    items.update(&1, |_| {})?;
    assert_eq!(runs(&smache).await? - before, 1, "the call below, and nothing above it");
    assert!(smache.is_fresh(above(30)).await?);
    items.update(&1, |item| item.group = 5_000)?;
    assert_eq!(runs(&smache).await? - before, 3);
    assert_eq!(*smache.get(above(30)).await?, 5);
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_coarsened_is_refused_with_the_limit() -> Result<()> {
    let (smache, ..) = world().await?;
    assert_eq!(*smache.get(tagged(19)).await?, 19);
    let error = smache.get(tagged(20)).await.expect_err("21 things");
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    let text = error.report();
    assert!(text.contains("`tagged`") && text.contains("limit of 20") && text.contains("`max_dependencies`"), "{text}");
    let Err(none) = Smache::builder("limits").backend(Memory::new()).max_dependencies(0).build().await else {
        panic!("a limit of zero");
    };
    assert_eq!(none.kind(), ErrorKind::Config);
    Ok(())
}

#[tokio::test]
async fn a_relation_that_leads_to_too_many_leads_anywhere() -> Result<()> {
    let (smache, _, others) = world().await?;
    for id in [3u64, 50] {
        smache.get(everywhere(id)).await?;
    }
    let before = runs(&smache).await?;
    others.insert(Other { id: 1 })?;
    assert_eq!(runs(&smache).await? - before, 2);
    assert_eq!(smache.inspect().stats().await?.process.wildcard_changes, 1);
    Ok(())
}
