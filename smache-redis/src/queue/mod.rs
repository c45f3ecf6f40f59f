//! The queue: jobs in sorted sets, one script per step, and a notifier that wakes waiting workers.

mod notifier;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use smache_core::{
    Enqueued, EntryId, Examination, FoundJob, Incarnation, Job, JobCounts, JobEnd, JobPage, JobQueue, JobState, Lane,
    ListedJob, Namespace, NewJob, Notifier, Notifiers, Reservation, Reserve, Result, Settled, Settlement, Token,
    support::{clip, limits::ERROR_BYTES},
};

use self::notifier::Channel;
use crate::{
    connection::Link,
    examine::Holds,
    keys::Keys,
    reply::{Reply, number},
    script::{COUNTS, Call, DISCARD, ENQUEUE, EXTEND_JOBS, FIND, INCARNATION, LIST, REQUEUE, RESERVE, SETTLE, Script},
};

/// The most jobs in one call: one script takes their arguments, in some milliseconds of the server's time.
const PER_CALL: usize = 500;

/// A job queue on Redis.
pub struct RedisQueue {
    link: Arc<Link>,
    keys: Keys,
    notifier: Notifier,
}

impl RedisQueue {
    pub(crate) fn new(link: Arc<Link>, namespace: &Namespace) -> Self {
        let keys = Keys::new(namespace);
        let notifier = Notifiers::new(Arc::new(Channel::new(&link, keys.of("notifier")))).of(namespace);
        Self { link, keys, notifier }
    }

    async fn reply(&self, call: &Call) -> Result<Reply> {
        Reply::new(call.operation(), self.link.call(call).await?)
    }

    /// Calls a script that takes ids and returns how many of them it changed.
    async fn count(&self, script: &'static Script, ids: &[EntryId]) -> Result<u64> {
        let mut count = 0;
        for ids in ids.chunks(PER_CALL) {
            let mut call = script.call(&self.keys);
            for id in ids {
                call.arg(id.as_bytes());
            }
            let answer = self.link.call(&call).await?;
            count += number(&answer).ok_or_else(|| crate::error::unexpected(call.operation()))?;
        }
        Ok(count)
    }
}

/// The name of a lane in scripts; the urgent one sorts first.
fn lane_name(lane: Lane) -> &'static str {
    match lane {
        Lane::Propagation => "0",
        Lane::Recompute => "1",
    }
}

/// The name of a state in scripts.
fn state_name(state: JobState) -> &'static str {
    match state {
        JobState::Queued => "q",
        JobState::Running => "r",
        JobState::DeadLetter => "b",
    }
}

/// How often a job ended badly.
fn runs(job: &mut Reply) -> Result<u32> {
    Ok(u32::try_from(job.number()?).unwrap_or(u32::MAX))
}

fn last_error(job: &mut Reply) -> Result<Option<String>> {
    Ok(job.maybe_bytes()?.map(|error| String::from_utf8_lossy(&error).into_owned()))
}

#[async_trait]
impl JobQueue for RedisQueue {
    async fn enqueue(&self, jobs: &[NewJob]) -> Result<Vec<Enqueued>> {
        let mut answers = Vec::with_capacity(jobs.len());
        for jobs in jobs.chunks(PER_CALL) {
            let mut call = ENQUEUE.call(&self.keys);
            for job in jobs {
                call.arg(job.id.as_bytes())
                    .arg(lane_name(job.lane))
                    .arg(job.priority)
                    .millis(job.delay)
                    .flag(job.revive);
            }
            let mut reply = self.reply(&call).await?;
            for _ in jobs {
                answers.push(match reply.number()? {
                    0 => Enqueued::Queued,
                    1 => Enqueued::Merged,
                    2 => Enqueued::Again,
                    _ => Enqueued::DeadLetter,
                });
            }
        }
        Ok(answers)
    }

    async fn reserve(&self, reserve: Reserve) -> Result<Reservation> {
        let mut call = RESERVE.call(&self.keys);
        call.arg(lane_name(reserve.lane)).arg(reserve.max.min(PER_CALL)).millis(reserve.lease);
        call.arg(reserve.token.as_bytes()).arg(if reserve.again { "1" } else { "0" });
        let mut reply = self.reply(&call).await?;
        let next_due = match reply.value()? {
            redis::Value::Int(-1) => None,
            value => Some(Duration::from_millis(number(&value).ok_or_else(|| reply.unexpected())?)),
        };
        let mut jobs = Vec::new();
        while !reply.is_empty() {
            let mut job = reply.list()?;
            jobs.push(Job {
                id: EntryId::from_slice(&job.bytes()?)?,
                lane: reserve.lane,
                token: reserve.token,
                errors: runs(&mut job)?,
                crashes: runs(&mut job)?,
            });
        }
        Ok(Reservation { jobs, next_due })
    }

    async fn extend(&self, jobs: &[(EntryId, Token)], lease: Duration) -> Result<Vec<bool>> {
        let mut held = Vec::with_capacity(jobs.len());
        for jobs in jobs.chunks(PER_CALL) {
            let mut call = EXTEND_JOBS.call(&self.keys);
            call.millis(lease);
            for (id, token) in jobs {
                call.arg(id.as_bytes()).arg(token.as_bytes());
            }
            let mut reply = self.reply(&call).await?;
            for _ in jobs {
                held.push(reply.number()? == 1);
            }
        }
        Ok(held)
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        let mut settled = Vec::with_capacity(settlements.len());
        for settlements in settlements.chunks(PER_CALL) {
            let mut call = SETTLE.call(&self.keys);
            for Settlement { id, token, end } in settlements {
                let (end, delay, error) = match end {
                    JobEnd::Done => ("d", Duration::ZERO, ""),
                    JobEnd::Release { delay } => ("l", *delay, ""),
                    JobEnd::Retry { delay, error } => ("r", *delay, error.as_str()),
                    JobEnd::DeadLetter { error } => ("b", Duration::ZERO, error.as_str()),
                };
                call.arg(id.as_bytes()).arg(token.as_bytes()).arg(end).millis(delay).arg(clip(error, ERROR_BYTES));
            }
            let mut reply = self.reply(&call).await?;
            for _ in settlements {
                settled.push(match reply.number()? {
                    0 => Settled::Settled,
                    1 => Settled::Again,
                    _ => Settled::Lost,
                });
            }
        }
        Ok(settled)
    }

    async fn requeue(&self, ids: &[EntryId]) -> Result<u64> {
        self.count(&REQUEUE, ids).await
    }

    async fn discard(&self, ids: &[EntryId]) -> Result<u64> {
        self.count(&DISCARD, ids).await
    }

    async fn examine(&self) -> Result<Examination> {
        self.link.examine(Holds::Results).await
    }

    async fn counts(&self) -> Result<JobCounts> {
        let mut reply = self.reply(&COUNTS.call(&self.keys)).await?;
        Ok(JobCounts {
            propagation: reply.number()?,
            recompute: reply.number()?,
            running: reply.number()?,
            dead_letters: reply.number()?,
        })
    }

    /// Jobs in the order of their ids, which no merge and no extension changes. The cursor is the last id.
    async fn list(&self, state: JobState, cursor: Option<Bytes>, limit: usize) -> Result<JobPage> {
        let limit = limit.clamp(1, 10_000);
        let mut call = LIST.call(&self.keys);
        // A job beyond the limit means that there is another page.
        call.arg(state_name(state)).arg(cursor.as_deref().unwrap_or_default()).arg(limit + 1);
        let mut reply = self.reply(&call).await?;
        let mut jobs = Vec::new();
        while !reply.is_empty() {
            let mut job = reply.list()?;
            let id = EntryId::from_slice(&job.bytes()?)?;
            let at = job.time()?;
            let error = last_error(&mut job)?;
            jobs.push(ListedJob { id, at, error });
        }
        let more = jobs.len() > limit;
        jobs.truncate(limit);
        let next = jobs.last().filter(|_| more).map(|job| Bytes::copy_from_slice(job.id.as_bytes()));
        Ok(JobPage { jobs, next })
    }

    async fn find(&self, id: &EntryId) -> Result<Option<FoundJob>> {
        let mut call = FIND.call(&self.keys);
        call.arg(id.as_bytes());
        let mut reply = self.reply(&call).await?;
        if reply.is_empty() {
            return Ok(None);
        }
        let state = reply.bytes()?;
        let lane = reply.bytes()?;
        let state = [JobState::Queued, JobState::Running, JobState::DeadLetter]
            .into_iter()
            .find(|named| state_name(*named).as_bytes() == state);
        let lane = Lane::ALL.into_iter().find(|named| lane_name(*named).as_bytes() == lane);
        let (Some(state), Some(lane)) = (state, lane) else { return Err(reply.unexpected()) };
        let mut found = FoundJob::new(lane, state, reply.time()?);
        found.errors = runs(&mut reply)?;
        found.crashes = runs(&mut reply)?;
        found.error = last_error(&mut reply)?;
        Ok(Some(found))
    }

    /// The incarnation of the server, and the name of the keys: a command may have emptied the same server.
    async fn incarnation(&self) -> Result<Incarnation> {
        let live = self.link.live().await?;
        let mut call = INCARNATION.call(&self.keys);
        call.arg(Token::random().as_bytes());
        let name =
            crate::reply::bytes(live.call(&call).await?).ok_or_else(|| crate::error::unexpected("incarnation"))?;
        Ok(Incarnation::new(format!("{} {}", live.incarnation, name.escape_ascii())))
    }

    async fn wait(&self, timeout: Duration) -> Result<()> {
        self.notifier.notified(timeout).await;
        Ok(())
    }
}

impl fmt::Debug for RedisQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisQueue")
            .field("keys", &self.keys.prefix())
            .field("link", &self.link)
            .finish_non_exhaustive()
    }
}
