//! Reading one's own write where another process leads the feed: behind a barrier, and right after an insert.

use smache_server_tests::report;

use crate::world::{World, get};

/// A web server writes, waits until its feed is there, and reads its own write. The feed is another process's.
pub(crate) async fn own_writes(world: World) {
    world.insert(1, 0).await;
    let feeder = world.node(&world.feeder()).await;
    let reader = world.reader().await;
    assert_eq!(get(&reader, 1, 0).await.n, 0);
    for n in 1..=30 {
        world.set(1, n).await;
        let token = reader.caught_up().await.expect("the feed is at the present");
        assert!(!reader.is_fresh(report(1, 0)).await.expect("a look"), "write {n} is acknowledged");
        let seen = reader.get(report(1, 0).at_least(token)).await.expect("a value");
        assert_eq!((*seen, seen.is_fresh()), (n, true));
    }
    world.end([feeder]).await;
}

#[tokio::test]
async fn readers_behind_a_barrier_read_their_own_writes() {
    own_writes(World::shared().await).await;
}

/// The feed delivers an insert while the function of its first reader runs, which has seen it.
pub(crate) async fn first_reads(world: World) {
    let feeder = world.node(&world.feeder()).await;
    let reader = world.reader().await;
    for id in 1..=20 {
        world.insert(id, id).await;
        let seen = reader.get(report(id, 150)).await.expect("a value");
        assert_eq!((*seen, seen.is_fresh()), (id, true), "the first read after insert {id}");
    }
    reader.caught_up().await.expect("the feed is at the present");
    for id in 1..=20 {
        assert!(reader.is_fresh(report(id, 150)).await.expect("a look"), "the feed has told of insert {id} meanwhile");
        assert_eq!(world.runs_of(id).await, 1);
    }
    assert!(
        reader.inspect().stats().await.expect("numbers").process.reread > 0,
        "the feed was never in time to be tested"
    );
    world.end([feeder]).await;
}

#[tokio::test]
async fn the_first_read_after_an_insert_is_fresh_and_stays_so() {
    first_reads(World::shared().await).await;
}
