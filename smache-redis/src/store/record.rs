//! Records: hashes with a few short fields, of which a look-up reads the first four.

use std::sync::Arc;

use bytes::Bytes;
use redis::Value;
use smache_core::{
    Dependants, Dependency, EntryId, Epochs, FullRecord, Invalidation, Page, Record, Result, RunFailure, Staleness,
    StoredEntry, Timestamp, UsedDependency, Via,
    support::{edges, log_damaged_record},
};

use super::RedisStore;
use crate::{
    connection::Live,
    error::unexpected,
    keys::Keys,
    reply::{fields, time},
};

/// The fields of a look-up: header, staleness, meta and value.
pub(super) const ENTRY_FIELDS: [&str; 4] = ["h", "s", "m", "v"];

/// The missing or unreadable field of a record.
pub(super) type Broken = &'static str;

/// An unreadable record counts as absent, and the next run replaces it: no other entry waits for an operator.
pub(super) fn as_absent(keys: &Keys, id: &EntryId, field: Broken) {
    let key = keys.record_name(id);
    log_damaged_record(key, format_args!("its field `{field}` is missing or cannot be read"));
}

/// The entry in the answer to a look-up; `None` where the record is missing or unreadable.
pub(super) fn read_entry(values: Vec<Value>, keys: &Keys, id: &EntryId) -> Option<StoredEntry> {
    parse_entry(values).unwrap_or_else(|field| {
        as_absent(keys, id, field);
        None
    })
}

pub(super) fn parse_entry(values: Vec<Value>) -> Result<Option<StoredEntry>, Broken> {
    let [header, stale, meta, value] = <[Value; 4]>::try_from(values).map_err(|_| "h")?;
    let stale = match stale {
        Value::Nil => None,
        Value::BulkString(stale) => Some(stale),
        _ => return Err("s"),
    };
    match (header, meta, value) {
        (Value::Nil, Value::Nil, Value::Nil) if stale.is_none() => Ok(None),
        (Value::BulkString(header), Value::BulkString(meta), Value::BulkString(value)) => {
            entry(&header, stale.as_deref(), meta, value).map(Some)
        }
        (Value::BulkString(_), Value::BulkString(_), _) => Err("v"),
        (Value::BulkString(_), _, _) => Err("m"),
        _ => Err("h"),
    }
}

fn entry(header: &[u8], stale: Option<&[u8]>, meta: Vec<u8>, value: Vec<u8>) -> Result<StoredEntry, Broken> {
    let (version, stored_at, expires, epochs) = parse_header(header).ok_or("h")?;
    let (staleness, since) = match stale {
        None => (Staleness::Fresh, None),
        Some(stale) => parse_staleness(stale).map(|(staleness, since)| (staleness, Some(since))).ok_or("s")?,
    };
    Ok(StoredEntry {
        value: Bytes::from(value),
        meta: Bytes::from(meta),
        version,
        epochs,
        staleness,
        since,
        stored_at: Timestamp::from_millis(stored_at),
        expires: (expires != 0).then(|| Timestamp::from_millis(expires)),
    })
}

fn parse_header(header: &[u8]) -> Option<(u64, u64, u64, Epochs)> {
    let (version, rest) = header.split_first_chunk()?;
    let (stored_at, rest) = rest.split_first_chunk()?;
    let (expires, epochs) = rest.split_first_chunk()?;
    let [version, stored_at, expires] = [version, stored_at, expires].map(|bytes| u64::from_be_bytes(*bytes));
    Some((version, stored_at, expires, Epochs::decode(epochs)?))
}

fn parse_staleness(stale: &[u8]) -> Option<(Staleness, Timestamp)> {
    let (level, since) = stale.split_first()?;
    let staleness = match level {
        b'1' => Staleness::MaybeStale,
        b'2' => Staleness::Stale,
        _ => return None,
    };
    Some((staleness, Timestamp::from_millis(std::str::from_utf8(since).ok()?.parse().ok()?)))
}

/// The dependencies in the form that a commit writes: those with an edge, each once, and those that it only checks.
pub(super) fn encode_used(used: &[UsedDependency]) -> (Vec<u8>, Vec<u8>) {
    let guards = used.iter().filter(|used| used.via == Via::Guard).flat_map(|used| *used.dependency.as_bytes());
    (UsedDependency::encode_edges(&edges(used)), guards.collect())
}

fn decode_causes(mut bytes: &[u8]) -> Option<Vec<Arc<str>>> {
    let mut causes = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let (cause, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
        causes.push(Arc::from(String::from_utf8_lossy(cause).as_ref()));
        bytes = rest;
    }
    bytes.is_empty().then_some(causes)
}

fn decode_failure(bytes: &[u8]) -> Option<RunFailure> {
    let (at, message) = bytes.split_first_chunk()?;
    Some(RunFailure {
        message: String::from_utf8_lossy(message).into_owned(),
        at: Timestamp::from_millis(u64::from_be_bytes(*at)),
    })
}

/// Reads a whole record. Fields that only explain or delay may be missing.
pub(super) fn parse_record(found: Vec<(Vec<u8>, Vec<u8>)>) -> Result<Record, Broken> {
    let mut header = None;
    let mut stale = None;
    let mut meta = None;
    let mut value = None;
    let mut call = None;
    let mut used = None;
    let mut causes = Vec::new();
    let mut lazy = false;
    let mut conflicts = 0;
    let mut failures = 0;
    let mut last_failure = None;
    let count = |bytes: &[u8]| std::str::from_utf8(bytes).ok()?.parse().ok();
    for (name, bytes) in found {
        match name.as_slice() {
            b"h" => header = Some(bytes),
            b"s" => stale = Some(bytes),
            b"m" => meta = Some(bytes),
            b"v" => value = Some(bytes),
            b"k" => call = Some(bytes),
            b"u" => used = Some(UsedDependency::decode_edges(&bytes).ok_or("u")?),
            b"c" => causes = decode_causes(&bytes).unwrap_or_default(),
            b"z" => lazy = true,
            b"n" => conflicts = count(&bytes).unwrap_or_default(),
            b"f" => failures = count(&bytes).unwrap_or_default(),
            b"l" => last_failure = decode_failure(&bytes),
            _ => {}
        }
    }
    let entry = entry(&header.ok_or("h")?, stale.as_deref(), meta.ok_or("m")?, value.ok_or("v")?)?;
    let mut record = Record::new(entry, Bytes::from(call.ok_or("k")?), used.ok_or("u")?);
    record.causes = causes;
    record.lazy = lazy;
    record.conflicts = conflicts;
    record.failures = failures;
    record.last_failure = last_failure;
    Ok(record)
}

impl RedisStore {
    pub(super) async fn whole_record(&self, id: &EntryId) -> Result<Option<Record>> {
        let mut commands = redis::pipe();
        commands.cmd("HGETALL").arg(self.keys.record(id));
        let (mut values, live) = self.link.read(&commands).await?;
        self.record_of(id, values.pop(), &live).await
    }

    /// In the order of a look-up, for the same reasons.
    pub(super) async fn read_full_record(&self, id: &EntryId) -> Result<FullRecord> {
        let mut commands = redis::pipe();
        commands.cmd("TIME").cmd("HGETALL").arg(self.keys.validity()).cmd("HGETALL").arg(self.keys.record(id));
        let (values, live) = self.link.read_primary(&mut commands).await?;
        let [now, validity, record] = <[Value; 3]>::try_from(values).map_err(|_| unexpected("read_record"))?;
        let validity = match validity {
            Value::ServerError(error) => return Err(live.failed(error, &self.keys, self.keys.validity())),
            validity => self.validity.read(validity, self.keys.validity())?,
        };
        let now = time(now).ok_or_else(|| unexpected("read_record"))?;
        let record = self.record_of(id, Some(record), &live).await?;
        Ok(FullRecord { now, incarnation: live.incarnation.clone(), validity, record })
    }

    /// A page of the edges of a dependency.
    pub(super) async fn dependants_page(&self, dependency: &Dependency, page: &Page) -> Result<Dependants> {
        let mut commands = redis::pipe();
        let cursor = page.cursor.as_deref().unwrap_or(b"0");
        commands.cmd("HSCAN").arg(self.keys.edges(dependency)).arg(cursor).arg("COUNT").arg(page.limit.max(1));
        let (mut values, live) = self.link.read(&commands).await?;
        let broken = || unexpected("dependants");
        let (cursor, edges) = match values.pop() {
            Some(Value::ServerError(error)) => return Err(live.failed(error, &self.keys, self.keys.prefix())),
            Some(Value::Array(answer)) => {
                <[Value; 2]>::try_from(answer).map(|[cursor, edges]| (cursor, edges)).map_err(|_| broken())?
            }
            _ => return Err(broken()),
        };
        let (Value::BulkString(cursor), Some(edges)) = (cursor, fields(edges)) else { return Err(broken()) };
        let one = |(id, via): (Vec<u8>, Vec<u8>)| {
            let via = if via == b"1" { Via::Direct } else { Via::Child };
            EntryId::from_slice(&id).map(|id| (id, via))
        };
        let entries = edges.into_iter().map(one).collect::<Result<_>>()?;
        Ok(Dependants { entries, next: (cursor != b"0").then(|| cursor.into()) })
    }

    async fn record_of(&self, id: &EntryId, answer: Option<Value>, live: &Live) -> Result<Option<Record>> {
        let found = match answer {
            Some(Value::ServerError(error)) => return Err(live.failed(error, &self.keys, self.keys.record_name(id))),
            value => value.and_then(fields).ok_or_else(|| unexpected("inspect"))?,
        };
        if found.is_empty() {
            return Ok(None);
        }
        match parse_record(found) {
            Ok(record) => Ok(Some(record)),
            Err(field) => {
                as_absent(&self.keys, id, field);
                // A look-up reads fewer fields, and may call the entry fresh; a caller that needs the whole record
                // would wait without end.
                self.invalidate_all(&Invalidation { entries: vec![*id], ..Invalidation::default() }).await?;
                Ok(None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dependency(number: u8) -> Dependency {
        Dependency::from_bytes([number; 16])
    }

    #[test]
    fn a_guard_is_checked_and_has_no_edge() {
        let used = |number, via| UsedDependency { dependency: dependency(number), via };
        let (edges, guards) = encode_used(&[used(1, Via::Child), used(3, Via::Guard), used(3, Via::Child)]);
        assert_eq!(UsedDependency::decode_edges(&edges), Some(vec![used(1, Via::Child), used(3, Via::Child)]));
        assert_eq!(guards, [3; 16]);
    }

    #[test]
    fn half_a_cause_or_a_header_is_refused() {
        assert_eq!(decode_causes(&[0, 3, b'a', b'b']), None);
        assert_eq!(decode_causes(&[0, 2, b'a', b'b']), Some(vec![Arc::from("ab")]));
        assert_eq!(decode_failure(&[0; 7]), None);
        let broken = |header: &[u8], stale| entry(header, stale, Vec::new(), Vec::new()).err();
        assert_eq!(broken(&[0; 39], None), Some("h"));
        assert_eq!(broken(&[0; 40], None), None);
        for stale in [&b"3100"[..], b"", b"2", b"2x"] {
            assert_eq!(broken(&[0; 40], Some(stale)), Some("s"));
        }
    }
}
