//! The contract of every source.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use mongodb::bson::{doc, rawdoc};
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
        // The shared server must not forget anything; a test of its own makes a server forget.
        let token = rawdoc! { "_data": "8200000001000000012B0429296E1404" };
        Position { order: vec![0].into(), token: token.into_bytes().into() }
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
