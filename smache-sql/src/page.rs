//! Pages of a listing, in the order of the ids, which stays the same whatever changes meanwhile.

use bytes::Bytes;
use smache_core::{EntryId, Page, Result};

use crate::{
    cells::Cells,
    error::{corrupt, failed},
};

/// The bytes of the id that a page starts after.
pub(crate) fn after(cursor: Option<&[u8]>) -> Result<Vec<u8>> {
    let id = cursor.map(Page::id_in).transpose()?;
    Ok(id.map(|id| id.as_bytes().to_vec()).unwrap_or_default())
}

/// The rows of a page, each with the id in its first column.
pub(crate) struct Listing<'a, R> {
    pub(crate) rows: Vec<(EntryId, &'a R)>,
    pub(crate) next: Option<Bytes>,
}

impl<'a, R: Cells> Listing<'a, R> {
    /// A page asks for one row more than it holds, which tells whether another page follows. A row whose id is damaged
    /// belongs to no entry, and is skipped.
    pub(crate) fn read(rows: &'a [R], limit: usize, database: &str) -> Result<Self> {
        let one = |row: &'a R| {
            let id = row.bytes(0).map_err(|error| failed(error, database))?;
            let id = id.ok_or_else(|| corrupt("a row of a table `smache_*` has no id: remove it"))?;
            Ok(EntryId::from_slice(&id).ok().map(|id| (id, row)))
        };
        let read: Vec<_> = rows.iter().take(limit).filter_map(|row| one(row).transpose()).collect::<Result<_>>()?;
        let more = rows.len() > limit;
        let next = read.last().filter(|_| more).map(|(id, _)| Bytes::copy_from_slice(id.as_bytes()));
        Ok(Self { rows: read, next })
    }
}
