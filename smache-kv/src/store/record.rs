//! Records: the fields that every invalidation changes, the value, and its origin, each under a separate key.

use std::sync::Arc;

use bytes::Bytes;
use smache_core::{
    Dependency, EntryId, Epoch, Epochs, Record, Result, RunFailure, SourceId, Staleness, StoredEntry, Timestamp,
    UsedDependency, Via,
    protocol::{Head, JobWrite},
    support::{EdgeChanges, log_damaged_record, log_damaged_state},
};

use crate::{
    codec::{Persisted, Reader, Writer},
    damage::Part,
    keys::Role,
    step::Step,
};

/// The part of a record that only a commit writes and every hit reads.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Body {
    pub(super) value: Bytes,
    pub(super) meta: Bytes,
}

/// The part of a record that only a commit writes and only runs and inspections read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Lineage {
    pub(super) call: Bytes,
    pub(super) used: Vec<UsedDependency>,
}

impl Persisted for Head {
    fn encode(&self) -> Bytes {
        let mut writer = Writer::new();
        writer.u64(self.version).u8(self.staleness as u8).time(self.stored_at);
        writer.option(self.since, |writer, since| writer.time(since));
        writer.option(self.expires, |writer, expires| writer.time(expires));
        writer.raw(self.epochs.global.as_bytes()).count(self.epochs.sources.len());
        for (source, epoch) in &self.epochs.sources {
            writer.bytes(source.as_str().as_bytes()).raw(epoch.as_bytes());
        }
        writer.u8(self.lazy.into()).u32(self.conflicts).u32(self.failures);
        writer.option(self.last_failure.as_ref(), |writer, failure| {
            writer.bytes(failure.message.as_bytes()).time(failure.at)
        });
        writer.count(self.causes.len());
        for cause in &self.causes {
            writer.bytes(cause.as_bytes());
        }
        writer.done()
    }

    fn decode(bytes: &Bytes) -> Option<Self> {
        Reader::read(bytes, |reader| {
            Some(Self {
                version: reader.u64()?,
                staleness: match reader.u8()? {
                    0 => Staleness::Fresh,
                    1 => Staleness::MaybeStale,
                    2 => Staleness::Stale,
                    _ => return None,
                },
                stored_at: reader.time()?,
                since: reader.option(Reader::time)?,
                expires: reader.option(Reader::time)?,
                epochs: Epochs {
                    global: Epoch::from_bytes(reader.array()?),
                    sources: reader.list(|reader| {
                        Some((SourceId::new(reader.text()?).ok()?, Epoch::from_bytes(reader.array()?)))
                    })?,
                },
                lazy: reader.flag()?,
                conflicts: reader.u32()?,
                failures: reader.u32()?,
                last_failure: reader
                    .option(|reader| Some(RunFailure { message: reader.text()?, at: reader.time()? }))?,
                causes: reader.list(|reader| reader.text().map(Arc::from))?,
            })
        })
    }
}

impl Persisted for Body {
    fn encode(&self) -> Bytes {
        Writer::new().bytes(&self.meta).bytes(&self.value).done()
    }

    fn decode(bytes: &Bytes) -> Option<Self> {
        Reader::read(bytes, |reader| Some(Self { meta: reader.bytes()?, value: reader.bytes()? }))
    }
}

impl Persisted for Lineage {
    fn encode(&self) -> Bytes {
        let mut writer = Writer::new();
        writer.bytes(&self.call).count(self.used.len());
        for UsedDependency { dependency, via } in &self.used {
            writer.raw(dependency.as_bytes()).u8(via_byte(*via));
        }
        writer.done()
    }

    fn decode(bytes: &Bytes) -> Option<Self> {
        Reader::read(bytes, |reader| {
            Some(Self {
                call: reader.bytes()?,
                used: reader.list(|reader| {
                    Some(UsedDependency {
                        dependency: Dependency::from_bytes(reader.array()?),
                        via: byte_via(reader.u8()?)?,
                    })
                })?,
            })
        })
    }
}

/// An edge is direct or through a child. An unknown value is direct: an entry that runs once too often is better than
/// one that misses a change.
pub(super) fn via_byte(via: Via) -> u8 {
    u8::from(via != Via::Child)
}

fn byte_via(byte: u8) -> Option<Via> {
    match byte {
        0 => Some(Via::Child),
        1 => Some(Via::Direct),
        _ => None,
    }
}

/// The kind in the value of an edge, damaged or not.
pub(super) fn edge_via(value: &[u8]) -> Via {
    if value == [via_byte(Via::Child)] { Via::Child } else { Via::Direct }
}

impl Step<'_> {
    /// The keys of the parts of a record.
    pub(super) fn record_keys(&self, id: &EntryId) -> [Bytes; 3] {
        [Role::Head, Role::Body, Role::Lineage].map(|role| self.keys().entry(role, id))
    }

    pub(super) async fn head(&mut self, id: &EntryId) -> Result<Option<Head>> {
        let part = self.part(id, Role::Head, "the head of a record").await?;
        Ok(self.whole(id, part))
    }

    async fn body(&mut self, id: &EntryId) -> Result<Option<Body>> {
        let part = self.part(id, Role::Body, "the value of a record").await?;
        Ok(self.whole(id, part))
    }

    pub(super) async fn lineage(&mut self, id: &EntryId) -> Result<Option<Lineage>> {
        let part = self.part(id, Role::Lineage, "the lineage of a record").await?;
        Ok(self.whole(id, part))
    }

    /// A record with a damaged part counts as absent.
    fn whole<T>(&mut self, id: &EntryId, part: Part<T>) -> Option<T> {
        match part {
            Part::There(part) => Some(part),
            Part::Absent => None,
            Part::Damaged => {
                self.remove_damaged(id);
                None
            }
        }
    }

    /// No record may know its edges and its places in the indexes any more: maintenance looks for them.
    fn remove_damaged(&mut self, id: &EntryId) {
        if self.removes() {
            for key in self.record_keys(id) {
                self.delete(key);
            }
            self.start_repair();
        }
    }

    /// Reads and decodes a value of the namespace. A damaged one counts as absent, and the caller replaces it.
    pub(crate) async fn decoded<T>(&mut self, key: Bytes, what: &'static str) -> Result<Option<T>>
    where
        T: Persisted,
    {
        match self.get(&key).await? {
            None => Ok(None),
            Some(bytes) => Ok(T::decode(&bytes).or_else(|| {
                log_damaged_state(key.escape_ascii(), what);
                None
            })),
        }
    }

    pub(super) async fn entry(&mut self, id: &EntryId) -> Result<Option<StoredEntry>> {
        let Some(head) = self.head(id).await? else { return Ok(None) };
        let Some(body) = self.body(id).await? else { return Ok(self.half_a_record(id)) };
        Ok(Some(head.entry(body.value, body.meta)))
    }

    pub(super) async fn record(&mut self, id: &EntryId) -> Result<Option<Record>> {
        self.prefetch(self.record_keys(id)).await?;
        let Some(head) = self.head(id).await? else { return Ok(None) };
        let Some(body) = self.body(id).await? else { return Ok(self.half_a_record(id)) };
        let Some(lineage) = self.lineage(id).await? else { return Ok(self.half_a_record(id)) };
        Ok(Some(head.record(body.value, body.meta, lineage.call, lineage.used)))
    }

    /// `None`, for a record with a head and without another part.
    fn half_a_record<T>(&mut self, id: &EntryId) -> Option<T> {
        log_damaged_record(id, "a part of it is missing");
        self.remove_damaged(id);
        None
    }

    /// Replaces a record, with its edges and its places in the indexes.
    pub(super) async fn put_record(&mut self, id: &EntryId, head: &Head, body: &Body, lineage: &Lineage) -> Result<()> {
        let old = self.head(id).await?;
        let old_used = self.lineage(id).await?.map(|old| old.used).unwrap_or_default();
        let changes = EdgeChanges::between(&old_used, &lineage.used);
        for dependency in &changes.removed {
            self.delete(self.edge(dependency, id));
        }
        for used in &changes.written {
            self.put(self.edge(&used.dependency, id), vec![via_byte(used.via)]);
        }
        self.put(self.keys().entry(Role::Body, id), body.encode());
        self.put(self.keys().entry(Role::Lineage, id), lineage.encode());
        self.put_head(id, old.as_ref(), head);
        Ok(())
    }

    /// Replaces a head, with its places in the indexes.
    pub(super) fn put_head(&mut self, id: &EntryId, old: Option<&Head>, new: &Head) {
        let keys = self.keys();
        if let Some(old) = old {
            self.unlist(id, old);
        }
        if let Some(expires) = new.expires {
            self.put(keys.index(Role::Expiry, expires.as_millis(), id), Vec::new());
        }
        if let Some(since) = new.since {
            self.put(keys.index(Role::Stale, since.as_millis(), id), vec![u8::from(new.lazy)]);
        }
        self.put(keys.entry(Role::Head, id), new.encode());
    }

    fn unlist(&mut self, id: &EntryId, head: &Head) {
        for place in self.places(id, head).into_iter().flatten() {
            self.delete(place);
        }
    }

    /// The places of a record: by its expiry, and by its staleness.
    fn places(&self, id: &EntryId, head: &Head) -> [Option<Bytes>; 2] {
        let at = |role, time: Timestamp| self.keys().index(role, time.as_millis(), id);
        [head.expires.map(|expires| at(Role::Expiry, expires)), head.since.map(|since| at(Role::Stale, since))]
    }

    /// Whether a key is one of the record's places. A damaged record may have left its place to another one.
    pub(super) fn is_listed(&self, id: &EntryId, head: &Head, key: &Bytes) -> bool {
        self.places(id, head).iter().flatten().any(|place| place == key)
    }

    /// Removes a record with its edges and places, but not its run, which may still store a value.
    pub(super) async fn forget(&mut self, id: &EntryId) -> Result<bool> {
        self.prefetch([Role::Head, Role::Lineage].map(|role| self.keys().entry(role, id))).await?;
        let Some(head) = self.head(id).await? else { return Ok(false) };
        for used in self.lineage(id).await?.map(|lineage| lineage.used).unwrap_or_default() {
            self.delete(self.edge(&used.dependency, id));
        }
        self.unlist(id, &head);
        for key in self.record_keys(id) {
            self.delete(key);
        }
        self.write_job(*id, JobWrite::TakeBack).await?;
        Ok(true)
    }

    pub(super) fn edge(&self, dependency: &Dependency, id: &EntryId) -> Bytes {
        self.keys().of(Role::Edge, &[dependency.as_bytes(), id.as_bytes()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Head {
        let source = SourceId::new("users").expect("a good name");
        Head {
            version: 7,
            epochs: Epochs { global: Epoch::from_bytes([1; 16]), sources: vec![(source, Epoch::from_bytes([2; 16]))] },
            staleness: Staleness::MaybeStale,
            since: Some(Timestamp::from_millis(8)),
            stored_at: Timestamp::from_millis(9),
            expires: None,
            lazy: true,
            conflicts: 10,
            failures: 11,
            last_failure: Some(RunFailure { message: "out of paper".to_owned(), at: Timestamp::from_millis(12) }),
            causes: vec!["one".into(), "two".into()],
        }
    }

    #[test]
    fn parts_of_a_record_are_read_as_they_were_written() {
        let head = head();
        assert_eq!(Head::decode(&head.encode()), Some(head));
        let body = Body { value: "value".into(), meta: Bytes::new() };
        assert_eq!(Body::decode(&body.encode()), Some(body));
        let used = [Via::Direct, Via::Child].map(|via| UsedDependency { dependency: Dependency::tag("a"), via });
        let lineage = Lineage { call: "call".into(), used: used.to_vec() };
        assert_eq!(Lineage::decode(&lineage.encode()), Some(lineage));
    }

    #[test]
    fn no_part_of_a_head_is_a_head() {
        let whole = head().encode();
        for end in 0..whole.len() {
            assert_eq!(Head::decode(&whole.slice(..end)), None, "{end} bytes of {}", whole.len());
        }
        let longer: Bytes = [&whole[..], &[0]].concat().into();
        assert_eq!(Head::decode(&longer), None);
    }
}
