//! Recorded changes as changes of entities.

use std::{collections::HashMap, fmt, sync::Arc};

use serde::de::DeserializeOwned;
use smache_core::{
    Change, ChangeKind, EntityKey, EntityType, Image, Result, Snapshot, SourceId, Topic, support::log_damaged_change,
};

use super::row::{Shape, differing, image_of, key_of};

/// How a feed reads the changes of one source, whose type only the source knows. A source puts it in its topic. `D` is
/// how the source reaches its table.
pub(crate) struct TopicReader<D> {
    /// Where the source loads from.
    pub(crate) table: Arc<D>,
    key: fn(&str, &Shape) -> Result<EntityKey>,
    image: fn(&str, &Shape) -> Result<(EntityKey, Image)>,
}

impl<D> TopicReader<D> {
    pub(crate) fn new<T: EntityType + DeserializeOwned>(table: Arc<D>) -> Self {
        Self { table, key: key_of::<T>, image: image_of::<T> }
    }
}

impl<D> Clone for TopicReader<D> {
    fn clone(&self) -> Self {
        Self { table: Arc::clone(&self.table), key: self.key, image: self.image }
    }
}

impl<D> fmt::Debug for TopicReader<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TopicReader").finish_non_exhaustive()
    }
}

/// One source that a stream watches.
#[derive(Debug)]
pub(crate) struct Watch<D> {
    pub(crate) source: SourceId,
    pub(crate) reader: TopicReader<D>,
    /// How its rows are read.
    pub(crate) shape: Arc<Shape>,
}

/// The sources that one stream watches, by the name of their table.
#[derive(Debug)]
pub(crate) struct Watched<D> {
    /// More than one source where several types are read from one table.
    tables: HashMap<String, Vec<Watch<D>>>,
}

impl<D: fmt::Debug + Send + Sync + 'static> Watched<D> {
    /// The readers of topics, all of which sources of this crate must have made.
    pub(crate) fn readers(topics: &[Topic]) -> Result<Vec<TopicReader<D>>> {
        let of = "a table of the feed's kind of database";
        topics.iter().map(|topic| topic.reader_of(of).cloned()).collect()
    }

    /// Watches topics, of which the columns are known by now.
    pub(crate) fn new(topics: &[Topic], readers: Vec<TopicReader<D>>, shapes: Vec<Arc<Shape>>) -> Self {
        let mut tables = HashMap::<_, Vec<_>>::new();
        for ((topic, reader), shape) in topics.iter().zip(readers).zip(shapes) {
            let watch = Watch { source: topic.source.clone(), reader, shape };
            tables.entry(topic.name.clone()).or_default().push(watch);
        }
        Self { tables }
    }

    /// The names of the tables.
    #[cfg(feature = "postgres")]
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.tables.keys().cloned().collect();
        names.sort_unstable();
        names
    }

    /// The handles of the tables.
    #[cfg(feature = "sqlite")]
    pub(crate) fn tables(&self) -> impl Iterator<Item = &D> {
        self.tables.values().flatten().map(|watch| &*watch.reader.table)
    }

    /// The source that watches a table.
    #[cfg(feature = "postgres")]
    pub(crate) fn of_table(&mut self, table: &str) -> impl Iterator<Item = &mut Watch<D>> {
        self.tables.get_mut(table).into_iter().flatten()
    }

    /// The changes of entities that a recorded change is.
    pub(crate) fn changes(&self, recorded: &Recorded) -> Vec<Change> {
        let watches = self.tables.get(&recorded.table).into_iter().flatten();
        watches.flat_map(|watch| watch.changes(recorded)).collect()
    }
}

/// A row of a change table: an insert has no image before, a deletion none after, and a reset neither.
#[derive(Debug, Default)]
pub(crate) struct Recorded {
    pub(crate) table: String,
    pub(crate) before: Option<String>,
    pub(crate) after: Option<String>,
}

#[cfg(feature = "postgres")]
impl Recorded {
    pub(crate) fn is_reset(&self) -> bool {
        self.before.is_none() && self.after.is_none()
    }
}

impl<D> Watch<D> {
    fn changes(&self, recorded: &Recorded) -> Vec<Change> {
        let read = |row: &Option<String>| row.as_deref().map(|row| self.read(row)).transpose();
        let (Ok(before), Ok(after)) = (read(&recorded.before), read(&recorded.after)) else {
            return vec![Change::reset(self.source.clone())];
        };
        match (before, after) {
            (None, None) => vec![Change::reset(self.source.clone())],
            (None, Some(after)) => vec![self.inserted(after)],
            (Some(before), None) => vec![self.deleted(before)],
            // Another id is another entity.
            (Some(before), Some(after)) if before.0 != after.0 => vec![self.deleted(before), self.inserted(after)],
            (Some(before), Some(after)) => {
                let rows = recorded.before.as_deref().zip(recorded.after.as_deref());
                let fields = rows.and_then(|(before, after)| differing(before, after));
                // The update wrote the same values: no reader could see a difference.
                if fields.as_ref().is_some_and(Vec::is_empty) {
                    return Vec::new();
                }
                let mut change = Change::new(self.source.clone(), after.0, ChangeKind::Update);
                change.before = before.1;
                change.after = after.1;
                change.fields = fields;
                vec![change]
            }
        }
    }

    fn inserted(&self, (key, image): (EntityKey, Snapshot)) -> Change {
        let mut change = Change::new(self.source.clone(), key, ChangeKind::Insert);
        change.before = Snapshot::Absent;
        change.after = image;
        change
    }

    fn deleted(&self, (key, image): (EntityKey, Snapshot)) -> Change {
        let mut change = Change::new(self.source.clone(), key, ChangeKind::Delete);
        change.before = image;
        change.after = Snapshot::Absent;
        change
    }

    /// The key of a row, and its entity if it can be read. Without a key the whole source has changed.
    fn read(&self, row: &str) -> Result<(EntityKey, Snapshot)> {
        let shape = &self.shape;
        match (self.reader.image)(row, shape) {
            Ok((key, image)) => Ok((key, Snapshot::Known(image))),
            Err(error) => {
                let key = (self.reader.key)(row, shape).or_else(|error| shape.foreign_key(row).ok_or(error));
                log_damaged_change(&self.source, shape.shown_id(row), error.report());
                Ok((key?, Snapshot::Unknown))
            }
        }
    }
}

#[cfg(test)]
mod tests;
