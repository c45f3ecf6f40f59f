//! The validity of sources, and the one place that judges the freshness of entries by it.

use std::{collections::BTreeMap, time::Duration};

use super::{Staleness, StoredEntry};
use crate::{Epoch, Incarnation, Lane, SourceId, Timestamp};

/// A store's record of the sources of a namespace: until when, and in which epoch, each is confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Validity {
    /// The epoch of the whole namespace.
    pub epoch: Epoch,
    /// Each source that a feed or the application confirms.
    pub sources: BTreeMap<SourceId, SourceValidity>,
    /// Until when the store confirms the sources that the application reports; `None` for a store that no other process
    /// can reach.
    pub attached_until: Option<Timestamp>,
}

/// A store's record of one source.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct SourceValidity {
    /// The epoch of its history.
    pub epoch: Epoch,
    /// The incarnation of the store on which the feed has caught up, and may confirm.
    pub caught_up_on: Option<Incarnation>,
    /// Until when the feed confirms; `None` for a source that only the application changes: see
    /// [`Validity::attached_until`].
    pub valid_until: Option<Timestamp>,
}

impl Validity {
    /// A validity of a namespace without sources.
    #[must_use]
    pub fn new(epoch: Epoch) -> Self {
        Self { epoch, sources: BTreeMap::new(), attached_until: None }
    }

    /// The present epochs of some sources. For a source that the store does not know, an epoch that is never the
    /// present one, so that an entry with that source is not fresh before something confirms the source.
    #[must_use]
    pub fn epochs<'a>(&self, sources: impl IntoIterator<Item = &'a SourceId>) -> Epochs {
        let epoch =
            |source| self.sources.get(source).map_or(Epoch::from_bytes([0; Epoch::LEN]), |validity| validity.epoch);
        Epochs {
            global: self.epoch,
            sources: sources.into_iter().map(|source| (source.clone(), epoch(source))).collect(),
        }
    }

    /// Whether the epochs that an entry was computed in are the present ones.
    #[must_use]
    pub fn has_epochs(&self, epochs: &Epochs) -> bool {
        self.epoch == epochs.global
            && epochs
                .sources
                .iter()
                .all(|(source, epoch)| self.sources.get(source).is_some_and(|now| now.epoch == *epoch))
    }

    /// Whether the epochs in the bytes of a record differ from the present ones. Unreadable ones do.
    #[must_use]
    pub fn is_outdated(&self, epochs: &[u8]) -> bool {
        Epochs::decode(epochs).is_none_or(|epochs| !self.has_epochs(&epochs))
    }

    /// The lane for the job of an entry whose run ended without a value; none for a fresh entry.
    #[must_use]
    pub fn lane_of_need(&self, staleness: Staleness, epochs: &Epochs) -> Option<Lane> {
        if self.has_epochs(epochs) { staleness.lane() } else { Some(Lane::Recompute) }
    }

    /// How fresh an entry is. The definition of freshness of `docs/protocol.md`, in one place for all stores.
    #[must_use]
    pub fn judge(&self, entry: &StoredEntry, now: Timestamp, incarnation: &Incarnation) -> Freshness {
        if self.is_stale(entry) {
            return Freshness::Stale { since: entry.since.unwrap_or(entry.stored_at) };
        }
        if !self.is_caught_up(&entry.epochs, incarnation) {
            return Freshness::Unconfirmed { since: None };
        }
        match self.silent_since(&entry.epochs, now) {
            None => Freshness::Fresh { as_of: now },
            since => Freshness::Unconfirmed { since },
        }
    }

    /// Whether a delivered change has overtaken an entry. An entry that is not stale needs no run, even while no feed
    /// confirms it.
    pub(crate) fn is_stale(&self, entry: &StoredEntry) -> bool {
        entry.staleness != Staleness::Fresh || !self.has_epochs(&entry.epochs)
    }

    /// Whether the feeds of all sources of an entry have caught up on this incarnation.
    pub(crate) fn is_caught_up(&self, epochs: &Epochs, incarnation: &Incarnation) -> bool {
        self.of(epochs)
            .all(|validity| validity.is_some_and(|validity| validity.caught_up_on.as_ref() == Some(incarnation)))
    }

    /// The first end of a source's validity that is not after a time; `None` while all sources are confirmed.
    pub(crate) fn silent_since(&self, epochs: &Epochs, now: Timestamp) -> Option<Timestamp> {
        let until = |validity: &SourceValidity| validity.valid_until.or(self.attached_until);
        self.of(epochs).flatten().filter_map(until).filter(|until| *until <= now).min()
    }

    fn of(&self, epochs: &Epochs) -> impl Iterator<Item = Option<&SourceValidity>> {
        epochs.sources.iter().map(|(source, _)| self.sources.get(source))
    }
}

impl SourceValidity {
    /// A source that no feed confirms yet.
    #[must_use]
    pub fn behind(epoch: Epoch) -> Self {
        Self { epoch, caught_up_on: None, valid_until: Some(Timestamp::from_millis(0)) }
    }

    /// A source that only the application changes, caught up on an incarnation.
    #[must_use]
    pub fn application(epoch: Epoch, caught_up_on: Option<Incarnation>) -> Self {
        Self { epoch, caught_up_on, valid_until: None }
    }

    /// A source behind a feed.
    #[must_use]
    pub fn feed(epoch: Epoch, caught_up_on: Option<Incarnation>, valid_until: Timestamp) -> Self {
        Self { epoch, caught_up_on, valid_until: Some(valid_until) }
    }
}

/// The epochs that a computation began in: the namespace's, and those of the sources that it used.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Epochs {
    /// The namespace's.
    pub global: Epoch,
    /// Those of the used sources, sorted by source.
    pub sources: Vec<(SourceId, Epoch)>,
}

impl Epochs {
    /// Epochs as records keep them: the namespace's, and then the length of the name, the name and the epoch of each
    /// source.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.global.as_bytes().to_vec();
        for (source, epoch) in &self.sources {
            let name = source.as_str().as_bytes();
            bytes.push(u8::try_from(name.len()).expect("names have at most 128 bytes"));
            bytes.extend_from_slice(name);
            bytes.extend_from_slice(epoch.as_bytes());
        }
        bytes
    }

    /// The opposite of [`encode`](Self::encode); `None` for bytes that it never writes.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (global, mut bytes) = bytes.split_first_chunk()?;
        let mut sources = Vec::new();
        while let Some((length, rest)) = bytes.split_first() {
            let (name, rest) = rest.split_at_checked((*length).into())?;
            let (epoch, rest) = rest.split_first_chunk()?;
            let name = SourceId::new(std::str::from_utf8(name).ok()?).ok()?;
            sources.push((name, Epoch::from_bytes(*epoch)));
            bytes = rest;
        }
        Some(Self { global: Epoch::from_bytes(*global), sources })
    }
}

/// How fresh a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Freshness {
    /// The value reflects every change that was acknowledged before `as_of`.
    Fresh {
        /// The store's time of the look-up.
        as_of: Timestamp,
    },
    /// Something that it depends on changed; a worker recomputes it.
    Stale {
        /// Since when it is known to be stale.
        since: Timestamp,
    },
    /// No change is known to affect the value, but its sources are not confirmed at the moment: the feed is behind or
    /// not running, or the store was replaced.
    Unconfirmed {
        /// Until when its sources were confirmed, where that is known: the value reflects every change that was
        /// acknowledged before.
        since: Option<Timestamp>,
    },
}

impl Freshness {
    /// Whether the value is confirmed.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        matches!(self, Self::Fresh { .. })
    }

    /// Whether a change is known to have overtaken the value.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        matches!(self, Self::Stale { .. })
    }

    /// Whether no change is known to affect the value, and its sources are not confirmed.
    #[must_use]
    pub fn is_unconfirmed(&self) -> bool {
        matches!(self, Self::Unconfirmed { .. })
    }

    /// For how long it may be behind the data at a time of the store's clock: since it is stale, or since its sources
    /// are not confirmed. Zero for a fresh value; `None` where the time is not known.
    #[must_use]
    pub fn behind_for(&self, now: Timestamp) -> Option<Duration> {
        match self {
            Self::Fresh { .. } => Some(Duration::ZERO),
            Self::Stale { since } => Some(now.since(*since)),
            Self::Unconfirmed { since } => since.map(|since| now.since(since)),
        }
    }

    /// For how long it has been stale at a time of the store's clock; `None` if it is not known to be.
    #[must_use]
    pub fn stale_for(&self, now: Timestamp) -> Option<Duration> {
        match self {
            Self::Stale { since } => Some(now.since(*since)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn world() -> (Validity, StoredEntry, Incarnation, SourceId) {
        let source = SourceId::new("users").expect("a good name");
        let here = Incarnation::new("one");
        let mut validity = Validity::new(Epoch::from_bytes([1; 16]));
        let until = Timestamp::from_millis(2_000);
        validity
            .sources
            .insert(source.clone(), SourceValidity::feed(Epoch::from_bytes([2; 16]), Some(here.clone()), until));
        let entry = StoredEntry {
            value: Bytes::new(),
            meta: Bytes::new(),
            version: 1,
            epochs: validity.epochs([&source]),
            staleness: Staleness::Fresh,
            since: None,
            stored_at: Timestamp::from_millis(500),
            expires: None,
        };
        (validity, entry, here, source)
    }

    #[test]
    fn a_confirmed_entry_is_fresh_until_the_validity_ends() {
        let (validity, entry, here, _) = world();
        let now = Timestamp::from_millis(1_999);
        assert_eq!(validity.judge(&entry, now, &here), Freshness::Fresh { as_of: now });
        let later = Timestamp::from_millis(2_500);
        let unconfirmed = validity.judge(&entry, later, &here);
        assert_eq!(unconfirmed, Freshness::Unconfirmed { since: Some(Timestamp::from_millis(2_000)) });
        assert_eq!(unconfirmed.behind_for(later), Some(Duration::from_millis(500)));
    }

    #[test]
    fn another_incarnation_confirms_nothing() {
        let (validity, entry, _, _) = world();
        let elsewhere = validity.judge(&entry, Timestamp::from_millis(1), &Incarnation::new("two"));
        assert_eq!(elsewhere, Freshness::Unconfirmed { since: None });
        assert_eq!(elsewhere.behind_for(Timestamp::from_millis(1)), None);
    }

    #[test]
    fn a_new_epoch_of_a_used_source_or_of_everything_makes_stale() {
        let (mut validity, entry, here, source) = world();
        let stale = Freshness::Stale { since: Timestamp::from_millis(500) };
        validity.sources.get_mut(&source).expect("there").epoch = Epoch::from_bytes([3; 16]);
        assert_eq!(validity.judge(&entry, Timestamp::from_millis(1), &here), stale);
        let (mut validity, entry, here, _) = world();
        validity.epoch = Epoch::from_bytes([3; 16]);
        assert_eq!(validity.judge(&entry, Timestamp::from_millis(1), &here), stale);
    }

    #[test]
    fn epochs_come_back_as_they_were() {
        let source = |name: &str| SourceId::new(name).expect("a good name");
        let sources = vec![(source("a"), Epoch::random()), (source(&"b".repeat(128)), Epoch::random())];
        let epochs = Epochs { global: Epoch::random(), sources };
        let bytes = epochs.encode();
        assert_eq!(Epochs::decode(&bytes), Some(epochs));
        assert_eq!(Epochs::decode(&bytes[..bytes.len() - 1]), None);
    }

    #[test]
    fn an_unknown_source_is_never_fresh() {
        let (mut validity, entry, here, source) = world();
        validity.sources.remove(&source);
        assert!(!validity.judge(&entry, Timestamp::from_millis(1), &here).is_fresh());
    }
}
