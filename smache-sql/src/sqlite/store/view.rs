//! What the steps on one entry read: a view of the protocol in one statement.

use smache_core::{
    Dependency, EntryId, Epoch, Epochs, Result, RunFailure, Staleness, Token, UsedDependency,
    protocol::{Changes, Head, Run},
};
use sqlx::sqlite::SqliteRow;

use super::{Step, runs::bytes};
use crate::{
    cells::{Cells, count, few, number, timestamp},
    record::decode_causes,
    sqlite::jobs::{Jobs, list},
};

const VIEW: &str = include_str!("../../../queries/sqlite/view.sql");

/// The parts of an entry, of one moment.
#[derive(Default)]
pub(super) struct View {
    pub(super) run: Option<Run>,
    pub(super) head: Option<Head>,
    /// The edges of the record as it keeps them.
    pub(super) used: Vec<u8>,
    /// The changes of the dependencies of a commit. No invalidation takes two steps, so none is under way.
    pub(super) changes: Changes,
    pub(super) jobs: Jobs,
}

impl Step<'_> {
    /// The parts of an entry.
    pub(super) async fn view(&mut self, id: &EntryId) -> Result<View> {
        self.view_with_changes(id, &[], u64::MAX).await
    }

    /// The same with the changes of dependencies after a revision.
    pub(super) async fn view_with_changes(
        &mut self,
        id: &EntryId,
        used: &[UsedDependency],
        after: u64,
    ) -> Result<View> {
        let ns = self.ns;
        let of = list(used.iter().map(|used| used.dependency.as_bytes().as_slice()));
        let bind = |query: super::Statement| query.bind(ns).bind(bytes(id)).bind(of).bind(number(after));
        let rows = self.rows(VIEW, bind).await?;
        let mut view = View::default();
        (view.changes.revision, view.changes.low_watermark) = (self.revision, self.low_watermark);
        for row in &rows {
            view.take(id, row).map_err(|error| self.failed(error))?;
        }
        Ok(view)
    }
}

impl View {
    fn take(&mut self, id: &EntryId, row: &SqliteRow) -> Result<(), sqlx::Error> {
        let cell = |place| row.int(place).map(Option::unwrap_or_default);
        match row.int(0)? {
            Some(0) => self.run = run(row, 1, 5)?,
            Some(1) => {
                self.used = row.bytes(2)?.unwrap_or_default();
                self.head = Some(head(row)?);
            }
            Some(2) => {
                let dependency = row.bytes(1)?.and_then(|bytes| Dependency::from_slice(&bytes).ok());
                self.changes.last.extend(dependency.zip(Some(count(cell(5)?))));
            }
            _ => self.jobs.read(*id, row)?,
        }
        Ok(())
    }
}

/// A run from its token, and its start and the end of its lease side by side. The notes of waits are in a table of their
/// own. One whose token is damaged belongs to no caller.
pub(super) fn run(row: &SqliteRow, token: usize, numbers: usize) -> Result<Option<Run>, sqlx::Error> {
    let Some(bytes) = row.bytes(token)? else { return Ok(None) };
    let token = Token::from_slice(&bytes).unwrap_or(Token::from_bytes([0; Token::LEN]));
    let cell = |place| row.int(place).map(Option::unwrap_or_default);
    let (start_revision, until) = (count(cell(numbers)?), timestamp(cell(numbers + 1)?));
    Ok(Some(Run { token, start_revision, until, waits: Vec::new() }))
}

/// The head of a record. A damaged part makes it as stale as can be, so that it is computed again.
fn head(row: &SqliteRow) -> Result<Head, sqlx::Error> {
    let cell = |place| row.int(place).map(Option::unwrap_or_default);
    let epochs = row.bytes(1)?.and_then(|bytes| Epochs::decode(&bytes));
    let unreadable = || Epochs { global: Epoch::from_bytes([0; Epoch::LEN]), sources: Vec::new() };
    let staleness = match cell(6)? {
        0 => Staleness::Fresh,
        1 => Staleness::MaybeStale,
        _ => Staleness::Stale,
    };
    let failed_at = row.int(12)?.map(timestamp);
    let failure = row.text(4).ok().flatten().zip(failed_at);
    Ok(Head {
        version: count(cell(5)?),
        epochs: epochs.unwrap_or_else(unreadable),
        staleness,
        since: row.int(7)?.map(timestamp).filter(|_| staleness != Staleness::Fresh),
        stored_at: timestamp(cell(8)?),
        expires: row.int(9)?.map(timestamp),
        lazy: cell(13)? != 0,
        conflicts: few(cell(10)?),
        failures: few(cell(11)?),
        last_failure: failure.map(|(message, at)| RunFailure { message, at }),
        causes: row.text(3).ok().flatten().and_then(|causes| decode_causes(&causes).ok()).unwrap_or_default(),
    })
}
