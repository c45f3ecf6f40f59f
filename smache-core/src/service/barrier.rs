//! A barrier at the present position of the databases: everything that was committed before it is acknowledged after
//! it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::try_join_all;

use super::{Tasks, feed::shared_feeds};
use crate::{
    ChangeFeed, ChangeToken, DataSource, Error, ErrorKind, Invalidation, Position, Result, SourceId, Start, Topic,
    backoff::jittered, engine::Engine,
};

/// How long a feed may take to reach the present, unless the builder sets a `wait_timeout`.
const PATIENCE: Duration = Duration::from_secs(10);
/// The pauses between two looks at the saved positions.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LAST_PAUSE: Duration = Duration::from_millis(50);

impl Tasks {
    /// Waits until every change that was committed before this call is acknowledged, on these sources. See
    /// [`Smache::caught_up`](crate::Smache::caught_up).
    pub(crate) async fn caught_up<'a>(
        &self,
        engine: &Engine,
        sources: impl IntoIterator<Item = &'a Arc<dyn DataSource>>,
    ) -> Result<ChangeToken> {
        // Asked before the revision: if the generation changes in between, the token proves too little rather than too
        // much.
        let generation = engine.present_generation().await?;
        let feeds = shared_feeds(sources);
        try_join_all(feeds.values().map(|(feed, topics)| self.wait_for(engine, &**feed, topics))).await?;
        let revision = engine.invalidate(Invalidation::default()).await?.revision;
        Ok(ChangeToken::new(&engine.namespace, generation.as_number(), revision))
    }

    /// Waits until the positions that are saved in the store cover the present one of the feed.
    async fn wait_for(&self, engine: &Engine, feed: &dyn ChangeFeed, topics: &[Topic]) -> Result<()> {
        let patience = engine.settings.wait_timeout.unwrap_or(PATIENCE);
        tokio::time::timeout(patience, self.reach(engine, feed, topics)).await.unwrap_or_else(|_| {
            let id = feed.id();
            let fix = "see that a process with the source leads it, and what its log says";
            let message =
                format!("the feed `{id}` did not reach the present of its database within {patience:?}: {fix}");
            let error = Error::new(ErrorKind::Timeout, message);
            let own = self.feeds().iter().find(|own| own.feed.id() == id);
            Err(match own.and_then(|own| own.progress.borrow().error.clone()) {
                Some(cause) => error.with_source(cause),
                None => error,
            })
        })
    }

    async fn reach(&self, engine: &Engine, feed: &dyn ChangeFeed, topics: &[Topic]) -> Result<()> {
        let begin = Instant::now();
        let present = present(feed, topics).await.map_err(|error| error.with_context("feed", feed.id()))?;
        // Without relations and indexes: the leader may not know them, and then none of their results is fresh.
        let sources: Vec<SourceId> = topics.iter().map(|topic| topic.source.clone()).collect();
        let own = self.feeds().iter().find(|own| own.feed.id() == feed.id());
        let mut pause = FIRST_PAUSE;
        loop {
            // If this process leads, it also knows until when its last batch was complete.
            if own.is_some_and(|own| own.progress.borrow().as_of.is_some_and(|as_of| as_of >= begin)) {
                return Ok(());
            }
            if engine.have_reached(&sources, &present).await? {
                return Ok(());
            }
            tokio::time::sleep(jittered(pause)).await;
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }
}

impl Engine {
    async fn have_reached(&self, sources: &[SourceId], present: &Position) -> Result<bool> {
        let saved = self.timed("positions", self.store.positions(sources)).await?;
        Ok(saved.positions.iter().all(|saved| saved.as_ref().is_some_and(|saved| saved.follows(present))))
    }
}

/// The present end of the history. If the feed cannot tell it, a stream that is opened at the present stands there.
async fn present(feed: &dyn ChangeFeed, topics: &[Topic]) -> Result<Position> {
    match feed.head().await? {
        Some(head) => Ok(head),
        None => Ok(feed.open(topics, Start::Now).await?.position()),
    }
}
