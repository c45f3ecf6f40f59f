//! One step: a transaction with its reads and its pending writes.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use smache_core::{EntryId, Incarnation, Result, Timestamp};

use crate::{
    area::SharedArea,
    error::broken,
    key_value::{Access, Started, Transaction, Write},
    keys::{Keys, Range},
    layout::LAYOUT,
};

/// The most pairs that a count reads at once.
const COUNTED: usize = 4_096;

/// A step under way. Reads see its writes, which reach the store in one batch at the end.
pub(crate) struct Step<'s> {
    pub(crate) area: &'s SharedArea,
    pub(crate) now: Timestamp,
    pub(crate) incarnation: Incarnation,
    pub(crate) access: Access,
    /// The entries whose jobs the caller has to queue.
    pub(crate) reported: Vec<EntryId>,
    /// Whether a job was queued.
    pub(crate) added: bool,
    /// Whether an unreadable record was removed.
    pub(crate) repairs: bool,
    /// Whether the writes of the step bring the layout.
    pub(crate) brings_layout: bool,
    /// How many dependants it may touch, once it has asked.
    pub(crate) page: Option<usize>,
    /// How many of those it has touched.
    pub(crate) touched: usize,
    transaction: Box<dyn Transaction>,
    seen: HashMap<Bytes, Option<Bytes>>,
    writes: BTreeMap<Bytes, Option<Bytes>>,
}

impl<'s> Step<'s> {
    pub(crate) async fn start(area: &'s SharedArea, access: Access) -> Result<Self> {
        let Started { now, incarnation, transaction } = area.store.begin(access).await?;
        Ok(Self {
            area,
            now,
            incarnation,
            access,
            reported: Vec::new(),
            added: false,
            repairs: false,
            brings_layout: false,
            page: None,
            touched: 0,
            transaction,
            seen: HashMap::new(),
            writes: BTreeMap::new(),
        })
    }

    /// Writes the batch. Returns whether jobs were queued.
    pub(crate) async fn commit(mut self) -> Result<bool> {
        if self.writes.is_empty() {
            return Ok(false);
        }
        if self.access == Access::Read {
            return Err(broken("a step that only reads has written"));
        }
        if self.brings_layout {
            self.put(self.keys().layout(), LAYOUT.to_be_bytes().to_vec());
        }
        let writes = self.writes.into_iter().map(|(key, value)| Write { key, value }).collect();
        self.transaction.commit(writes).await?;
        if self.brings_layout {
            self.area.shared.layout.set_known_in(&self.incarnation);
        }
        Ok(self.added)
    }

    /// How many dependants the step may touch: fewer while other transactions conflict with long ones.
    pub(crate) fn page(&mut self) -> usize {
        *self.page.get_or_insert_with(|| self.area.shared.pages.length(self.area.page))
    }

    pub(crate) fn keys(&self) -> &'s Keys {
        &self.area.keys
    }

    /// Reads keys in one round trip, so that later reads of each cost none.
    pub(crate) async fn prefetch(&mut self, keys: impl IntoIterator<Item = Bytes>) -> Result<()> {
        let unknown = |key: &Bytes| !self.seen.contains_key(key) && !self.writes.contains_key(key);
        let keys: Vec<Bytes> = keys.into_iter().filter(unknown).collect();
        if keys.is_empty() {
            return Ok(());
        }
        let values = self.transaction.get(&keys).await?;
        if values.len() != keys.len() {
            return Err(broken("a transaction answered another number of values than keys"));
        }
        self.seen.extend(keys.into_iter().zip(values));
        Ok(())
    }

    pub(crate) async fn get(&mut self, key: &Bytes) -> Result<Option<Bytes>> {
        if let Some(written) = self.writes.get(key) {
            return Ok(written.clone());
        }
        self.prefetch([key.clone()]).await?;
        Ok(self.seen.get(key).cloned().flatten())
    }

    pub(crate) fn put(&mut self, key: Bytes, value: impl Into<Bytes>) {
        self.writes.insert(key, Some(value.into()));
    }

    pub(crate) fn delete(&mut self, key: Bytes) {
        self.writes.insert(key, None);
    }

    /// The first pairs of a range, with the writes of this step.
    pub(crate) async fn scan(&mut self, range: &Range, limit: usize) -> Result<Vec<(Bytes, Bytes)>> {
        if range.from >= range.to || limit == 0 {
            return Ok(Vec::new());
        }
        let own = || self.writes.range(range.from.clone()..range.to.clone());
        // Enough pairs more to make up for those that the step has removed.
        let removed = own().filter(|(_, value)| value.is_none()).count();
        let found = self.transaction.scan(&range.from, &range.to, limit.saturating_add(removed)).await?;
        if !found.is_sorted_by(|a, b| a.0 < b.0) || found.len() > limit.saturating_add(removed) {
            return Err(broken("a transaction answered a scan that is out of order or above its limit"));
        }
        let mut merged: BTreeMap<Bytes, Option<Bytes>> =
            found.into_iter().map(|(key, value)| (key, Some(value))).collect();
        merged.extend(own().map(|(key, value)| (key.clone(), value.clone())));
        Ok(merged.into_iter().filter_map(|(key, value)| value.map(|value| (key, value))).take(limit).collect())
    }

    /// The number of pairs in a range.
    pub(crate) async fn count(&mut self, mut range: Range) -> Result<u64> {
        let mut count = 0;
        loop {
            let page = self.scan(&range, COUNTED).await?;
            count += page.len() as u64;
            match page.last() {
                Some((last, _)) if page.len() == COUNTED => range.after_key(last),
                _ => return Ok(count),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_trait::async_trait;
    use smache_core::{JobWrites, Namespace};

    use super::*;
    use crate::{
        KeyValue,
        area::Shared,
        keys::{Area, Role},
    };

    /// Twenty keys of a role, which never change.
    #[derive(Debug)]
    struct Fixed(BTreeMap<Bytes, Bytes>);

    #[async_trait]
    impl KeyValue for Fixed {
        async fn begin(&self, _: Access) -> Result<Started> {
            let now = Timestamp::from_millis(1);
            let incarnation = Incarnation::new("one");
            Ok(Started { now, incarnation, transaction: Box::new(Self(self.0.clone())) })
        }
    }

    #[async_trait]
    impl Transaction for Fixed {
        async fn get(&mut self, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>> {
            Ok(keys.iter().map(|key| self.0.get(key).cloned()).collect())
        }

        async fn scan(&mut self, from: &Bytes, to: &Bytes, limit: usize) -> Result<Vec<(Bytes, Bytes)>> {
            let range = self.0.range(from.clone()..to.clone());
            Ok(range.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
        }

        async fn commit(self: Box<Self>, _: Vec<Write>) -> Result<()> {
            Err(broken("nobody can change it"))
        }
    }

    #[tokio::test]
    async fn step_reads_what_it_has_written_itself() {
        let keys = Keys::new(&Namespace::new("shop").expect("a good name"), Area::Store);
        let key = |number: u8| keys.of(Role::Stale, &[&[number]]);
        let pairs = (0..40).step_by(2).map(|number| (key(number), Bytes::from_static(b"old"))).collect();
        let store = Arc::new(Fixed(pairs));
        let shared = Arc::new(Shared::default());
        let area = SharedArea { store, keys: keys.clone(), job_writes: JobWrites::Reported, page: 1, shared };
        let mut step = Step::start(&area, Access::Write).await.expect("begin");
        for number in [0, 2, 6] {
            step.delete(key(number));
        }
        for number in [1, 8, 39] {
            step.put(key(number), "new");
        }

        assert_eq!(step.get(&key(2)).await.expect("get"), None);
        assert_eq!(step.get(&key(8)).await.expect("get"), Some("new".into()));
        let all = keys.range(Role::Stale, &[]);
        let expected: Vec<u8> = (0..40)
            .filter(|number| (number % 2 == 0 && ![0, 2, 6].contains(number)) || [1, 39].contains(number))
            .collect();
        for limit in 0..25 {
            let found = step.scan(&all, limit).await.expect("scan");
            let found: Vec<u8> = found.iter().map(|(key, _)| keys.rest(key)[0]).collect();
            assert_eq!(found, expected[..limit.min(expected.len())], "the first {limit}");
        }
        assert_eq!(step.count(all).await.expect("count"), expected.len() as u64);
    }
}
