//! Runs that wait for runs of other processes.

use smache_core::{EntryId, RecordWaits, Result};

use super::RedisStore;
use crate::{reply::Reply, script::RECORD_WAITS};

impl RedisStore {
    pub(super) async fn record_waits_of_runs(&self, wait: &RecordWaits) -> Result<Vec<(EntryId, EntryId)>> {
        let mut call = RECORD_WAITS.call(&self.keys);
        call.arg(wait.child.as_bytes()).millis(wait.lease);
        for waiting in &wait.runs {
            call.arg(waiting.id.as_bytes()).arg(waiting.token.as_bytes()).arg(waiting.child.as_bytes());
        }
        let mut reply = Reply::new(call.operation(), self.link.call(&call).await?)?;
        let mut waits = Vec::new();
        while !reply.is_empty() {
            let waiting = EntryId::from_slice(&reply.bytes()?)?;
            waits.push((waiting, EntryId::from_slice(&reply.bytes()?)?));
        }
        Ok(waits)
    }
}
