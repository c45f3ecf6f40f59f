//! Cached errors: stored in the place of a value with the reads of the run, so that a change ends them at once.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::{Engine, Function};
use crate::{
    Begun, EntryId, Error, ErrorKind, Freshness, Lookup, Result, StoredEntry,
    call_key::CallKey,
    codec,
    error::Verdict,
    tracking::{FailedReads, Meta},
};

/// The stored form of an error, behind the byte that marks one.
#[derive(Debug, Serialize, Deserialize)]
struct Remembered {
    gone: bool,
    verdict: u8,
    message: String,
    cause: Option<String>,
}

/// The text of a cached error's causes.
#[derive(Debug)]
struct Cause(String);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Cause {}

/// Whether an error may be cached: the data explain it.
pub(super) fn is_lasting(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Function | ErrorKind::Gone) && error.is_explained()
}

/// Whether the entry has a stored value, which a failed run leaves there.
pub(super) fn has_value(begun: &Begun) -> bool {
    begun.entry.as_ref().is_some_and(|entry| !codec::is_failure(&entry.value) && !entry.is_expired(begun.now))
}

/// Encodes an error.
pub(super) fn write(error: &Error) -> Bytes {
    let message = error.to_string();
    let report = error.report();
    let cause = report.strip_prefix(&message).and_then(|rest| rest.strip_prefix(": ")).map(str::to_owned);
    let verdict = match error.verdict() {
        Verdict::Open | Verdict::Slow => 0,
        Verdict::Permanent => 1,
        Verdict::Gone => 2,
    };
    let remembered = Remembered { gone: error.kind() == ErrorKind::Gone, verdict, message, cause };
    let mut bytes = BytesMut::new();
    bytes.put_u8(codec::FAILURE);
    bytes.put_slice(&serde_json::to_vec(&remembered).expect("numbers and texts are JSON"));
    bytes.freeze()
}

/// Decodes the error that is stored in the place of a value.
fn read(value: &[u8]) -> Option<Error> {
    let (&codec::FAILURE, rest) = value.split_first()? else { return None };
    let remembered: Remembered = serde_json::from_slice(rest).ok()?;
    let kind = if remembered.gone { ErrorKind::Gone } else { ErrorKind::Function };
    let error = Error::new(kind, remembered.message).with_verdict(match remembered.verdict {
        1 => Verdict::Permanent,
        2 => Verdict::Gone,
        _ => Verdict::Open,
    });
    Some(match remembered.cause {
        Some(cause) => error.with_source(Cause(cause)),
        None => error,
    })
}

impl Engine {
    /// The cached error of a call, unless it has expired or a change has affected it.
    pub(super) fn remembered(
        &self,
        function: &Function,
        key: &CallKey,
        lookup: &Lookup,
        entry: &StoredEntry,
    ) -> Option<(Error, Freshness)> {
        function.cache_errors?;
        let error = read(&entry.value)?;
        let meta = Meta::read(&entry.meta).filter(|meta| meta.check == key.check)?;
        let freshness = self.freshness(&lookup.validity, entry, Some(&meta), lookup.now, &lookup.incarnation);
        let counts = !entry.is_expired(lookup.now) && !matches!(freshness, Freshness::Stale { .. });
        counts.then_some((error, freshness))
    }

    /// The same for the caller of a nested call, which depends on all reads of the failed run. Only a fresh error
    /// counts: then no change was missed, whenever the failed run began.
    pub(super) async fn remembered_for_caller(&self, function: &Function, id: &EntryId) -> Result<Option<Error>> {
        if function.cache_errors.is_none() {
            return Ok(None);
        }
        let full = self.timed("read_record", self.store.read_record(id)).await?;
        let Some(record) = full.record else { return Ok(None) };
        let Some(meta) = Meta::read(&record.entry.meta) else { return Ok(None) };
        let freshness = self.freshness(&full.validity, &record.entry, Some(&meta), full.now, &full.incarnation);
        if !freshness.is_fresh() || record.entry.is_expired(full.now) {
            return Ok(None);
        }
        Ok(read(&record.entry.value).map(|error| error.of_run(FailedReads::kept(&record, &meta))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_comes_back_with_its_kind_and_its_text() {
        let own = Error::new(ErrorKind::Function, "the computed function `f` failed")
            .with_source(std::io::Error::other("disk"))
            .with_context("function", "f")
            .with_verdict(Verdict::Permanent);
        for error in [own, Error::new(ErrorKind::Gone, "no such user")] {
            let again = read(&write(&error)).expect("it is one");
            assert_eq!(
                (again.kind(), again.verdict(), again.report()),
                (error.kind(), error.verdict(), error.report())
            );
        }
        assert!(read(b"\x01{}").is_none() && read(b"").is_none());
    }
}
