//! The contract of every source.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use smache_core::{DataSource, EntityKey, Error, ErrorKind, Field, Filter, Image, Position, Result};
use smache_testkit::{SourceHarness, SourceProbe};

use crate::world::{Person, Source, World, key};

struct Probe {
    world: World,
    source: Source<Person>,
}

impl Probe {
    /// PostgreSQL has no zero in its texts.
    fn stored(&self, text: &str) -> String {
        if self.world.is_postgres() { text.replace('\0', "␀") } else { text.to_owned() }
    }
}

#[async_trait]
impl SourceProbe for Probe {
    fn source(&self) -> Arc<dyn DataSource> {
        self.source.plain()
    }

    fn key(&self, number: u32) -> EntityKey {
        key(i64::from(number))
    }

    fn text(&self, image: &Image) -> Result<String> {
        let text = image.get::<Person>()?.name.clone();
        Ok(if self.world.is_postgres() { text.replace('␀', "\0") } else { text })
    }

    fn with_text(&self, text: &str) -> Filter {
        let name = Field::<Person, String>::new("name", |person| &person.name);
        name.eq(self.stored(text)).into_filter().expect("a text can be compared")
    }

    async fn put(&self, number: u32, text: &str) -> Result<()> {
        let upsert = "(id, name) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET name = excluded.name";
        let sql = sqlx::AssertSqlSafe(format!("INSERT INTO {} {upsert}", self.world.table("people")));
        let id = i64::from(number);
        let name = self.stored(text);
        match &self.world {
            World::Postgres { pool, .. } => sqlx::query(sql).bind(id).bind(name).execute(pool).await.map(drop),
            World::Sqlite { pool, .. } => sqlx::query(sql).bind(id).bind(name).execute(pool).await.map(drop),
        }
        .map_err(failed)
    }

    async fn remove(&self, number: u32) -> Result<()> {
        self.world.try_run(&format!("DELETE FROM <people> WHERE id = {number}")).await.map_err(failed)
    }

    async fn lost_position(&self) -> Position {
        // The change table is dropped and made again, as after an accident.
        let (feed, _) = self.source.feed();
        let position = feed.head().await.expect("head").expect("it tells");
        self.source.uninstall().await.expect("uninstall");
        self.source.install().await.expect("install");
        position
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Probe")
    }
}

fn failed(error: sqlx::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "the write failed").with_source(error)
}

async fn harness(world: World) -> SourceHarness {
    let source = world.source();
    source.install().await.expect("install");
    SourceHarness::new(Arc::new(Probe { world, source }))
}

mod postgres {
    use super::*;

    async fn source() -> SourceHarness {
        harness(World::postgres().await).await
    }

    smache_testkit::source_suite!(source);
}

mod sqlite {
    use super::*;

    async fn source() -> SourceHarness {
        harness(World::sqlite().await).await
    }

    smache_testkit::source_suite!(source);
}
