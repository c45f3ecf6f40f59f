//! The jobs that steps of stores and queues write.

use smache_core::{EntryId, Result};

use super::link::Step;
use crate::cells::id_list;

const NEED: &str = include_str!("../../queries/sqlite/need.sql");
const ENSURE: &str = "INSERT INTO smache_jobs (ns, id, lane, priority, state, at) VALUES ($1, $2, $3, $4, 0, $5) \
     ON CONFLICT DO NOTHING";
const TAKE_BACK: &str = "DELETE FROM smache_jobs WHERE ns = $1 AND state <> 1 \
     AND id IN (SELECT unhex(value) FROM json_each($2))";
const NOT_AGAIN: &str = "UPDATE smache_jobs SET again_at = NULL, again_lane = NULL, again_priority = NULL \
     WHERE ns = $1 AND state = 1 AND id IN (SELECT unhex(value) FROM json_each($2))";

/// How urgent the jobs are that the store itself writes.
pub(super) const USUAL_PRIORITY: i64 = smache_core::support::limits::USUAL_PRIORITY as i64;

/// Rows per statement.
pub(super) const PER_STATEMENT: usize = 1_000;

/// Byte strings as an array of JSON, which SQLite takes apart again.
pub(super) fn list<'a>(all: impl IntoIterator<Item = &'a [u8]>) -> String {
    let all: Vec<String> = all.into_iter().map(hex).collect();
    if all.is_empty() { "[]".to_owned() } else { format!("[\"{}\"]", all.join("\",\"")) }
}

pub(super) fn ids(all: &[EntryId]) -> String {
    list(id_list(all))
}

/// Pairs of a byte string and a number, likewise.
pub(super) fn pairs<'a>(all: impl IntoIterator<Item = (&'a [u8], i64)>) -> String {
    let all: Vec<String> = all.into_iter().map(|(bytes, number)| format!("[\"{}\",{number}]", hex(bytes))).collect();
    format!("[{}]", all.join(","))
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |half: u8| char::from(DIGITS[usize::from(half)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

impl Step<'_> {
    /// A change needs entries to be computed, each in a lane.
    pub(super) async fn need(&mut self, needs: &[(EntryId, i64)], priority: i64, due: i64) -> Result<()> {
        let ns = self.ns;
        for needs in needs.chunks(PER_STATEMENT) {
            let needs = pairs(needs.iter().map(|(id, lane)| (id.as_bytes().as_slice(), *lane)));
            self.execute(NEED, |query| query.bind(ns).bind(needs).bind(priority).bind(due)).await?;
            self.notify();
        }
        Ok(())
    }

    /// A job where there is none in any state. Says whether there was none.
    pub(super) async fn ensure(&mut self, id: &EntryId, lane: i64, priority: i64, due: i64) -> Result<bool> {
        let ns = self.ns;
        let id = id.as_bytes().to_vec();
        let bind = |query: super::link::Statement| query.bind(ns).bind(id).bind(lane).bind(priority).bind(due);
        let added = self.execute(ENSURE, bind).await? > 0;
        if added {
            self.notify();
        }
        Ok(added)
    }

    /// The entries are fresh or gone: queued jobs and dead letters have nothing to do, and running jobs need no second
    /// run.
    pub(super) async fn take_back(&mut self, all: &[EntryId]) -> Result<()> {
        let (ns, all) = (self.ns, ids(all));
        self.execute(TAKE_BACK, |query| query.bind(ns).bind(all.clone())).await?;
        self.execute(NOT_AGAIN, |query| query.bind(ns).bind(all)).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_strings_are_written_as_json() {
        assert_eq!(list([]), "[]");
        assert_eq!(list([&[0_u8, 0xaf][..], &[9]]), r#"["00af","09"]"#);
        assert_eq!(pairs([(&[1_u8][..], 0), (&[2], 1)]), r#"[["01",0],["02",1]]"#);
    }
}
