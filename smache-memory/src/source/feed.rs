//! The feed of a table.

use std::{pin::pin, sync::Arc, time::Instant};

use async_trait::async_trait;
use smache_core::{
    Batch, ChangeFeed, ChangeStream, Error, ErrorKind, FeedId, Position, Result, SourceId, Start, Topic,
    support::limits::{CHANGES_A_BATCH, FEED_PATIENCE},
};

use super::Shared;

#[derive(Debug)]
pub(super) struct MemoryFeed(Arc<Shared>);

impl MemoryFeed {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }
}

#[async_trait]
impl ChangeFeed for MemoryFeed {
    fn id(&self) -> &FeedId {
        &self.0.feed
    }

    async fn open(&self, topics: &[Topic], start: Start) -> Result<Box<dyn ChangeStream>> {
        let known = |topic: &&Topic| topic.name == self.0.source.as_str();
        let Some(topic) = topics.iter().find(known) else {
            let message = "the feed of a memory source is opened without its topic: use the one that the source gives";
            return Err(Error::new(ErrorKind::Config, message).with_context("feed", &self.0.feed));
        };
        let table = self.0.table();
        let number = match start {
            Start::Now => table.last(),
            Start::After(position) => {
                let number = table.number(&position)?;
                table.after(number, 0)?;
                number
            }
        };
        Ok(Box::new(MemoryStream {
            source: topic.source.clone(),
            position: table.position(number),
            number,
            shared: Arc::clone(&self.0),
            looked: false,
        }))
    }

    async fn head(&self) -> Result<Option<Position>> {
        let table = self.0.table();
        Ok(Some(table.position(table.last())))
    }
}

#[derive(Debug)]
struct MemoryStream {
    shared: Arc<Shared>,
    source: SourceId,
    number: u64,
    position: Position,
    /// Whether it has returned its position once: until then its reader waits only for that.
    looked: bool,
}

impl MemoryStream {
    /// The next changes, and whether they are all.
    fn take(&mut self) -> Result<Batch> {
        let table = self.shared.table();
        // Under the lock: later writes happen after this instant.
        let now = Instant::now();
        let mut changes = table.after(self.number, CHANGES_A_BATCH)?;
        self.number += changes.len() as u64;
        self.position = table.position(self.number);
        for change in &mut changes {
            change.source = self.source.clone();
        }
        let as_of = (self.number == table.last()).then_some(now);
        Ok(Batch::new(changes, self.position.clone(), as_of))
    }
}

#[async_trait]
impl ChangeStream for MemoryStream {
    fn position(&self) -> Position {
        self.position.clone()
    }

    async fn next(&mut self) -> Result<Batch> {
        let shared = Arc::clone(&self.shared);
        // Enabled before the look, so that it hears of a write in between.
        let mut written = pin!(shared.written.notified());
        written.as_mut().enable();
        let batch = self.take()?;
        if !batch.changes.is_empty() || !std::mem::replace(&mut self.looked, true) {
            return Ok(batch);
        }
        // Look in either case.
        let _ = tokio::time::timeout(FEED_PATIENCE, written).await;
        self.take()
    }
}
