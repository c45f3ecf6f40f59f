//! Where a stream stands in the history, and how that is written down.

use std::collections::BTreeMap;

use bytes::Bytes;
use smache_core::{Error, ErrorKind, Position, Result};

use super::snapshot::{Snapshot, decode_number, encode_number};

/// The form of a token.
const FORM: u8 = 2;

/// The most bytes of a token. A position is bounded; some 4,000 running transactions fit.
const MAX_TOKEN: usize = 16 * 1024;

/// Where a stream stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Which history: the server, the database and the change table.
    pub(super) history: String,
    /// Everything that it sees was delivered.
    pub(super) seen: Snapshot,
    /// The columns of the tables, hashed into one number each.
    pub(super) columns: BTreeMap<String, i64>,
    /// More than one batch is on the way from `seen` to a later snapshot.
    pub(super) reading: Option<Reading>,
}

/// A read that takes several batches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reading {
    /// The snapshot that it reads up to.
    pub(super) target: Snapshot,
    /// Of the rows that only the target sees, those up to this number were delivered.
    pub(super) row: i64,
}

impl Place {
    /// As a position.
    ///
    /// It is ordered by the snapshot that is read *up to*, then by the row, where the last one counts as the end. A
    /// store takes a position to mean that all before it is done, and skips a replay of that. So two reads may only
    /// come to the same position if they delivered the same: a read with another target must not come to lie between
    /// those of the first, whatever the snapshot that both began with.
    pub(super) fn position(&self) -> Result<Position> {
        let mut token = vec![FORM];
        encode_number(&mut token, self.history.len() as u64);
        token.extend_from_slice(self.history.as_bytes());
        self.seen.encode(&mut token);
        encode_number(&mut token, self.columns.len() as u64);
        for (table, columns) in &self.columns {
            encode_number(&mut token, table.len() as u64);
            token.extend_from_slice(table.as_bytes());
            token.extend_from_slice(&columns.to_be_bytes());
        }
        if let Some(reading) = &self.reading {
            reading.target.encode(&mut token);
            token.extend_from_slice(&reading.row.to_be_bytes());
        }
        if token.len() > MAX_TOKEN {
            let message = format!(
                "the position in the changes of PostgreSQL has {} bytes because too many transactions are running: end \
                 those that are idle",
                token.len()
            );
            return Err(Error::new(ErrorKind::TooLarge, message));
        }
        let (snapshot, row) = match &self.reading {
            Some(reading) => (&reading.target, reading.row),
            None => (&self.seen, i64::MAX),
        };
        let order = [&snapshot.order()[..], &row.to_be_bytes()].concat();
        Ok(Position::new(&self.history, order, token))
    }

    /// The place of a position. A position that this crate did not make is not in the history.
    pub(super) fn restore(position: &Position) -> Result<Self> {
        Self::decode(&position.token).ok_or_else(|| {
            Error::new(ErrorKind::HistoryLost, "the saved position is not one in the changes of PostgreSQL")
        })
    }

    fn decode(token: &Bytes) -> Option<Self> {
        let mut bytes = token.strip_prefix(&[FORM])?;
        let history = decode_text(&mut bytes)?;
        let seen = Snapshot::decode(&mut bytes)?;
        let mut columns = BTreeMap::new();
        for _ in 0..decode_number(&mut bytes)? {
            let table = decode_text(&mut bytes)?;
            let (number, rest) = bytes.split_first_chunk()?;
            columns.insert(table, i64::from_be_bytes(*number));
            bytes = rest;
        }
        if bytes.is_empty() {
            return Some(Self { history, seen, columns, reading: None });
        }
        let target = Snapshot::decode(&mut bytes)?;
        let row = i64::from_be_bytes(bytes.try_into().ok()?);
        Some(Self { history, seen, columns, reading: Some(Reading { target, row }) })
    }
}

fn decode_text(bytes: &mut &[u8]) -> Option<String> {
    let length = usize::try_from(decode_number(bytes)?).ok()?;
    let (text, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    std::str::from_utf8(text).ok().map(str::to_owned)
}

#[cfg(test)]
mod tests;
