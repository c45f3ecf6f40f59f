//! The look-up: one round trip, no script, no write.

use redis::Value;
use smache_core::{EntryId, Lookup, Result};

use super::{
    RedisStore,
    record::{ENTRY_FIELDS, read_entry},
};
use crate::{error::unexpected, reply::time};

impl RedisStore {
    /// Reads the time first, then the validity, then the entries.
    ///
    /// Scripts of others may run between the commands of a pipeline. In this order each part is at least as new as the
    /// parts before it, which is safe: a script in between that invalidates and renews a validity, starts a new epoch,
    /// or catches up can only make an entry look *worse* than it is. The entries are the newest part, so they show
    /// every invalidation that the validity knows of; a validity that was read after an entry could confirm it for a
    /// change which that entry misses. The time is the oldest part, so "fresh as of" never promises a change that was
    /// acknowledged after the entry was read. The server's role comes last.
    pub(super) async fn look_up(&self, ids: &[EntryId]) -> Result<Lookup> {
        let mut commands = redis::Pipeline::with_capacity(ids.len() + 3);
        commands.cmd("TIME").cmd("HGETALL").arg(self.keys.validity());
        for id in ids {
            commands.cmd("HMGET").arg(self.keys.record(id)).arg(&ENTRY_FIELDS);
        }
        let (values, live) = self.link.read_primary(&mut commands).await?;
        let mut values = values.into_iter();
        let now = values.next().and_then(time).ok_or_else(|| unexpected("lookup"))?;
        let validity = match values.next() {
            Some(Value::ServerError(error)) => return Err(live.failed(error, &self.keys, self.keys.validity())),
            Some(value) => self.validity.read(value, self.keys.validity())?,
            None => return Err(unexpected("lookup")),
        };
        let mut entries = Vec::with_capacity(ids.len());
        for (id, value) in ids.iter().zip(values) {
            entries.push(match value {
                Value::Array(fields) => read_entry(fields, &self.keys, id),
                Value::ServerError(error) => return Err(live.failed(error, &self.keys, self.keys.record_name(id))),
                _ => return Err(unexpected("lookup")),
            });
        }
        if entries.len() != ids.len() {
            return Err(unexpected("lookup"));
        }
        Ok(Lookup { now, incarnation: live.incarnation.clone(), validity, entries })
    }
}
