//! The published contract, for every combination of the memory backend.

use std::sync::Arc;

use async_trait::async_trait;
use smache_core::{
    Backend, CacheStore, DataSource, EntityKey, EntityType, Field, Filter, Image, JobQueue, ManualClock, Position,
    Result,
};
use smache_memory::{Loss, Memory, MemorySource};
use smache_testkit::{
    Harness, Joined, JoinedHarness, QueueHarness, SourceHarness, SourceProbe, StoreHarness, random_namespace,
};

/// A role of a backend with a manual clock.
fn harness<R>(role: impl FnOnce(&Memory) -> R) -> Harness<R> {
    let clock = ManualClock::default();
    let memory = Memory::builder().clock(Arc::new(clock.clone())).build();
    let role = role(&memory);
    Harness::new(role)
        .with_advance(move |by| {
            clock.advance(by);
            std::future::ready(())
        })
        .with_new_incarnation(move || {
            memory.simulate_restart(Loss::Nothing);
            std::future::ready(())
        })
}

fn both(memory: &Memory) -> (Arc<dyn CacheStore>, Arc<dyn JobQueue>) {
    memory.both(&random_namespace()).expect("memory has both")
}

mod alone {
    use super::*;

    async fn store() -> StoreHarness {
        harness(|memory| memory.store(&random_namespace()).expect("memory has stores"))
    }

    async fn queue() -> QueueHarness {
        harness(|memory| memory.queue(&random_namespace()).expect("memory has queues"))
    }

    smache_testkit::store_suite!(store);
    smache_testkit::incarnation_suite!(store);
    smache_testkit::queue_suite!(queue);
}

mod together {
    use super::*;

    async fn store() -> StoreHarness {
        harness(|memory| both(memory).0)
    }

    async fn queue() -> QueueHarness {
        harness(|memory| both(memory).1)
    }

    async fn joined() -> JoinedHarness {
        harness(|memory| {
            let (store, queue) = both(memory);
            Joined { store, queue }
        })
    }

    smache_testkit::store_suite!(store);
    smache_testkit::incarnation_suite!(store);
    smache_testkit::queue_suite!(queue);
    smache_testkit::joined_suite!(joined);
}

mod table {
    use super::*;

    #[derive(Debug, Clone)]
    struct Note {
        number: u32,
        text: String,
    }

    impl EntityType for Note {
        type Id = u32;
        const SOURCE: &'static str = "notes";

        fn id(&self) -> &u32 {
            &self.number
        }
    }

    #[derive(Debug)]
    struct Notes(MemorySource<Note>);

    #[async_trait]
    impl SourceProbe for Notes {
        fn source(&self) -> Arc<dyn DataSource> {
            Arc::new(self.0.clone())
        }

        fn key(&self, number: u32) -> EntityKey {
            EntityKey::encode(&number).expect("a number is a key")
        }

        fn text(&self, image: &Image) -> Result<String> {
            Ok(image.get::<Note>()?.text.clone())
        }

        fn with_text(&self, text: &str) -> Filter {
            Field::<Note, String>::new("text", |note| &note.text)
                .eq(text)
                .into_filter()
                .expect("a text can be compared")
        }

        async fn put(&self, number: u32, text: &str) -> Result<()> {
            self.0.insert(Note { number, text: text.to_owned() }).map(|_| ())
        }

        async fn remove(&self, number: u32) -> Result<()> {
            self.0.remove(&number).map(|_| ())
        }

        async fn lost_position(&self) -> Position {
            let (feed, topic) = MemorySource::<Note>::new().feed().expect("it has a feed");
            feed.open(&[topic], smache_core::Start::Now).await.expect("open").position()
        }
    }

    async fn with_feed() -> SourceHarness {
        SourceHarness::new(Arc::new(Notes(MemorySource::new())))
    }

    smache_testkit::source_suite!(with_feed);

    mod attached {
        use super::*;

        async fn without_feed() -> SourceHarness {
            SourceHarness::new(Arc::new(Notes(MemorySource::without_feed())))
        }

        smache_testkit::attached_source_suite!(without_feed);
    }
}
