//! One step: a transaction with its reads and its pending writes.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use smache_core::{EntryId, Error, Incarnation, Result, Timestamp};

use crate::{
    area::SharedArea,
    counts::Counts,
    error::broken,
    key_value::{Access, Started, Transaction, Write},
    keys::{Keys, Range},
    layout::LAYOUT,
};

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
    /// The same for dependants and other entries: less of them make a smaller batch.
    pub(crate) length: Option<usize>,
    /// Whether its writes count: those of a step that empties the namespace remove the numbers.
    pub(crate) counted: bool,
    /// How many of those it has touched.
    pub(crate) touched: usize,
    /// The bound of that after a batch of this step was too large for the store.
    longest: usize,
    transaction: Box<dyn Transaction>,
    seen: HashMap<Bytes, Option<Bytes>>,
    writes: BTreeMap<Bytes, Option<Bytes>>,
}

impl<'s> Step<'s> {
    /// Begins, with the values of the first keys.
    pub(crate) async fn start(area: &'s SharedArea, access: Access, first: Vec<Bytes>, longest: usize) -> Result<Self> {
        let (Started { now, incarnation, transaction }, values) = area.store.begin_and_get(access, &first).await?;
        check_values(&first, &values)?;
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
            length: None,
            touched: 0,
            counted: true,
            longest,
            transaction,
            seen: first.into_iter().zip(values).collect(),
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
        let counts = if self.counted { self.count_writes().await? } else { Counts::default() };
        if self.brings_layout {
            self.put(self.keys().layout(), LAYOUT.to_be_bytes().to_vec());
        }
        let writes: Vec<Write> = self.writes.into_iter().map(|(key, value)| Write { key, value }).collect();
        self.area.limits.check(&writes)?;
        self.transaction.commit(writes).await?;
        self.area.shared.counts.written(&counts);
        if self.brings_layout {
            self.area.shared.layout.set_known_in(&self.incarnation);
        }
        Ok(self.added)
    }

    /// How many dependants the step may touch: fewer while other transactions conflict with long ones.
    pub(crate) fn page(&mut self) -> usize {
        let longest = self.area.page.min(self.longest);
        let page = *self.page.get_or_insert_with(|| self.area.shared.pages.length(longest));
        *self.length.get_or_insert(page)
    }

    /// How many entries the step may touch that is to touch so many: as many as the limits of the store allow.
    pub(crate) fn within_limits(&mut self, entries: usize) -> usize {
        *self.length.insert(self.area.limits.page(entries).min(self.longest))
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
        check_values(&keys, &values)?;
        self.seen.extend(keys.into_iter().zip(values));
        Ok(())
    }

    /// The keys that the step writes.
    pub(crate) fn written(&self) -> impl Iterator<Item = &Bytes> {
        self.writes.keys()
    }

    /// Reads what keys had before the step, also of those that it writes.
    pub(crate) async fn read_before(&mut self, keys: impl Iterator<Item = &Bytes>) -> Result<()> {
        let keys: Vec<Bytes> = keys.filter(|key| !self.seen.contains_key(*key)).cloned().collect();
        if keys.is_empty() {
            return Ok(());
        }
        let values = self.transaction.get(&keys).await?;
        check_values(&keys, &values)?;
        self.seen.extend(keys.into_iter().zip(values));
        Ok(())
    }

    /// What a key that was read had before the step, and what the step makes of it.
    pub(crate) fn before_and_after(&self, key: &Bytes) -> (Option<Bytes>, Option<Bytes>) {
        let of = |values: Option<&Option<Bytes>>| values.cloned().flatten();
        (of(self.seen.get(key)), of(self.writes.get(key)))
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
        let asked = limit.saturating_add(removed);
        let found = self.transaction.scan(&range.from, &range.to, asked).await?;
        check_scan(range, asked, &found)?;
        let mut merged: BTreeMap<Bytes, Option<Bytes>> =
            found.into_iter().map(|(key, value)| (key, Some(value))).collect();
        merged.extend(own().map(|(key, value)| (key.clone(), value.clone())));
        Ok(merged.into_iter().filter_map(|(key, value)| value.map(|value| (key, value))).take(limit).collect())
    }
}

fn check_values(keys: &[Bytes], values: &[Option<Bytes>]) -> Result<()> {
    if keys.len() == values.len() {
        return Ok(());
    }
    Err(broken("the key-value store answered another number of values than keys"))
}

/// A store that answers too much or in another order would make wrong values fresh, so that the step ends here.
fn check_scan(range: &Range, limit: usize, found: &[(Bytes, Bytes)]) -> Result<()> {
    let named = |error: Error, key: &Bytes| {
        let [key, from, to] = [key, &range.from, &range.to].map(|key| key.escape_ascii().to_string());
        error.with_context("key", key).with_context("from", from).with_context("to", to)
    };
    if let Some((key, _)) = found.iter().find(|(key, _)| *key < range.from || *key >= range.to) {
        let message = "the key-value store answered a scan with a key outside of its bounds, of which `from` is \
                       included and `to` is not: mend its `scan`";
        return Err(named(broken(message), key));
    }
    if let Some(pair) = found.windows(2).find(|pair| pair[0].0 >= pair[1].0) {
        let message = "the key-value store answered a scan that is not in ascending order: mend its `scan`";
        return Err(named(broken(message), &pair[1].0));
    }
    match found.get(limit) {
        Some((key, _)) => {
            Err(named(broken("the key-value store answered a scan above its limit: mend its `scan`"), key))
        }
        None => Ok(()),
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
        let limits = store.limits();
        let area = SharedArea {
            store,
            keys: keys.clone(),
            job_writes: JobWrites::Reported,
            page: 1,
            limits,
            capacity: None,
            shared,
        };
        let mut step = Step::start(&area, Access::Write, Vec::new(), usize::MAX).await.expect("begin");
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
    }

    #[test]
    fn scan_outside_of_its_bounds_out_of_order_and_above_its_limit_names_the_bug() {
        let keys = Keys::new(&Namespace::new("shop").expect("a good name"), Area::Store);
        let range = keys.range(Role::Stale, &[]);
        let key = |number: u8| (keys.of(Role::Stale, &[&[number]]), Bytes::new());
        let other = |key: &Bytes| (key.clone(), Bytes::new());
        assert!(check_scan(&range, 2, &[other(&range.from), key(1)]).is_ok());
        for (found, bug) in [
            (vec![key(1), other(&range.to)], "outside of its bounds"),
            (vec![other(&keys.of(Role::Edge, &[])), key(1)], "outside of its bounds"),
            (vec![key(2), key(1)], "not in ascending order"),
            (vec![key(1), key(1)], "not in ascending order"),
            (vec![key(1), key(2), key(3)], "above its limit"),
        ] {
            let error = check_scan(&range, 2, &found).expect_err("a bug").to_string();
            assert!(error.contains(bug) && error.contains("mend its `scan`") && error.contains("shop"), "{error}");
        }
    }
}
