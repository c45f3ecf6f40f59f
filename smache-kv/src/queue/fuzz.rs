//! Fuzz target: a job comes back as it was, and no damage to it makes its reader panic or take a second form for it.

use bytes::Bytes;
use smache_core::{
    Lane, Timestamp, Token,
    protocol::{JobStage, Request, StoredJob},
};
use smache_fuzz::{Edits, bounded, damaged, fuzz};

use crate::codec::Persisted;

#[test]
fn fuzz_jobs() {
    type Parts = (bool, u8, [u32; 2], Option<String>, u8, u64, [u8; 16], Option<(u64, bool, u8)>);
    fuzz::<(Parts, Edits)>(|(parts, edits)| {
        let (urgent, priority, [errors, crashes], error, state, at, token, again) = parts;
        let lane = |urgent: bool| if urgent { Lane::Propagation } else { Lane::Recompute };
        let at = Timestamp::from_millis(*at);
        let job = StoredJob {
            lane: lane(*urgent),
            priority: *priority,
            errors: *errors,
            crashes: *crashes,
            error: error.clone(),
            stage: match state % 3 {
                0 => JobStage::Queued { due: at },
                1 => JobStage::Running {
                    token: Token::from_bytes(*token),
                    until: at,
                    again: again.map(|(due, urgent, priority)| Request {
                        due: Timestamp::from_millis(due),
                        lane: lane(urgent),
                        priority,
                    }),
                },
                _ => JobStage::DeadLetter { at },
            },
        };
        let whole = job.encode();
        assert_eq!(StoredJob::decode(&whole), Some(job));
        let bytes = Bytes::from(damaged(&whole, edits));
        if let Some(other) = bounded(bytes.len(), || StoredJob::decode(&bytes)) {
            assert_eq!(other.encode(), bytes, "{other:?} has one form");
        }
    });
}
