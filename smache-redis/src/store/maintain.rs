//! Maintenance, and the listing of stale entries.

use smache_core::{
    Dependency, EntryId, Epoch, InvalidationAttempt, Maintained, Page, Result, Scanned, Timestamp,
    support::log_damaged_mark,
};

use super::{RedisStore, ids, invalidate::Unfinished};
use crate::{
    error::{corrupt, unexpected},
    reply::Reply,
    script::{MAINTAIN, STALE, WITHDRAW},
};

/// The most that one call of the script does of each kind: some milliseconds of the server's time.
const PER_CALL: usize = 250;

impl RedisStore {
    pub(super) async fn run_maintenance(&self, limit: usize) -> Result<Maintained> {
        let limit = limit.max(1);
        let live = self.link.live().await?;
        let mut done = Maintained::default();
        let mut left = limit;
        while left > 0 {
            let mut call = self.step(&MAINTAIN);
            call.arg(left.min(PER_CALL)).arg(Epoch::random().as_bytes());
            left -= left.min(PER_CALL);
            let mut reply = Reply::new(call.operation(), live.call(&call).await?)?;
            done.expired += reply.number()?;
            done.reaped += reply.number()?;
            done.trimmed += reply.number()?;
            done.marked += reply.number()?;
            done.more = reply.number()? == 1;
            let mut overdue = Vec::new();
            let mut marks = reply.list()?;
            while let Some(mark) = marks.next() {
                let mark = crate::reply::bytes(mark).ok_or_else(|| unexpected("maintain"))?;
                let deadline = marks.next().and_then(crate::reply::bytes).ok_or_else(|| unexpected("maintain"))?;
                let dependency = match mark.get(..Dependency::LEN) {
                    Some(dependency) if mark.len() == Dependency::LEN + InvalidationAttempt::LEN => {
                        Dependency::from_slice(dependency)?
                    }
                    _ => {
                        // The change of an unreadable mark is unknown: a new epoch makes everything stale instead.
                        log_damaged_mark(self.keys.of("md"));
                        self.start_epoch().await?;
                        let mut call = self.step(&WITHDRAW);
                        live.call(call.arg(&mark).arg(&deadline)).await?;
                        continue;
                    }
                };
                overdue.push(Unfinished { mark, dependency, deadline });
            }
            done.jobs.extend(ids(reply.list()?)?);
            if !overdue.is_empty() {
                done.redone += overdue.len() as u64;
                done.jobs.extend(self.redo(&live, &overdue).await?.jobs);
            }
            if !done.more {
                break;
            }
        }
        done.jobs.sort_unstable();
        done.jobs.dedup();
        Ok(done)
    }

    /// A cursor is the time since when the last entry of a page is stale, as eight bytes, and its id: an entry that
    /// stays stale keeps that place.
    pub(super) async fn stale_page(&self, page: &Page) -> Result<Scanned> {
        let limit = page.limit.max(1);
        let mut call = STALE.call(&self.keys);
        match &page.cursor {
            Some(cursor) => {
                let place = cursor.split_first_chunk().filter(|(_, id)| id.len() == EntryId::LEN);
                let (since, id) =
                    place.ok_or_else(|| corrupt("the cursor is not one of this store", self.keys.of("s")))?;
                call.arg(u64::from_be_bytes(*since)).arg(id);
            }
            None => {
                call.arg("").arg("");
            }
        }
        // An entry beyond the limit means that there is another page.
        call.arg(limit.min(10_000) + 1);
        let mut reply = Reply::new(call.operation(), self.link.call(&call).await?)?;
        let mut entries = Vec::new();
        while !reply.is_empty() {
            let id = EntryId::from_slice(&reply.bytes()?)?;
            entries.push((id, reply.time()?));
        }
        let more = entries.len() > limit.min(10_000);
        entries.truncate(limit.min(10_000));
        let next = entries.last().filter(|_| more).map(|(id, since)| place(id, *since).into());
        Ok(Scanned { entries, next })
    }
}

fn place(id: &EntryId, since: Timestamp) -> Vec<u8> {
    [since.as_millis().to_be_bytes().as_slice(), id.as_bytes()].concat()
}
