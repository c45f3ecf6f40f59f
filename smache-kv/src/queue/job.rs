//! A job: its stored fields, and its places in the indexes.

use bytes::Bytes;
use smache_core::{EntryId, JobState, Lane, Result, Timestamp, Token, support::limits::USUAL_PRIORITY};

use crate::{
    codec::{Reader, Writer},
    damage::Part,
    keys::{Keys, Role},
    step::Step,
};

/// A job that is queued, running or a dead letter; a job that is done is removed.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct StoredJob {
    pub(super) lane: Lane,
    pub(super) priority: u8,
    pub(super) errors: u32,
    pub(super) crashes: u32,
    pub(super) error: Option<String>,
    pub(super) state: State,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum State {
    Queued { due: Timestamp },
    Running { token: Token, until: Timestamp, again: Option<Request> },
    DeadLetter { at: Timestamp },
}

/// A request for a job; in a running job, for one more run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Request {
    pub(super) due: Timestamp,
    pub(super) lane: Lane,
    pub(super) priority: u8,
}

impl State {
    /// The name of the state, and when the job is due, its lease ends or it became a dead letter.
    pub(super) fn named(&self) -> (JobState, Timestamp) {
        match self {
            Self::Queued { due } => (JobState::Queued, *due),
            Self::Running { until, .. } => (JobState::Running, *until),
            Self::DeadLetter { at } => (JobState::DeadLetter, *at),
        }
    }
}

impl StoredJob {
    pub(super) fn new(request: Request) -> Self {
        let Request { due, lane, priority } = request;
        Self { lane, priority, errors: 0, crashes: 0, error: None, state: State::Queued { due } }
    }

    /// Resets the counters, as if the job had never run.
    pub(super) fn forgive(&mut self) {
        (self.errors, self.crashes, self.error) = (0, 0, None);
    }

    /// Whether a key is one of the job's places. A damaged job may have left its place to another one.
    pub(super) fn is_at(&self, keys: &Keys, id: &EntryId, key: &Bytes) -> bool {
        self.places(keys, id).iter().flatten().any(|place| place == key)
    }

    /// The places of the job: by its state, and by the time that the state waits for.
    fn places(&self, keys: &Keys, id: &EntryId) -> [Option<Bytes>; 2] {
        let (state, at) = self.state.named();
        let at = at.as_millis();
        let by_time = match state {
            JobState::Queued => {
                let at = at.to_be_bytes();
                Some(keys.of(Role::JobDue, &[&[lane_byte(self.lane), self.priority], &at, id.as_bytes()]))
            }
            JobState::Running => Some(keys.index(Role::JobLease, at, id)),
            JobState::DeadLetter => None,
        };
        [Some(keys.of(Role::JobState, &[&[state_byte(state)], id.as_bytes()])), by_time]
    }

    fn encode(&self) -> Bytes {
        let mut writer = Writer::new();
        writer.u8(lane_byte(self.lane)).u8(self.priority).u32(self.errors).u32(self.crashes);
        writer.option(self.error.as_ref(), |writer, error| writer.bytes(error.as_bytes()));
        let (state, at) = self.state.named();
        writer.u8(state_byte(state)).time(at);
        if let State::Running { token, again, .. } = &self.state {
            writer.raw(token.as_bytes()).option(again.as_ref(), |writer, again| {
                writer.time(again.due).u8(lane_byte(again.lane)).u8(again.priority)
            });
        }
        writer.done()
    }

    fn decode(bytes: &Bytes) -> Option<Self> {
        Reader::read(bytes, |reader| {
            let lane = byte_lane(reader.u8()?)?;
            let priority = reader.u8()?;
            let errors = reader.u32()?;
            let crashes = reader.u32()?;
            let error = reader.option(Reader::text)?;
            let state = reader.u8()?;
            let at = reader.time()?;
            let state = match state {
                0 => State::Queued { due: at },
                1 => State::Running {
                    token: Token::from_bytes(reader.array()?),
                    until: at,
                    again: reader.option(|reader| {
                        let due = reader.time()?;
                        Some(Request { due, lane: byte_lane(reader.u8()?)?, priority: reader.u8()? })
                    })?,
                },
                2 => State::DeadLetter { at },
                _ => return None,
            };
            Some(Self { lane, priority, errors, crashes, error, state })
        })
    }
}

pub(super) fn lane_byte(lane: Lane) -> u8 {
    match lane {
        Lane::Propagation => 0,
        Lane::Recompute => 1,
    }
}

fn byte_lane(byte: u8) -> Option<Lane> {
    Lane::ALL.into_iter().find(|lane| lane_byte(*lane) == byte)
}

pub(super) fn state_byte(state: JobState) -> u8 {
    match state {
        JobState::Queued => 0,
        JobState::Running => 1,
        JobState::DeadLetter => 2,
    }
}

impl Step<'_> {
    pub(super) async fn job(&mut self, id: &EntryId) -> Result<Option<StoredJob>> {
        Ok(match self.part(id, Role::Job, "a job", StoredJob::decode).await? {
            Part::There(kept) => Some(kept),
            Part::Absent => None,
            Part::Damaged => self.replace_damaged_job(id),
        })
    }

    /// Another job takes its place at once, since the queue does not know whether the entry is stale; the job of a
    /// fresh entry has nothing to do. A reservation removes the damaged job's places by time.
    fn replace_damaged_job(&mut self, id: &EntryId) -> Option<StoredJob> {
        if !self.removes() {
            return None;
        }
        for state in [JobState::Queued, JobState::Running, JobState::DeadLetter] {
            self.delete(self.keys().of(Role::JobState, &[&[state_byte(state)], id.as_bytes()]));
        }
        let kept = StoredJob::new(Request { due: self.now, lane: Lane::Recompute, priority: USUAL_PRIORITY });
        self.put_job(id, None, &kept);
        Some(kept)
    }

    pub(super) async fn prefetch_kept(&mut self, ids: impl Iterator<Item = EntryId>) -> Result<()> {
        let keys = self.keys();
        self.prefetch(ids.map(|id| keys.entry(Role::Job, &id))).await
    }

    /// Replaces a job, with its places in the indexes.
    pub(super) fn put_job(&mut self, id: &EntryId, old: Option<&StoredJob>, kept: &StoredJob) {
        if let Some(old) = old {
            self.delete_job(id, old);
        }
        for place in kept.places(self.keys(), id).into_iter().flatten() {
            self.put(place, Vec::new());
        }
        self.put(self.keys().entry(Role::Job, id), kept.encode());
        self.added |= matches!(kept.state, State::Queued { .. });
    }

    pub(super) fn delete_job(&mut self, id: &EntryId, old: &StoredJob) {
        for place in old.places(self.keys(), id).into_iter().flatten() {
            self.delete(place);
        }
        self.delete(self.keys().entry(Role::Job, id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn job_of_every_state_is_read_as_it_was_written() {
        let due = Timestamp::from_millis(7);
        let again = Request { due, lane: Lane::Propagation, priority: 0 };
        let token = Token::from_bytes([1; 16]);
        for state in [
            State::Queued { due },
            State::Running { token, until: due, again: None },
            State::Running { token, until: due, again: Some(again) },
            State::DeadLetter { at: due },
        ] {
            let lane = Lane::Recompute;
            let error = Some("out of paper".to_owned());
            let kept = StoredJob { lane, priority: 255, errors: 1, crashes: 2, error, state };
            let bytes = kept.encode();
            assert_eq!(StoredJob::decode(&bytes.slice(..bytes.len() - 1)), None);
            assert_eq!(StoredJob::decode(&bytes), Some(kept));
        }
    }
}
