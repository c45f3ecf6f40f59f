//! Stored bytes that are not what they should be.

use std::time::Duration;

use bytes::Bytes;
use smache::{
    EntryId, Result, Smache,
    backend::{Commit, CommitOutcome, Record},
};
use smache_testkit::steps;

use crate::{
    functions::{greeting, square},
    world::World,
};

/// Stores something under an entry's id, past the engine, as a bug or another program would.
async fn overwrite(world: &World, id: EntryId, call: Bytes, value: Bytes, meta: Bytes) -> Result<()> {
    let store = world.store()?;
    let run = steps::begin(&*store, id).await;
    let commit = Commit { call, value, meta, ..run.value("", &[]) };
    assert!(matches!(store.commit(commit).await?, CommitOutcome::Fresh { .. }));
    Ok(())
}

async fn stored(smache: &Smache, id: &EntryId) -> Result<Record> {
    Ok(smache.inspect().record(id).await?.expect("stored"))
}

/// An unreadable entry is absent to readers, counted, and replaced by the next computation.
async fn an_unreadable_entry_is_replaced(world: &World) -> Result<()> {
    let smache = world.start().await?;
    smache.get(square(3)).await?;
    let id = smache.inspect().entry_id(&square(3))?;
    let good = stored(&smache, &id).await?;
    smache.get(square(4)).await?;
    let other = stored(&smache, &smache.inspect().entry_id(&square(4))?).await?;
    let value = good.entry.value.clone();
    let meta = good.entry.meta.clone();
    let garbage = [
        ("an empty value", Bytes::new(), meta.clone()),
        ("a value of an unknown format", Bytes::from_static(b"\xff9"), meta.clone()),
        ("a value of another type", Bytes::from_static(b"\x01\"nine\""), meta.clone()),
        ("half a value", Bytes::from_static(b"\x01"), meta.clone()),
        ("no notes", value.clone(), Bytes::new()),
        ("notes of an unknown version", value.clone(), Bytes::from([&[9], &meta[1..]].concat())),
        ("half the notes", value, meta.slice(..20)),
        ("the entry of another call", other.entry.value, other.entry.meta),
    ];
    for (index, (what, value, meta)) in garbage.into_iter().enumerate() {
        overwrite(world, id, good.call.clone(), value, meta).await?;
        let runs = world.probe.runs();
        assert!(smache.peek(square(3)).await?.is_none(), "{what} is nothing");
        assert!(!smache.is_fresh(square(3)).await?, "{what} is not fresh");
        assert_eq!(*smache.get(square(3)).await?, 9, "{what}");
        assert_eq!(world.probe.runs(), runs + 1, "{what} costs one run");
        assert_eq!(smache.inspect().stats().await?.process.undecodable, 3 * (index as u64 + 1), "{what} is counted");
        assert!(smache.is_fresh(square(3)).await?, "{what} is replaced");
    }
    smache.shutdown().await;
    Ok(())
}

/// A job of a record without a readable call has nothing to run.
async fn a_job_without_a_readable_call_is_dropped(world: &World) -> Result<()> {
    let smache = world.start().await?;
    smache.get(square(3)).await?;
    let id = smache.inspect().entry_id(&square(3))?;
    let good = stored(&smache, &id).await?;
    let other = {
        smache.get(square(4)).await?;
        stored(&smache, &smache.inspect().entry_id(&square(4))?).await?.call
    };
    let runs = world.probe.runs();
    for call in [Bytes::new(), good.call.slice(..3), Bytes::from_static(b"\xff\xff\xff\xff"), other] {
        overwrite(world, id, call, good.entry.value.clone(), good.entry.meta.clone()).await?;
        smache.invalidate(square(3)).await?;
        let jobs = tokio::time::timeout(Duration::from_secs(10), smache.run_until_idle()).await;
        assert!(jobs.is_ok_and(|jobs| jobs.is_ok()), "the job must not come back without end");
        assert_eq!(world.probe.runs(), runs);
    }
    assert_eq!(*smache.get(square(3).fresh()).await?, 9, "a reader knows the call");
    smache.shutdown().await;
    Ok(())
}

on_every_world! {
    an_unreadable_entry_is_replaced,
    a_job_without_a_readable_call_is_dropped,
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_value_is_absent_to_get_many_too() -> Result<()> {
    let world = World::memory();
    world.put(1, "Anna").await?;
    world.put(2, "Ben").await?;
    let smache = world.start().await?;
    smache.get(greeting(1)).await?;
    smache.get(greeting(2)).await?;
    let id = smache.inspect().entry_id(&greeting(1))?;
    let good = stored(&smache, &id).await?;
    overwrite(&world, id, good.call, Bytes::from_static(b"\x01{"), good.entry.meta).await?;
    let answers = smache.get_many([greeting(1), greeting(2)]).await;
    assert_eq!(answers[0].as_deref().ok().map(String::as_str), Some("Hello, Anna"));
    assert_eq!(answers[1].as_deref().ok().map(String::as_str), Some("Hello, Ben"));
    assert_eq!(world.probe.runs(), 3);
    Ok(())
}
