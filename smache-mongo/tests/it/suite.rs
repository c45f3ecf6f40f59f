//! The contract of every source.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use mongodb::bson::{Document, Timestamp, doc};
use smache_core::{DataSource, EntityKey, Error, ErrorKind, Field, Filter, Image, Position, Result};
use smache_mongo::MongoSource;
use smache_testkit::{SourceHarness, SourceProbe};

use crate::world::{User, World, key};

struct Probe {
    world: World,
    source: Arc<MongoSource<User>>,
}

#[async_trait]
impl SourceProbe for Probe {
    fn source(&self) -> Arc<dyn DataSource> {
        Arc::clone(&self.source) as _
    }

    fn key(&self, number: u32) -> EntityKey {
        key(i64::from(number))
    }

    fn text(&self, image: &Image) -> Result<String> {
        Ok(image.get::<User>()?.name.clone())
    }

    fn with_text(&self, text: &str) -> Filter {
        Field::<User, String>::new("name", |user| &user.name).eq(text).into_filter().expect("a text can be compared")
    }

    async fn put(&self, number: u32, text: &str) -> Result<()> {
        let user = User { id: number.into(), name: text.to_owned() };
        let replace = self.world.users.replace_one(doc! { "_id": user.id }, user).upsert(true).await;
        replace.map(drop).map_err(failed)
    }

    async fn remove(&self, number: u32) -> Result<()> {
        self.world.users.delete_one(doc! { "_id": i64::from(number) }).await.map(drop).map_err(failed)
    }

    async fn lost_position(&self) -> Position {
        // The shared server must keep its history; another test makes a server drop it. This position has a last change
        // that the server does not have.
        self.put(1_000, "x").await.expect("a write");
        let mut tail = self.world.tail().await;
        self.put(1_000, "y").await.expect("a write");
        tail.take(1).await;
        let mut position = tail.position();
        let mut saved = Document::from_reader(&position.token[..]).expect("a document");
        let last = saved.get_document_mut("origin").and_then(|origin| origin.get_document_mut("last"));
        last.expect("the last change").insert("time", Timestamp { time: 7, increment: 7 });
        position.token = mongodb::bson::to_vec(&saved).expect("a document").into();
        position
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probe").field("source", &self.source).finish_non_exhaustive()
    }
}

fn failed(error: mongodb::error::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "the write failed").with_source(error)
}

async fn harness(images: bool) -> SourceHarness {
    let world = World::shared().await;
    if images {
        world.keep_images().await;
    }
    let source = Arc::new(world.source());
    SourceHarness::new(Arc::new(Probe { world, source }))
}

mod with_images {
    use super::*;

    async fn source() -> SourceHarness {
        harness(true).await
    }

    smache_testkit::source_suite!(source);
}

mod without_images {
    use super::*;

    async fn source() -> SourceHarness {
        harness(false).await
    }

    smache_testkit::source_suite!(source);
}
