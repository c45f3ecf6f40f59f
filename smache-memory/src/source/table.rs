//! The entities and the history of their changes, under one lock: a write is visible before it is delivered.

use std::collections::{BTreeMap, VecDeque};

use smache_core::{
    Change, ChangeKind, EntityKey, Error, ErrorKind, Image, Position, Result, Snapshot, SourceId, Token,
};

#[derive(Debug)]
pub(super) struct Table {
    entities: BTreeMap<EntityKey, Image>,
    history: VecDeque<Change>,
    kept: usize,
    /// The number of the last change; the history holds the ones up to it.
    last: u64,
    /// The table that wrote the positions: another one never had these changes.
    instance: Token,
}

impl Table {
    pub(super) fn new(kept: usize) -> Self {
        Self { entities: BTreeMap::new(), history: VecDeque::new(), kept, last: 0, instance: Token::random() }
    }

    pub(super) fn len(&self) -> usize {
        self.entities.len()
    }

    pub(super) fn get(&self, key: &EntityKey) -> Option<Image> {
        self.entities.get(key).cloned()
    }

    pub(super) fn list(&self) -> Vec<Image> {
        self.entities.values().cloned().collect()
    }

    /// Stores an entity. The closure returns the changed fields of an existing one, if they are known.
    pub(super) fn put(
        &mut self,
        source: &SourceId,
        key: EntityKey,
        image: Image,
        changed: impl FnOnce(&Image, &Image) -> Option<Vec<String>>,
    ) -> Option<Image> {
        // Code of the application, which may panic: nothing has changed before it.
        let fields = self.entities.get(&key).and_then(|before| changed(before, &image));
        let before = self.entities.insert(key.clone(), image.clone());
        let kind = if before.is_some() { ChangeKind::Update } else { ChangeKind::Insert };
        self.record(source, key, kind, before.clone(), Some(image));
        if let Some(change) = self.history.back_mut() {
            change.fields = fields;
        }
        before
    }

    pub(super) fn remove(&mut self, source: &SourceId, key: &EntityKey) -> Option<Image> {
        let before = self.entities.remove(key)?;
        self.record(source, key.clone(), ChangeKind::Delete, Some(before.clone()), None);
        Some(before)
    }

    fn record(
        &mut self,
        source: &SourceId,
        key: EntityKey,
        kind: ChangeKind,
        before: Option<Image>,
        after: Option<Image>,
    ) {
        let snapshot = |image: Option<Image>| image.map_or(Snapshot::Absent, Snapshot::Known);
        let mut change = Change::new(source.clone(), key, kind);
        change.before = snapshot(before);
        change.after = snapshot(after);
        self.last += 1;
        self.history.push_back(change);
        if self.history.len() > self.kept {
            self.history.pop_front();
        }
    }

    /// The number of the last change.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// Changes after a number, at most that many.
    pub(super) fn after(&self, number: u64, limit: usize) -> Result<Vec<Change>> {
        let forgotten = self.last - self.history.len() as u64;
        if number < forgotten || number > self.last {
            return Err(lost("the history of the memory source does not reach back to the position"));
        }
        let passed = usize::try_from(number - forgotten).unwrap_or(usize::MAX);
        Ok(self.history.iter().skip(passed).take(limit).cloned().collect())
    }

    pub(super) fn position(&self, number: u64) -> Position {
        Position::new(self.instance.as_bytes(), number.to_be_bytes(), self.instance.as_bytes().to_vec())
    }

    /// The number of a position.
    pub(super) fn number(&self, position: &Position) -> Result<u64> {
        if position.token != self.instance.as_bytes()[..] {
            return Err(lost("the position is of another memory source: its data did not survive either"));
        }
        let order = <[u8; 8]>::try_from(position.place());
        order.map(u64::from_be_bytes).map_err(|_| lost("the position has no number of a change"))
    }
}

fn lost(message: &'static str) -> Error {
    Error::new(ErrorKind::HistoryLost, message)
}
