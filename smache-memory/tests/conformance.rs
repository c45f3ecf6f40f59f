//! The published contract, for every combination of the memory backend.

use std::sync::Arc;

use async_trait::async_trait;
use smache_core::{DataSource, EntityKey, EntityType, Field, Filter, Image, ManualClock, Position, Result};
use smache_memory::{Loss, Memory, MemorySource};
use smache_testkit::{BackendHarness, SourceHarness, SourceProbe, StoreHarness};

async fn memory() -> BackendHarness {
    let clock = ManualClock::default();
    let memory = Memory::builder().clock(Arc::new(clock.clone())).build();
    BackendHarness::of(memory.clone()).with_clock(clock).with_new_incarnation(move || {
        memory.simulate_restart(Loss::Nothing);
        std::future::ready(())
    })
}

smache_testkit::backend_suite!(memory, incarnation);
smache_testkit::comparison_suite!(memory);

/// The tasks of a case take turns between the steps of the others, at random.
mod taking_turns {
    use smache_testkit::faults::Faulty;

    use super::*;

    async fn memory() -> BackendHarness {
        let clock = ManualClock::default();
        let (memory, faults) = Faulty::of(Memory::builder().clock(Arc::new(clock.clone())).build());
        faults.yield_between();
        BackendHarness::of(memory).with_clock(clock)
    }

    smache_testkit::backend_suite!(memory);
}

async fn small() -> StoreHarness {
    let clock = ManualClock::default();
    let memory = Memory::builder().capacity(100).clock(Arc::new(clock.clone())).build();
    BackendHarness::of(memory).with_clock(clock).with_capacity(100).store()
}

smache_testkit::eviction_suite!(small);

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
