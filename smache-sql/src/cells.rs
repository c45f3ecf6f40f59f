//! The cells of a row, whichever database it came from, and the values that go into one.

pub(crate) use smache_core::support::{count, few, millis, number, time};
use smache_core::{EntryId, Lane, Timestamp, support};

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

pub(crate) fn timestamp(cell: i64) -> Timestamp {
    Timestamp::from_millis(count(cell))
}

/// A number that counts something. No count comes near [`LATEST`](support::LATEST), so that the next one is a number too.
#[cfg(feature = "sqlite")]
pub(crate) fn whole_count(cell: i64) -> Option<u64> {
    u64::try_from(cell).ok().filter(|count| *count < support::LATEST)
}

/// The start of a text that fits into some bytes, without zeros, which PostgreSQL cannot store in a text.
pub(crate) fn clip(text: &str, bytes: usize) -> String {
    support::clip(text, bytes).replace('\0', " ")
}

/// How tables name a lane; the urgent one sorts first.
pub(crate) fn lane_number(lane: Lane) -> i64 {
    match lane {
        Lane::Propagation => 0,
        Lane::Recompute => 1,
    }
}

/// The lane that a table names.
pub(crate) fn lane(cell: Option<i64>) -> Option<Lane> {
    match cell {
        Some(0) => Some(Lane::Propagation),
        Some(1) => Some(Lane::Recompute),
        _ => None,
    }
}

/// Ids as an array of cells.
pub(crate) fn id_list(ids: &[EntryId]) -> Vec<&[u8]> {
    ids.iter().map(|id| id.as_bytes().as_slice()).collect()
}
