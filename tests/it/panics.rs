//! Code of the application that panics in a feed, which is one task for all that depends on its sources.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize, Serializer};
use smache::{
    Cx, Entity, Failure, Result, Smache,
    backend::{Batch, ChangeStream, DataSource, EntityKey},
    computed,
    memory::{Memory, MemorySource},
};
use smache_testkit::layer::{Layered, SourceLayer};

use crate::probe::{until, until_stale, work_until_fresh, work_until_result};

/// A color, of which one cannot be written.
#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Color(String);

impl Serialize for Color {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        assert_ne!(self.0, "ultraviolet", "no eye can see it");
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
    until_stale(&smache, red_ones()).await?;
    assert!(smache.inspect().stats().await?.process.wildcard_changes > 0);
    flowers.remove(&2_u32)?;
    flowers.insert(Flower::new(1, "red", 6))?;
    work_until_result(&smache, petals(1_u32), |found| *found == 6).await?;
    assert_eq!(*work_until_fresh(&smache, red_ones()).await?, 1);
    smache.shutdown().await;
    Ok(())
}

/// A source whose feed panics when it comes to a flower of that id.
#[derive(Debug)]
struct Fragile(MemorySource<Flower>, Arc<AtomicU32>);

#[async_trait]
impl SourceLayer for Fragile {
    fn inner(&self) -> &dyn DataSource {
        &self.0
    }

    async fn next(&self, stream: &mut dyn ChangeStream) -> Result<Batch> {
        let batch = stream.next().await?;
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
    let flowers = MemorySource::<Flower>::new();
    let panics = Arc::new(AtomicU32::new(0));
    flowers.insert(Flower::new(1, "red", 5))?;
    let smache = start(Layered::new(Fragile(flowers.clone(), Arc::clone(&panics)))).await?;
    assert_eq!(*smache.get(petals(1_u32)).await?, 5);
    flowers.insert(Flower::new(13, "black", 1))?;
    until("it panics", async || Ok(panics.load(Ordering::SeqCst) > 0)).await?;
    flowers.insert(Flower::new(1, "red", 8))?;
    work_until_result(&smache, petals(1_u32), |found| *found == 8).await?;
    assert_eq!(panics.load(Ordering::SeqCst), 3);
    flowers.insert(Flower::new(1, "red", 9))?;
    work_until_result(&smache, petals(1_u32), |found| *found == 9).await?;
    smache.shutdown().await;
    Ok(())
}
