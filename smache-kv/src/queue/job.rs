//! A job: its stored fields, and its places in the indexes.

use bytes::Bytes;
use smache_core::{
    EntryId, JobState, Lane, Result, Token,
    protocol::{JobStage, Request, StoredJob},
    support::limits::USUAL_PRIORITY,
};

use crate::{
    codec::{Persisted, Reader, Writer},
    damage::Part,
    keys::{Keys, Role},
    step::Step,
};

/// Whether a key is one of the job's places. A damaged job may have left its place to another one.
pub(super) fn is_at(job: &StoredJob, keys: &Keys, id: &EntryId, key: &Bytes) -> bool {
    places(job, keys, id).iter().flatten().any(|place| place == key)
}

/// The places of a job: by its state, and by the time that the state waits for.
fn places(job: &StoredJob, keys: &Keys, id: &EntryId) -> [Option<Bytes>; 2] {
    let (state, at) = job.state();
    let at = at.as_millis();
    let by_time = match state {
        JobState::Queued => {
            let at = at.to_be_bytes();
            Some(keys.of(Role::JobDue, &[&[lane_byte(job.lane), job.priority], &at, id.as_bytes()]))
        }
        JobState::Running => Some(keys.index(Role::JobLease, at, id)),
        JobState::DeadLetter => None,
    };
    [Some(keys.of(Role::JobState, &[&[state_byte(state)], id.as_bytes()])), by_time]
}

impl Persisted for StoredJob {
    fn encode(&self) -> Bytes {
        let mut writer = Writer::new();
        writer.u8(lane_byte(self.lane)).u8(self.priority).u32(self.errors).u32(self.crashes);
        writer.option(self.error.as_ref(), |writer, error| writer.bytes(error.as_bytes()));
        let (state, at) = self.state();
        writer.u8(state_byte(state)).time(at);
        if let JobStage::Running { token, again, .. } = &self.stage {
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
            let stage = match state {
                0 => JobStage::Queued { due: at },
                1 => JobStage::Running {
                    token: Token::from_bytes(reader.array()?),
                    until: at,
                    again: reader.option(|reader| {
                        let due = reader.time()?;
                        Some(Request { due, lane: byte_lane(reader.u8()?)?, priority: reader.u8()? })
                    })?,
                },
                2 => JobStage::DeadLetter { at },
                _ => return None,
            };
            Some(Self { lane, priority, errors, crashes, error, stage })
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
    pub(crate) async fn job(&mut self, id: &EntryId) -> Result<Option<StoredJob>> {
        Ok(match self.part(id, Role::Job, "a job").await? {
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
        self.put_job(id, None, Some(&kept));
        Some(kept)
    }

    pub(super) async fn prefetch_kept(&mut self, ids: impl Iterator<Item = EntryId>) -> Result<()> {
        let keys = self.keys();
        self.prefetch(ids.map(|id| keys.entry(Role::Job, &id))).await
    }

    /// Replaces a job, with its places in the indexes; `None` removes it.
    pub(crate) fn put_job(&mut self, id: &EntryId, old: Option<&StoredJob>, new: Option<&StoredJob>) {
        if old == new {
            return;
        }
        let keys = self.keys();
        for place in old.iter().flat_map(|old| places(old, keys, id)).flatten() {
            self.delete(place);
        }
        let Some(new) = new else { return self.delete(keys.entry(Role::Job, id)) };
        for place in places(new, keys, id).into_iter().flatten() {
            self.put(place, Vec::new());
        }
        self.put(keys.entry(Role::Job, id), new.encode());
        self.added |= matches!(new.stage, JobStage::Queued { .. });
    }
}

#[cfg(test)]
mod tests {
    use smache_core::Timestamp;

    use super::*;

    #[test]
    fn job_of_every_state_is_read_as_it_was_written() {
        let due = Timestamp::from_millis(7);
        let again = Request { due, lane: Lane::Propagation, priority: 0 };
        let token = Token::from_bytes([1; 16]);
        for stage in [
            JobStage::Queued { due },
            JobStage::Running { token, until: due, again: None },
            JobStage::Running { token, until: due, again: Some(again) },
            JobStage::DeadLetter { at: due },
        ] {
            let lane = Lane::Recompute;
            let error = Some("out of paper".to_owned());
            let kept = StoredJob { lane, priority: 255, errors: 1, crashes: 2, error, stage };
            let bytes = kept.encode();
            assert_eq!(StoredJob::decode(&bytes.slice(..bytes.len() - 1)), None);
            assert_eq!(StoredJob::decode(&bytes), Some(kept));
        }
    }
}
