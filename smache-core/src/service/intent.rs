//! Announcing changes before their commit, so that a program that ends in between does not lose the report.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    Begin, BeginOutcome, Change, ChangeKind, ChangeToken, Commit, CommitOutcome, EntityKey, EntityType, EntryId, Error,
    ErrorKind, Invalidation, Job, JobEnd, JobWrites, OnConflict, Result, SourceId, Timestamp, Token,
    backoff::jittered,
    engine::{Engine, Moment, of_tag},
    ids::ANNOUNCEMENTS,
};

/// How long an announcement waits for its end by default.
const REPORT_AFTER: Duration = Duration::from_secs(60);
/// The lease of the run that stores an announcement.
const LEASE: Duration = Duration::from_secs(10);
/// The pause before the next try to report an announcement.
const AGAIN: Duration = Duration::from_secs(5);

/// Changes that are about to be announced.
#[derive(Debug)]
#[must_use = "nothing is announced until `announce`"]
pub struct IntentBuilder {
    engine: Arc<Engine>,
    announced: Announcement,
    report_after: Duration,
}

impl IntentBuilder {
    pub(crate) fn new(engine: &Arc<Engine>) -> Self {
        Self {
            engine: Arc::clone(engine),
            announced: Announcement { until: 0, changes: Vec::new(), tags: Vec::new() },
            report_after: REPORT_AFTER,
        }
    }

    /// An entity that may be changed, inserted or deleted.
    ///
    /// # Errors
    /// [`ErrorKind::Unregistered`] for an unknown source, [`ErrorKind::Argument`] for an id that is no key.
    pub fn changes<T: EntityType>(mut self, id: &T::Id) -> Result<Self> {
        let source = self.engine.source_of::<T>()?.id().as_str().to_owned();
        self.announced.changes.push((source, EntityKey::encode(id)?.as_bytes().to_vec()));
        Ok(self)
    }

    /// A tag that may be touched.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.announced.tags.push(tag.into());
        self
    }

    /// How long the commit may take from now, its timeouts included. After that time the changes are reported as if
    /// they had happened. 60 seconds by default. A transaction that commits later, and whose program then ends, is not
    /// noticed.
    pub fn report_after(mut self, time: Duration) -> Self {
        self.report_after = time;
        self
    }

    /// Stores the announcement. Three round trips, one of them to the queue.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] when there is nothing to announce; the store's errors: the announcement is then not
    /// stored, or stored without the caller's knowledge, which only makes its results stale once more than needed.
    ///
    /// # Cancel safety
    /// A dropped call may have stored the announcement, as after an error.
    pub async fn announce(mut self) -> Result<Intent> {
        if self.announced.changes.is_empty() && self.announced.tags.is_empty() {
            let fix = "name what is about to change by `changes` or `tag`";
            return Err(Error::new(ErrorKind::Argument, format!("an announcement of nothing: {fix}")));
        }
        let id = EntryId::new(ANNOUNCEMENTS, *Token::random().as_bytes());
        let engine = &self.engine;
        let begin = Begin { id, token: Token::random(), lease: LEASE };
        let token = begin.token;
        let begun = match engine.timed("begin", engine.store.begin(begin)).await? {
            BeginOutcome::Begun(begun) => begun,
            BeginOutcome::Busy { .. } => return Err(replaced()),
        };
        self.announced.until = begun.now.after(self.report_after).as_millis();
        // Stored as stale, so that a store that writes jobs itself does so in this step; the job waits for the
        // deadline.
        let commit = Commit {
            id,
            token,
            start_revision: begun.start_revision,
            version: begun.start_revision,
            on_conflict: OnConflict::StoreStale,
            incarnation: begun.incarnation.clone(),
            epochs: begun.validity.epochs([]),
            call: self.announced.write(),
            value: Bytes::new(),
            meta: Bytes::new(),
            used: Vec::new(),
            ttl: None,
            not_after: None,
            tainted: true,
            lazy: false,
            conflict_delay: self.report_after,
        };
        match engine.timed("commit", engine.store.commit(commit)).await? {
            CommitOutcome::Conflicted { .. } => engine.enqueue_announced(id, self.report_after).await,
            CommitOutcome::Fresh { .. }
            | CommitOutcome::ConflictReported { .. }
            | CommitOutcome::Lost
            | CommitOutcome::OtherIncarnation => {
                return Err(replaced());
            }
        }
        Ok(Intent { engine: self.engine, id, announced: self.announced })
    }
}

fn replaced() -> Error {
    let message = "the store was replaced while the changes were announced: announce them again";
    Error::new(ErrorKind::Unavailable, message)
}

/// A stored announcement. If it is dropped without an end, any worker reports it when its time is over.
#[must_use = "say how the transaction ended: `committed` or `withdrawn`"]
pub struct Intent {
    engine: Arc<Engine>,
    id: EntryId,
    announced: Announcement,
}

impl Intent {
    /// The transaction was committed: reports the announced changes, as
    /// [`Smache::changed_many`](crate::Smache::changed_many) does.
    ///
    /// # Errors
    /// The store's errors. The changes are then reported when their time is over.
    ///
    /// # Cancel safety
    /// A dropped call may have reported the changes; if not, a worker reports them when their time is over.
    pub async fn committed(self) -> Result<ChangeToken> {
        let invalidation = self.announced.invalidation(&self.engine).await?;
        let token = self.engine.acknowledge(invalidation).await?;
        self.forget().await;
        Ok(token)
    }

    /// The transaction was rolled back, or its changes were reported in another way, for example by
    /// [`Smache::changed_from`](crate::Smache::changed_from): withdraws the announcement.
    ///
    /// # Cancel safety
    /// After a dropped call the announcement may remain, and is reported when its time is over.
    pub async fn withdrawn(self) {
        self.forget().await;
    }

    async fn forget(&self) {
        let engine = &self.engine;
        let mut forgotten = engine.timed("remove", engine.store.remove(&self.id, None)).await.map(drop);
        if forgotten.is_ok() && engine.store.job_writes() == JobWrites::Reported {
            forgotten = engine.timed("discard", engine.queue.discard(&[self.id])).await.map(drop);
        }
        if let Err(error) = forgotten {
            tracing::warn!(error = %error.report(), "an announcement stays and is reported when its time is over");
        }
    }
}

impl fmt::Debug for Intent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Intent").field("id", &self.id).field("announced", &self.announced).finish_non_exhaustive()
    }
}

/// The stored form of an announcement.
#[derive(Debug, Serialize, Deserialize)]
struct Announcement {
    /// Milliseconds of the store's time.
    until: u64,
    /// Source and key of each entity.
    changes: Vec<(String, Vec<u8>)>,
    tags: Vec<String>,
}

impl Announcement {
    fn write(&self) -> Bytes {
        serde_json::to_vec(self).expect("numbers, texts and bytes are JSON").into()
    }

    /// The invalidation for the announced changes, in this program. Relations and predicates are evaluated on the
    /// present entities.
    async fn invalidation(&self, engine: &Arc<Engine>) -> Result<Invalidation> {
        let mut changes = Vec::with_capacity(self.changes.len());
        for (name, key) in &self.changes {
            let source = SourceId::new(name)?;
            if !engine.sources.contains_key(&source) {
                let message = format!("the source `{source}` of an announced change is not registered here");
                return Err(Error::new(ErrorKind::Unregistered, message));
            }
            changes.push(Change::new(source, EntityKey::from_canonical(key), ChangeKind::Update));
        }
        let mut changed = engine.affected(&changes, Moment::Committed).await?;
        changed.extend(self.tags.iter().flat_map(|tag| of_tag(tag).changed));
        Ok(Invalidation { changed, ..Invalidation::default() })
    }
}

/// Reports an announcement that no program ended in time, and says how its job ends.
pub(crate) async fn overdue(engine: &Arc<Engine>, job: &Job) -> JobEnd {
    match report(engine, &job.id).await {
        Ok(None) => JobEnd::Done,
        Ok(Some(remaining)) => JobEnd::Release { delay: remaining },
        Err(error) => {
            tracing::warn!(entry = %job.id, error = %error.report(), "an announced change cannot be reported now");
            JobEnd::Retry { delay: jittered(AGAIN), error: error.report() }
        }
    }
}

/// Returns how much time is left, or `None` when the announcement is over.
async fn report(engine: &Arc<Engine>, id: &EntryId) -> Result<Option<Duration>> {
    let full = engine.timed("read_record", engine.store.read_record(id)).await?;
    let Some(record) = full.record else { return Ok(None) };
    let announced: Announcement = serde_json::from_slice(&record.call).map_err(|error| {
        let message = "an announcement cannot be read: it is left to programs of the version that wrote it";
        Error::new(ErrorKind::Corrupt, message).with_source(error)
    })?;
    let until = Timestamp::from_millis(announced.until);
    if until > full.now {
        return Ok(Some(until.since(full.now)));
    }
    let changes = announced.changes.len() + announced.tags.len();
    tracing::warn!(changes, "changes were announced and never ended: they are reported as if they had happened");
    engine.acknowledge(announced.invalidation(engine).await?).await?;
    engine.timed("remove", engine.store.remove(id, None)).await?;
    Ok(None)
}
