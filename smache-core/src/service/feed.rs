//! Feeds: one leader per feed turns its changes into invalidations and confirms its sources while it keeps up.

use std::{
    collections::BTreeMap,
    future::Future,
    panic::AssertUnwindSafe,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use tokio::{sync::watch, task::AbortHandle};

use super::{Tasks, store_clock::StoreClock};
use crate::{
    Batch, ChangeFeed, ChangeKind, ChangeStream, DataSource, Error, ErrorKind, FeedId, FeedStep, Invalidation,
    Leadership, Position, Result, SourceId, Start, Token, Topic,
    backoff::jittered,
    computed::panic_text,
    engine::{Engine, Moment, Steps},
    guard::{Strikes, panicked},
};

/// How long a leader counts as alive after its last step.
const LEADERSHIP: Duration = Duration::from_secs(5);
/// A stream is broken if it is silent for this long, without even an empty batch, or takes this long to open.
const SILENCE: Duration = Duration::from_secs(30);
/// Pauses after an error.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(5);
/// The pause between two looks at the store's clock and at the validity of the sources.
const LOOK: Duration = Duration::from_secs(1);
/// How long `build` waits for the sources to be confirmed.
const START: Duration = Duration::from_secs(15);

/// The view of a running feed for the rest of its process.
pub(crate) struct FeedHandle {
    pub(crate) feed: Arc<dyn ChangeFeed>,
    pub(crate) progress: watch::Receiver<Progress>,
}

/// The progress of a feed in this process.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    pub(crate) leading: bool,
    /// Everything before this instant was handed to the store.
    pub(crate) as_of: Option<Instant>,
    pub(crate) position: Option<Position>,
    pub(crate) error: Option<Error>,
}

/// Starts every feed of the system's sources once, however many sources share it.
pub(crate) fn start(engine: &Arc<Engine>, stop: &watch::Receiver<bool>) -> Vec<(AbortHandle, FeedHandle)> {
    let start = |(id, (feed, topics)): (FeedId, SharedFeed)| {
        let (sender, progress) = watch::channel(Progress::default());
        let leader = Leader {
            engine: Arc::clone(engine),
            id,
            feed: Arc::clone(&feed),
            topics,
            progress: sender,
            holder: Token::random(),
            steps: Steps::new(stop.clone(), engine.settings.store_timeout),
            strikes: Strikes::default(),
        };
        (engine.background.spawn(leader.run()), FeedHandle { feed, progress })
    };
    shared_feeds(engine.sources.values()).into_iter().map(start).collect()
}

/// A feed with all its sources.
type SharedFeed = (Arc<dyn ChangeFeed>, Vec<Topic>);

/// The feeds of some sources, each once, with its topics.
pub(super) fn shared_feeds<'a>(
    sources: impl IntoIterator<Item = &'a Arc<dyn DataSource>>,
) -> BTreeMap<FeedId, SharedFeed> {
    let mut feeds: BTreeMap<FeedId, SharedFeed> = BTreeMap::new();
    for (feed, topic) in sources.into_iter().filter_map(DataSource::feed) {
        feeds.entry(feed.id().clone()).or_insert_with(|| (feed, Vec::new())).1.push(topic);
    }
    feeds
}

/// Waits until every source with a feed is confirmed, by this process or another one.
pub(crate) async fn wait_until_confirmed(engine: &Arc<Engine>, tasks: &Tasks) -> Result<()> {
    let behind_feeds: Vec<&SourceId> =
        engine.sources.iter().filter(|(_, s)| s.feed().is_some()).map(|(id, _)| id).collect();
    let behind_feeds = engine.routes.confirmed(behind_feeds.into_iter().cloned());
    let deadline = tokio::time::Instant::now() + START;
    loop {
        // The first answer by which the breaker knows the usual time of one.
        let lookup = engine.asked(false, "lookup", engine.store.lookup(&[])).await?;
        engine.generation.remember(&lookup);
        let confirmed = |source: &SourceId| {
            lookup.validity.sources.get(source).is_some_and(|validity| {
                validity.caught_up_on.as_ref() == Some(&lookup.incarnation)
                    && validity.valid_until.is_none_or(|until| until > lookup.now)
            })
        };
        let Some(waiting) = behind_feeds.iter().find(|&source| !confirmed(source)) else { return Ok(()) };
        let failed = tasks.feeds().iter().find_map(|feed| {
            let progress = feed.progress.borrow();
            progress.error.clone().map(|error| error.with_context("feed", feed.feed.id()))
        });
        if let Some(error) = failed {
            return Err(error);
        }
        if tasks.feeds().is_empty() || tokio::time::Instant::now() > deadline {
            // Another process leads the feed, or should: until it does, reads are unconfirmed, which is no reason not
            // to start.
            tracing::warn!(source = %waiting, "no feed confirms the source yet: its values are unconfirmed until one runs");
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

struct Leader {
    engine: Arc<Engine>,
    id: FeedId,
    feed: Arc<dyn ChangeFeed>,
    topics: Vec<Topic>,
    progress: watch::Sender<Progress>,
    holder: Token,
    steps: Steps,
    strikes: Strikes,
}

impl Leader {
    async fn run(self) {
        let work = async {
            let mut pause = FIRST_PAUSE;
            loop {
                let began = Instant::now();
                // After a panic the next turn starts at the stored position.
                let led = AssertUnwindSafe(self.lead_once()).catch_unwind().await;
                let led = led.unwrap_or_else(|panic| {
                    Err(panicked(&format!("the leader of the feed `{}`", self.id), panic_text(panic.as_ref())))
                });
                let error = match led {
                    Ok(()) => {
                        pause = FIRST_PAUSE;
                        continue;
                    }
                    Err(error) => error,
                };
                if began.elapsed() > LAST_PAUSE {
                    pause = FIRST_PAUSE;
                }
                let expected = matches!(error.kind(), ErrorKind::Fenced | ErrorKind::IncarnationChanged);
                tracing::warn!(feed = %self.id, error = %error.report(), "the feed starts again from its stored position");
                self.progress.send_modify(|progress| {
                    progress.leading = false;
                    progress.error = (!expected).then_some(error);
                });
                tokio::time::sleep(jittered(pause)).await;
                pause = (pause * 2).min(LAST_PAUSE);
            }
        };
        tokio::select! {
            () = work => {}
            () = self.steps.stopped() => {}
        }
        self.resign().await;
    }

    /// Becomes the leader, or waits a while for the present leader to end.
    async fn lead_once(&self) -> Result<()> {
        match self.step("lead", self.engine.store.lead(&self.id, self.holder, LEADERSHIP)).await? {
            Leadership::Leader { fence } => {
                self.progress.send_modify(|progress| progress.leading = true);
                self.feed(fence).await
            }
            Leadership::Follower { retry_after } => {
                self.progress.send_modify(|progress| {
                    progress.leading = false;
                    progress.error = None;
                });
                tokio::time::sleep(retry_after.clamp(Duration::from_millis(10), Duration::from_secs(1))).await;
                Ok(())
            }
        }
    }

    /// Reads the feed from the stored positions until something breaks.
    async fn feed(&self, fence: u64) -> Result<()> {
        let sources = self.engine.routes.confirmed(self.topics.iter().map(|topic| topic.source.clone()));
        let known = async {
            let saved = self.step("positions", self.engine.store.positions(&sources)).await?;
            Ok((saved, self.look(&sources).await?))
        };
        let (mut saved, (disowned, mut clock)) = self.leading(fence, known).await?;
        for (source, position) in sources.iter().zip(&mut saved.positions) {
            if disowned.contains(source) {
                *position = None;
            }
        }
        let incarnation = saved.incarnation;
        let saved = saved.positions;
        let step = |positions| FeedStep {
            feed: self.id.clone(),
            fence,
            leadership: LEADERSHIP,
            incarnation: incarnation.clone(),
            positions,
            valid_for: None,
            deadline: None,
            caught_up: false,
        };
        let mut stream = self.resume(&sources, &saved, &step).await?;
        self.progress.send_modify(|progress| progress.error = None);
        let mut looked = tokio::time::Instant::now();
        loop {
            if looked.elapsed() > LOOK {
                let disowned;
                (disowned, clock) = self.look(&sources).await?;
                stream = self.adopt(stream, &disowned, &step).await?;
                looked = tokio::time::Instant::now();
            }
            match self.next(stream.as_mut()).await {
                // Finding the affected dependencies may take as long as writing them down.
                Ok(batch) => self.leading(fence, self.hand_over(batch, &sources, clock, &step)).await?,
                // A restart from this position would lose the history again and again.
                Err(error) if error.kind() == ErrorKind::HistoryLost => {
                    stream = self.start_over(&error, &sources, &step).await?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The sources that count as confirmed without a feed, because another program has or had them without one and
    /// reports their changes itself. The leader takes them back with a new epoch; otherwise the values that were stored
    /// meanwhile would stay fresh after the feed's death.
    ///
    /// The same answer has the store's time.
    async fn look(&self, sources: &[SourceId]) -> Result<(Vec<SourceId>, StoreClock)> {
        let lookup = self.step("lookup", self.engine.store.lookup(&[])).await?;
        let is_disowned = |source: &&SourceId| {
            lookup.validity.sources.get(*source).is_some_and(|validity| validity.valid_until.is_none())
        };
        let disowned: Vec<SourceId> = sources.iter().filter(is_disowned).cloned().collect();
        if !disowned.is_empty() {
            tracing::warn!(feed = %self.id, sources = ?disowned, "another program has these sources without a feed: they start a new epoch");
        }
        Ok((disowned, StoreClock::told(lookup.now)))
    }

    /// Opens the feed after the oldest saved position that is still in the history. A source, relation or index without
    /// such a position starts a new epoch: it may be a relation that programs did not know for a while, and must not
    /// take its source along.
    ///
    /// The feed checks each saved position. One that sorts behind a position of the present history may belong to data
    /// that were restored from a copy, or that another program saw meanwhile.
    async fn resume(
        &self,
        sources: &[SourceId],
        saved: &[Option<Position>],
        step: &impl Fn(Vec<(SourceId, Position)>) -> FeedStep,
    ) -> Result<Box<dyn ChangeStream>> {
        let mut known: Vec<&Position> = saved.iter().flatten().collect();
        known.sort();
        known.dedup();
        let (mut oldest, mut lost, mut error): (Option<(&Position, _)>, Vec<&Position>, _) = (None, Vec::new(), None);
        for position in known {
            match self.open(Start::After(position.clone())).await {
                Err(gone) if gone.kind() == ErrorKind::HistoryLost => {
                    lost.push(position);
                    error = Some(gone);
                }
                opened => {
                    let stream = opened?;
                    let follows = oldest.as_ref().is_none_or(|(first, _)| position.follows(first));
                    if follows && stream.position().history() == position.history() {
                        oldest.get_or_insert((position, stream));
                        continue;
                    }
                    lost.push(position);
                    let message = "the feed goes on in another history than that of the saved position";
                    error = Some(Error::new(ErrorKind::HistoryLost, message));
                }
            }
        }
        let Some((_, stream)) = oldest else {
            return match error {
                Some(error) => self.start_over(&error, sources, step).await,
                None => self.adopt(self.open(Start::Now).await?, sources, step).await,
            };
        };
        let pairs = sources.iter().zip(saved);
        let anew = pairs.filter(|(_, saved)| saved.as_ref().is_none_or(|saved| lost.contains(&saved)));
        let anew: Vec<SourceId> = anew.map(|(source, _)| source.clone()).collect();
        if let Some(error) = error {
            tracing::warn!(feed = %self.id, sources = ?anew, error = %error.report(), "history is lost: everything from these sources goes stale");
        }
        self.adopt(stream, &anew, step).await
    }

    /// History is lost: the feed continues from the present, and all results of its sources go stale.
    async fn start_over(
        &self,
        error: &Error,
        sources: &[SourceId],
        step: &impl Fn(Vec<(SourceId, Position)>) -> FeedStep,
    ) -> Result<Box<dyn ChangeStream>> {
        tracing::warn!(feed = %self.id, error = %error.report(), "history is lost: everything from the feed goes stale");
        self.adopt(self.open(Start::Now).await?, sources, step).await
    }

    /// Starts new epochs for the sources without a history. The stream was opened, and its position taken, before the
    /// epochs: a change in between is replayed.
    async fn adopt(
        &self,
        stream: Box<dyn ChangeStream>,
        without_history: &[SourceId],
        step: &impl Fn(Vec<(SourceId, Position)>) -> FeedStep,
    ) -> Result<Box<dyn ChangeStream>> {
        if !without_history.is_empty() {
            let at = stream.position();
            let positions = without_history.iter().map(|source| (source.clone(), at.clone())).collect();
            self.step("restart", self.engine.store.restart(step(positions))).await?;
        }
        Ok(stream)
    }

    async fn open(&self, start: Start) -> Result<Box<dyn ChangeStream>> {
        let opened = tokio::time::timeout(SILENCE, self.unwound(self.feed.open(&self.topics, start))).await;
        let stream = opened.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Timeout, format!("the feed `{}` did not open within {SILENCE:?}", self.id)))
        })?;
        // Another leader may have seen a reset of the source: this process then knows outdated comparisons.
        let sources: Vec<SourceId> = self.topics.iter().map(|topic| topic.source.clone()).collect();
        self.engine.ask_comparisons_again(&sources).await;
        Ok(stream)
    }

    async fn next(&self, stream: &mut dyn ChangeStream) -> Result<Batch> {
        let next = tokio::time::timeout(SILENCE, self.unwound(stream.next())).await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Timeout, format!("the feed `{}` gave no batch for {SILENCE:?}", self.id)))
        });
        if next.as_ref().is_ok_and(|batch| !batch.changes.is_empty()) {
            self.strikes.forget();
        }
        next
    }

    async fn unwound<T>(&self, step: impl Future<Output = Result<T>>) -> Result<T> {
        self.strikes.count(&format!("the feed `{}`", self.id), step).await
    }

    /// Hands a batch to the store: first the affected dependencies, and with the last step the position and the
    /// validity.
    async fn hand_over(
        &self,
        batch: Batch,
        sources: &[SourceId],
        clock: StoreClock,
        step: &impl Fn(Vec<(SourceId, Position)>) -> FeedStep,
    ) -> Result<()> {
        let mut reset: Vec<SourceId> = Vec::new();
        for change in batch.changes.iter().filter(|change| change.kind == ChangeKind::Reset) {
            if !reset.contains(&change.source) {
                reset.push(change.source.clone());
            }
        }
        if !reset.is_empty() {
            tracing::warn!(feed = %self.id, sources = ?reset, "sources were dropped, renamed or truncated: they start a new epoch");
            // The types of its fields may have changed.
            self.engine.ask_comparisons_again(&reset).await;
            let positions = self.engine.routes.confirmed(reset).into_iter();
            let positions = positions.map(|source| (source, batch.position.clone())).collect();
            self.step("restart", self.engine.store.restart(step(positions))).await?;
        }
        let mut changes = batch.changes;
        changes.retain(|change| change.kind != ChangeKind::Reset);
        let positions = sources.iter().map(|source| (source.clone(), batch.position.clone())).collect();
        let changed = self.engine.affected(&changes, Moment::Committed).await?;
        // Computed only now, since finding the affected dependencies may take long: Δ counts from the time at which the
        // batch was read.
        let validity = self.engine.settings.feed_validity;
        let valid_for =
            batch.as_of.map(|as_of| validity.saturating_sub(as_of.elapsed())).filter(|valid_for| !valid_for.is_zero());
        // The step may travel for long, and the store would count from its arrival.
        let deadline = batch.as_of.map(|as_of| clock.at(as_of).after(validity));
        let step = FeedStep { valid_for, deadline, caught_up: batch.as_of.is_some(), ..step(positions) };
        self.steps
            .whole(self.engine.invalidate(Invalidation { changed, entries: Vec::new(), step: Some(step) }))
            .await?;
        self.progress.send_modify(|progress| {
            progress.as_of = batch.as_of.or(progress.as_of);
            progress.position = Some(batch.position);
        });
        Ok(())
    }

    /// Does work that may take longer than a leader counts as alive, and renews the leadership meanwhile. Not for work
    /// that waits for the source: another process may reach the source when this one cannot.
    async fn leading<T>(&self, fence: u64, work: impl Future<Output = Result<T>>) -> Result<T> {
        let mut renewal = pin!(self.stay_leader(fence));
        let done = tokio::select! {
            biased;
            done = work => done,
            fenced = &mut renewal => return Err(fenced),
        };
        tokio::select! {
            biased;
            () = self.steps.between() => {}
            _ = renewal => {}
        }
        done
    }

    /// A step of the store, which a shutdown does not drop half-way.
    async fn step<T>(&self, name: &'static str, step: impl Future<Output = Result<T>>) -> Result<T> {
        self.steps.whole(self.engine.timed(name, step)).await
    }

    /// Renews the leadership. Ends when another process has taken over.
    async fn stay_leader(&self, fence: u64) -> Error {
        loop {
            tokio::time::sleep(LEADERSHIP / 3).await;
            match self.step("lead", self.engine.store.lead(&self.id, self.holder, LEADERSHIP)).await {
                Ok(Leadership::Leader { fence: own }) if own == fence => {}
                Ok(_) => {
                    return Error::new(ErrorKind::Fenced, "another leader of the feed took over during a long step");
                }
                // The step itself will fail as well, or it holds what this renewal waits for.
                Err(error) => {
                    tracing::debug!(feed = %self.id, error = %error.report(), "the leadership is not renewed");
                }
            }
        }
    }

    /// Gives the leadership up, so that the next leader can start at once.
    async fn resign(&self) {
        let leading = self.progress.borrow().leading;
        if !leading {
            return;
        }
        let lead = self.engine.timed("lead", self.engine.store.lead(&self.id, self.holder, LEADERSHIP)).await;
        if let Ok(Leadership::Leader { fence }) = lead
            && let Err(error) = self.engine.timed("resign", self.engine.store.resign(&self.id, fence)).await
        {
            tracing::debug!(feed = %self.id, error = %error.report(), "the leadership of the feed passes on when its lease ends");
        }
    }
}
