//! An open feed.

use std::{
    fmt,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use smache_core::{Batch, ChangeStream, Position, Result};
use sqlx::postgres::{PgListener, PgPoolOptions};

use super::{
    feed::{Found, PgFeed},
    place::Place,
    table::PgTable,
    trim::Trimming,
};
use crate::source::changes::Watched;

/// The channel on which the triggers say that there is something.
const CHANNEL: &str = "smache_changes";

/// How long listening may take to begin. Without it the stream only looks less often.
const LISTEN_WITHIN: Duration = Duration::from_secs(2);

/// How long it goes without before it tries to listen again.
const LISTEN_AGAIN: Duration = Duration::from_secs(5);

/// The changes of a schema, read batch by batch.
pub(super) struct PgStream {
    feed: PgFeed,
    server: String,
    watched: Watched<PgTable>,
    names: Vec<String>,
    place: Place,
    position: Position,
    /// When the snapshot was taken that is being read up to; unknown where another process took it.
    target_taken: Option<Instant>,
    listener: Option<PgListener>,
    listener_tried: Instant,
    trimming: Trimming,
    /// Whether it has returned its position once: until then its reader waits for just that.
    looked: bool,
}

impl PgStream {
    pub(super) async fn open(feed: PgFeed, server: String, watched: Watched<PgTable>, place: Place) -> Result<Self> {
        // First the notifications, then the first look: whatever is written after the look wakes it.
        let listener = listen(&feed).await;
        let names = watched.names();
        // Fails at once where the history is lost or the triggers are missing. The next read finds the same changes
        // again.
        feed.read(&server, &place, &names).await?;
        let position = place.position()?;
        let listener_tried = Instant::now();
        Ok(Self {
            feed,
            server,
            watched,
            names,
            place,
            position,
            target_taken: None,
            listener,
            listener_tried,
            trimming: Trimming::default(),
            looked: false,
        })
    }

    /// Waits for a notification, but not for longer than until the next look is due.
    async fn wait(&mut self) {
        if self.listener.is_none() && self.listener_tried.elapsed() > LISTEN_AGAIN {
            self.listener = listen(&self.feed).await;
            self.listener_tried = Instant::now();
            // It may have missed earlier notifications.
            return;
        }
        let Some(listener) = &mut self.listener else {
            return tokio::time::sleep(self.feed.poll_interval).await;
        };
        match tokio::time::timeout(self.feed.poll_interval, listener.try_recv()).await {
            // Several transactions may have come, and one look is for all of them.
            Ok(Ok(_)) => while listener.next_buffered().is_some() {},
            Ok(Err(error)) => {
                tracing::debug!(feed = ?self.feed, %error, "the connection for notifications is lost");
                self.listener = None;
                self.listener_tried = Instant::now();
            }
            Err(_) => {}
        }
    }

    /// The recorded changes after the place.
    async fn take(&mut self) -> Result<Batch> {
        // Before the read: the snapshot sees every earlier commit.
        if self.place.reading.is_none() {
            self.target_taken = Some(Instant::now());
        }
        let Found { recorded, place, flushed } = self.feed.read(&self.server, &self.place, &self.names).await?;
        for reset in recorded.iter().filter(|recorded| recorded.is_reset()) {
            self.watched.describe_again(&reset.table).await?;
        }
        if place != self.place {
            if !flushed {
                self.feed.flush().await?;
            }
            self.position = place.position()?;
            self.place = place;
        }
        let changes = recorded.iter().flat_map(|recorded| self.watched.changes(recorded)).collect();
        let as_of = self.target_taken.filter(|_| self.place.reading.is_none());
        Ok(Batch::new(changes, self.position.clone(), as_of))
    }
}

impl Watched<PgTable> {
    /// Reads the rows of a table as its columns are by now.
    async fn describe_again(&mut self, table: &str) -> Result<()> {
        for watch in self.of_table(table) {
            watch.reader.table.forget();
            watch.shape = watch.reader.table.description().await?.shape.clone();
        }
        Ok(())
    }
}

/// Listens on a connection that it opens: one of the application's pool would be missing there permanently.
async fn listen(feed: &PgFeed) -> Option<PgListener> {
    let connect = async {
        let options = PgPoolOptions::new().max_connections(1).acquire_timeout(LISTEN_WITHIN);
        let pool = options.connect_lazy_with((*feed.pool.connect_options()).clone());
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.listen(CHANNEL).await?;
        Ok::<_, sqlx::Error>(listener)
    };
    match tokio::time::timeout(LISTEN_WITHIN, connect).await {
        Ok(Ok(listener)) => Some(listener),
        Ok(Err(error)) => {
            tracing::debug!(feed = ?feed, %error, "there is no connection for notifications");
            None
        }
        Err(_) => {
            tracing::debug!(feed = ?feed, "there is no connection for notifications within {LISTEN_WITHIN:?}");
            None
        }
    }
}

#[async_trait]
impl ChangeStream for PgStream {
    fn position(&self) -> Position {
        self.position.clone()
    }

    async fn next(&mut self) -> Result<Batch> {
        self.trimming.go_on(&self.feed, &self.place).await;
        let batch = self.take().await?;
        let more = self.place.reading.is_some();
        if more || !batch.changes.is_empty() || !std::mem::replace(&mut self.looked, true) {
            return Ok(batch);
        }
        self.wait().await;
        self.take().await
    }
}

impl fmt::Debug for PgStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgStream").field("feed", &self.feed).finish_non_exhaustive()
    }
}
