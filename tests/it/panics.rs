//! Code of the application that panics in a feed, which is one task for all that depends on its sources.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize, Serializer};
use smache::{
    Cx, Entity, Failure, Result, Smache, SourceId,
    backend::{
        Batch, Capability, ChangeFeed, ChangeStream, DataSource, EntityKey, EntityKind, FeedId, Filter, Image,
        Position, Start, Topic,
    },
    computed,
    memory::{Memory, MemorySource},
};

use crate::probe::until;

/// A color, of which one cannot be written.
#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Color(String);

impl Serialize for Color {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        assert_ne!(self.0, "ultraviolet", "nobody can see it");
        serializer.serialize_str(&self.0)
    }
}

#[derive(Debug, Clone, Serialize, Deserialize, Entity)]
#[entity(source = "flowers")]
struct Flower {
    #[entity(id)]
    id: u32,
    #[entity(index)]
    color: Color,
    petals: u32,
}

impl Flower {
    fn new(id: u32, color: &str, petals: u32) -> Self {
        Self { id, color: Color(color.to_owned()), petals }
    }
}

#[computed]
async fn petals(flower: Entity<Flower>) -> u32 {
    flower.petals
}

#[computed(reads(Flower))]
async fn red_ones(cx: &Cx) -> Result<usize, Failure> {
    Ok(cx.find(Flower::COLOR.eq(Color("red".to_owned()))).await?.len())
}

async fn start(source: impl DataSource) -> Result<Smache> {
    let builder = Smache::builder("garden").backend(Memory::new()).source(source);
    builder.register::<petals>().register::<red_ones>().build().await
}

/// One program after another would lead the feed, and end.
#[tokio::test]
async fn an_indexed_field_that_panics_does_not_end_the_feed() -> Result<()> {
    let flowers = MemorySource::<Flower>::new();
    flowers.insert(Flower::new(1, "red", 5))?;
    let smache = start(flowers.clone()).await?;
    assert_eq!((*smache.get(petals(1_u32)).await?, *smache.get(red_ones()).await?), (5, 1));
    flowers.insert(Flower::new(2, "ultraviolet", 7))?;
    until("predicates are stale", async || Ok(!smache.is_fresh(red_ones()).await?)).await?;
    assert!(smache.stats().await?.process.wildcard_changes > 0);
    flowers.remove(&2_u32)?;
    flowers.insert(Flower::new(1, "red", 6))?;
    until("the feed goes on", async || {
        smache.run_until_idle().await?;
        Ok(smache.is_fresh(petals(1_u32)).await? && *smache.get(petals(1_u32)).await? == 6)
    })
    .await?;
    until("predicates are fresh again", async || {
        smache.run_until_idle().await?;
        smache.is_fresh(red_ones()).await
    })
    .await?;
    assert_eq!(*smache.get(red_ones()).await?, 1);
    smache.shutdown().await;
    Ok(())
}

/// A source whose feed panics when it comes to a flower of that id.
#[derive(Debug)]
struct Fragile(MemorySource<Flower>, Arc<AtomicU32>);

#[derive(Debug)]
struct FragileFeed(Arc<dyn ChangeFeed>, Arc<AtomicU32>);

#[derive(Debug)]
struct FragileStream(Box<dyn ChangeStream>, Arc<AtomicU32>);

#[async_trait]
impl DataSource for Fragile {
    fn id(&self) -> &SourceId {
        self.0.id()
    }

    fn kind(&self) -> EntityKind {
        self.0.kind()
    }

    async fn load(&self, keys: &[EntityKey]) -> Result<Vec<Option<Image>>> {
        self.0.load(keys).await
    }

    async fn find(&self, filter: &Filter) -> Result<Vec<Image>> {
        self.0.find(filter).await
    }

    fn capabilities(&self) -> &[Capability] {
        self.0.capabilities()
    }

    fn feed(&self) -> Option<(Arc<dyn ChangeFeed>, Topic)> {
        let (feed, topic) = self.0.feed()?;
        Some((Arc::new(FragileFeed(feed, Arc::clone(&self.1))), topic))
    }
}

#[async_trait]
impl ChangeFeed for FragileFeed {
    fn id(&self) -> &FeedId {
        self.0.id()
    }

    async fn open(&self, topics: &[Topic], start: Start) -> Result<Box<dyn ChangeStream>> {
        Ok(Box::new(FragileStream(self.0.open(topics, start).await?, Arc::clone(&self.1))))
    }
}

#[async_trait]
impl ChangeStream for FragileStream {
    fn position(&self) -> Position {
        self.0.position()
    }

    async fn next(&mut self) -> Result<Batch> {
        let batch = self.0.next().await?;
        let broken = EntityKey::encode(&13_u32)?;
        if batch.changes.iter().any(|change| change.key == broken) {
            self.1.fetch_add(1, Ordering::SeqCst);
            panic!("the decoder of the feed has a mistake");
        }
        Ok(batch)
    }
}

#[tokio::test]
async fn a_feed_that_panics_at_one_place_is_passed_over_with_a_new_epoch() -> Result<()> {
    let (flowers, panics) = (MemorySource::<Flower>::new(), Arc::new(AtomicU32::new(0)));
    flowers.insert(Flower::new(1, "red", 5))?;
    let smache = start(Fragile(flowers.clone(), Arc::clone(&panics))).await?;
    assert_eq!(*smache.get(petals(1_u32)).await?, 5);
    flowers.insert(Flower::new(13, "black", 1))?;
    until("it panics", async || Ok(panics.load(Ordering::SeqCst) > 0)).await?;
    flowers.insert(Flower::new(1, "red", 8))?;
    until("everything of the source is computed again", async || {
        smache.run_until_idle().await?;
        Ok(smache.is_fresh(petals(1_u32)).await? && *smache.get(petals(1_u32)).await? == 8)
    })
    .await?;
    assert_eq!(panics.load(Ordering::SeqCst), 3);
    flowers.insert(Flower::new(1, "red", 9))?;
    until("the feed goes on", async || {
        smache.run_until_idle().await?;
        Ok(smache.is_fresh(petals(1_u32)).await? && *smache.get(petals(1_u32)).await? == 9)
    })
    .await?;
    smache.shutdown().await;
    Ok(())
}
