//! The published cases find a feed that breaks a promise: each way to break one, and a case that fails.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use smache_core::{
    Batch, ChangeFeed, ChangeStream, DataSource, EntityKey, EntityKind, EntityType, FeedId, Field, Filter, Image,
    Position, Result, SourceId, Start, Topic,
};
use smache_memory::MemorySource;
use smache_testkit::{SourceHarness, SourceProbe, source::batches};

/// A promise that the feed breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broken {
    /// `as_of` is taken after the changes were read.
    AsOfAfterwards,
    /// `as_of` is said though more changes are left.
    AsOfThoughMore,
    /// A backlog is cut off behind its first batch.
    BacklogCutOff,
    /// Positions are numbers with their last byte first.
    LittleEndian,
    /// Positions are numbers in decimal digits.
    Digits,
}

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

/// A table in memory with a broken feed.
#[derive(Debug, Clone)]
struct Notes {
    table: MemorySource<Note>,
    broken: Broken,
    /// The positions of the table, by the orders that the feed has said.
    said: Arc<Mutex<HashMap<Bytes, Position>>>,
}

impl Notes {
    fn said(&self) -> MutexGuard<'_, HashMap<Bytes, Position>> {
        self.said.lock().expect("no test panics under it")
    }

    fn say(&self, position: Position) -> Position {
        let number = position.place().iter().fold(0, |number, byte| (number << 8) | u64::from(*byte));
        let order = match self.broken {
            Broken::LittleEndian => number.to_le_bytes().to_vec(),
            Broken::Digits => number.to_string().into_bytes(),
            _ => return position,
        };
        let broken = Position::new("broken", order, position.token.clone());
        self.said().insert(broken.order.clone(), position);
        broken
    }

    fn meant(&self, position: Position) -> Position {
        self.said().get(&position.order).cloned().unwrap_or(position)
    }
}

#[async_trait]
impl SourceProbe for Notes {
    fn source(&self) -> Arc<dyn DataSource> {
        Arc::new(self.clone())
    }

    fn key(&self, number: u32) -> EntityKey {
        EntityKey::encode(&number).expect("a number is a key")
    }

    fn text(&self, image: &Image) -> Result<String> {
        Ok(image.get::<Note>()?.text.clone())
    }

    fn with_text(&self, text: &str) -> Filter {
        Field::<Note, String>::new("text", |note| &note.text).eq(text).into_filter().expect("a text can be compared")
    }

    async fn put(&self, number: u32, text: &str) -> Result<()> {
        self.table.insert(Note { number, text: text.to_owned() }).map(drop)
    }

    async fn remove(&self, number: u32) -> Result<()> {
        self.table.remove(&number).map(drop)
    }

    async fn lost_position(&self) -> Position {
        Position::new("another history", [0], "")
    }
}

#[async_trait]
impl DataSource for Notes {
    fn id(&self) -> &SourceId {
        self.table.id()
    }

    fn kind(&self) -> EntityKind {
        self.table.kind()
    }

    async fn load(&self, keys: &[EntityKey]) -> Result<Vec<Option<Image>>> {
        self.table.load(keys).await
    }

    fn feed(&self) -> Option<(Arc<dyn ChangeFeed>, Topic)> {
        let (feed, topic) = self.table.feed()?;
        Some((Arc::new(BrokenFeed { feed, notes: self.clone() }), topic))
    }
}

#[derive(Debug)]
struct BrokenFeed {
    feed: Arc<dyn ChangeFeed>,
    notes: Notes,
}

#[async_trait]
impl ChangeFeed for BrokenFeed {
    fn id(&self) -> &FeedId {
        self.feed.id()
    }

    async fn open(&self, topics: &[Topic], start: Start) -> Result<Box<dyn ChangeStream>> {
        let start = match start {
            Start::Now => Start::Now,
            Start::After(position) => Start::After(self.notes.meant(position)),
        };
        let stream = self.feed.open(topics, start).await?;
        let (feed, topics, notes) = (Arc::clone(&self.feed), topics.to_vec(), self.notes.clone());
        Ok(Box::new(BrokenStream { stream, feed, topics, notes }))
    }
}

#[derive(Debug)]
struct BrokenStream {
    stream: Box<dyn ChangeStream>,
    feed: Arc<dyn ChangeFeed>,
    topics: Vec<Topic>,
    notes: Notes,
}

#[async_trait]
impl ChangeStream for BrokenStream {
    fn position(&self) -> Position {
        self.notes.say(self.stream.position())
    }

    async fn next(&mut self) -> Result<Batch> {
        let mut batch = self.stream.next().await?;
        match self.notes.broken {
            Broken::AsOfAfterwards => {
                tokio::time::sleep(Duration::from_millis(1)).await;
                batch.as_of = batch.as_of.map(|_| Instant::now());
            }
            Broken::AsOfThoughMore => batch.as_of = batch.as_of.or_else(|| Some(Instant::now())),
            Broken::BacklogCutOff if batch.as_of.is_none() => {
                self.stream = self.feed.open(&self.topics, Start::Now).await?;
                batch.position = self.stream.position();
            }
            _ => {}
        }
        batch.position = self.notes.say(batch.position);
        Ok(batch)
    }
}

fn harness(broken: Broken) -> SourceHarness {
    SourceHarness::new(Arc::new(Notes { table: MemorySource::new(), broken, said: Arc::default() }))
}

async fn fails(case: impl Future<Output = ()> + Send + 'static) -> bool {
    tokio::spawn(case).await.is_err()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instants_that_are_taken_afterwards() {
    assert!(fails(batches::batch_has_every_write_before_its_instant(harness(Broken::AsOfAfterwards))).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instants_of_batches_that_are_not_the_last() {
    assert!(fails(batches::backlog_larger_than_a_batch_is_delivered(harness(Broken::AsOfThoughMore))).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backlogs_that_are_cut_off() {
    assert!(fails(batches::backlog_larger_than_a_batch_is_delivered(harness(Broken::BacklogCutOff))).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn positions_that_do_not_sort_like_the_history() {
    for broken in [Broken::LittleEndian, Broken::Digits] {
        assert!(fails(batches::positions_sort_like_the_history(harness(broken))).await, "{broken:?}");
    }
}
