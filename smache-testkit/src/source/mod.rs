//! The cases of a [`DataSource`](smache_core::DataSource) and its [`ChangeFeed`](smache_core::ChangeFeed).

pub mod batches;
pub mod feed;
pub mod load;

use std::time::{Duration, Instant};

use smache_core::{Batch, Change, ChangeStream, Snapshot, Start};

use crate::SourceProbe;

/// How long a change may take to be delivered by a slow server.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn put(probe: &dyn SourceProbe, number: u32, text: &str) {
    probe.put(number, text).await.expect("put");
}

pub(crate) async fn remove(probe: &dyn SourceProbe, number: u32) {
    probe.remove(number).await.expect("remove");
}

/// The text of an entity as the source loads it.
pub(crate) async fn text(probe: &dyn SourceProbe, number: u32) -> Option<String> {
    let mut loaded = probe.source().load(&[probe.key(number)]).await.expect("load");
    assert_eq!(loaded.len(), 1, "one element a key");
    loaded.remove(0).map(|image| probe.text(&image).expect("the image is of the probe's type"))
}

/// Opens the feed of the source.
pub(crate) async fn open(probe: &dyn SourceProbe, start: Start) -> smache_core::Result<Box<dyn ChangeStream>> {
    let (feed, topic) = probe.source().feed().expect("this suite is for sources with a feed");
    feed.open(&[topic], start).await
}

pub(crate) async fn next(stream: &mut dyn ChangeStream) -> Batch {
    let batch = tokio::time::timeout(PATIENCE, stream.next()).await;
    batch.expect("an empty batch comes after half a second").expect("the next batch")
}

/// The changes up to a condition.
pub(crate) async fn until(stream: &mut dyn ChangeStream, done: impl Fn(&[Change]) -> bool) -> Vec<Change> {
    let started = Instant::now();
    let mut changes = Vec::new();
    while !done(&changes) {
        assert!(started.elapsed() < PATIENCE, "the feed delivered only {changes:?}");
        changes.extend(next(stream).await.changes);
    }
    changes
}

/// The text of a snapshot: `Err` says that the source does not tell.
pub(crate) fn shown(probe: &dyn SourceProbe, snapshot: &Snapshot) -> Result<Option<String>, ()> {
    match snapshot {
        Snapshot::Unknown => Err(()),
        Snapshot::Absent => Ok(None),
        Snapshot::Known(image) => Ok(Some(probe.text(image).expect("the image is of the probe's type"))),
    }
}
