//! The cells of a row, whichever database it came from, and the values that go into one.

use std::time::Duration;

use smache_core::{EntryId, Lane, Timestamp};

/// A row by its columns' places. Numbers are 64 bits in every table and every answer.
pub(crate) trait Cells: Send {
    fn int(&self, place: usize) -> Result<Option<i64>, sqlx::Error>;
    fn bytes(&self, place: usize) -> Result<Option<Vec<u8>>, sqlx::Error>;
    fn text(&self, place: usize) -> Result<Option<String>, sqlx::Error>;
}

macro_rules! cells {
    ($row:ty) => {
        impl Cells for $row {
            fn int(&self, place: usize) -> Result<Option<i64>, sqlx::Error> {
                sqlx::Row::try_get(self, place)
            }

            fn bytes(&self, place: usize) -> Result<Option<Vec<u8>>, sqlx::Error> {
                sqlx::Row::try_get(self, place)
            }

            fn text(&self, place: usize) -> Result<Option<String>, sqlx::Error> {
                sqlx::Row::try_get(self, place)
            }
        }
    };
}

#[cfg(feature = "postgres")]
cells!(sqlx::postgres::PgRow);
#[cfg(feature = "sqlite")]
cells!(sqlx::sqlite::SqliteRow);

/// Times and durations beyond it are as good as endless, and sums of some still fit into a cell.
const LATEST: u64 = 1 << 60;

pub(crate) fn millis(duration: Duration) -> i64 {
    number(u64::try_from(duration.as_millis()).unwrap_or(LATEST))
}

pub(crate) fn time(time: Timestamp) -> i64 {
    number(time.as_millis())
}

/// A number as a cell holds it.
pub(crate) fn number(number: u64) -> i64 {
    number.min(LATEST).cast_signed()
}

/// A number that is never negative.
pub(crate) fn count(cell: i64) -> u64 {
    u64::try_from(cell).unwrap_or(0)
}

pub(crate) fn few(cell: i64) -> u32 {
    u32::try_from(cell.max(0)).unwrap_or(u32::MAX)
}

pub(crate) fn timestamp(cell: i64) -> Timestamp {
    Timestamp::from_millis(count(cell))
}

/// The start of a text that fits into some bytes, without zeros, which PostgreSQL cannot store in a text.
pub(crate) fn clip(text: &str, bytes: usize) -> String {
    text[..text.floor_char_boundary(bytes)].replace('\0', " ")
}

/// How tables name a lane; the urgent one sorts first.
pub(crate) fn lane_number(lane: Lane) -> i64 {
    match lane {
        Lane::Propagation => 0,
        Lane::Recompute => 1,
    }
}

/// Ids as an array of cells.
pub(crate) fn id_list(ids: &[EntryId]) -> Vec<&[u8]> {
    ids.iter().map(|id| id.as_bytes().as_slice()).collect()
}

/// How many bytes of a cause are kept.
pub(crate) const KEPT_CAUSE: usize = 200;

/// How many bytes of an error are kept.
pub(crate) const KEPT_ERROR: usize = 2_000;
