//! Every process is killed or frozen again and again, and in the end everything is right.

use std::time::Duration;

use smache_server_tests::{Order, Setup, State};
use tokio::time::{Instant, sleep};

use crate::{
    node::Node,
    waits::until_idle,
    watch::Watch,
    world::{World, get, peek, until_report},
};

const DOCS: i64 = 5;
/// Some of the kills hit a run.
const MILLIS: u64 = 50;
/// Some freeze for longer.
const LEASE: Duration = Duration::from_secs(2);

#[tokio::test]
async fn twenty_killed_processes_lose_no_job_and_make_nothing_wrongly_fresh() {
    let watches = kill_again_and_again(World::shared().await, 20, Duration::from_millis(30)).await;
    for watch in &watches {
        assert!(watch.highest() > 0, "values went on while processes died: {watch:?}");
    }
    let states: Vec<State> = watches.iter().flat_map(Watch::states).collect();
    for state in [State::Fresh, State::Stale, State::Unconfirmed] {
        assert!(states.contains(&state), "{state:?} was seen on the way");
    }
}

/// Kills so many processes while documents are written with that pause between them, and waits until everything is
/// fresh. Returns what readers saw on the way.
pub(crate) async fn kill_again_and_again(world: World, kills: u32, pause: Duration) -> Vec<Watch> {
    let world = world.leased(LEASE).watched();
    for id in 0..DOCS {
        world.insert(id, 0).await;
    }
    // Two that do everything, one that leads the feed, and one that reads.
    let setups = [world.all_roles(), world.all_roles(), world.feeder(), world.setup.clone()];
    let mut nodes = Vec::new();
    for setup in &setups {
        nodes.push(world.node(setup).await);
    }
    let reader = world.reader().await;
    for id in 0..DOCS {
        assert_eq!(get(&reader, id, MILLIS).await.n, 0);
    }

    let watches: Vec<Watch> = (0..DOCS).map(|_| Watch::default()).collect();
    let over = Watch::default();
    let writing = async {
        for n in 1.. {
            for (id, watch) in (0..).zip(&watches) {
                world.set(id, n).await;
                watch.wrote(n);
                sleep(pause).await;
            }
            if !over.goes_on() {
                break;
            }
        }
    };
    let reading = async {
        while over.goes_on() {
            for (id, watch) in (0..).zip(&watches) {
                let asked = Instant::now();
                watch.saw(asked, peek(&reader, id, MILLIS).await.expect("a value that was stored stays"));
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    let killing = async {
        kill_and_start(&mut nodes, &setups, kills).await;
        over.end();
    };
    tokio::join!(killing, writing, reading);

    // One that works remains, perhaps the last one that was started.
    let last = nodes.swap_remove(0).ready().await;
    for node in nodes {
        node.kill().await;
    }
    for (id, watch) in (0..).zip(&watches) {
        until_report(&reader, id, MILLIS, watch.last()).await;
    }
    until_idle(&reader).await;
    world.end([last]).await;
    watches
}

async fn kill_and_start(nodes: &mut [Node], setups: &[Setup], kills: u32) {
    let mut random = 7_u64;
    let mut below = |end: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(random >> 33).expect("31 bits") % end
    };
    for _ in 0..kills {
        for id in 0..DOCS {
            nodes[3].tell(Order::GetFresh { id, millis: MILLIS }).await;
        }
        // Longer than the leases of runs and jobs, and than the feed confirms.
        nodes[below(12) % nodes.len()].tell(Order::Freeze { millis: if below(4) == 0 { 2_500 } else { 0 } }).await;
        sleep(Duration::from_millis(200 + 50 * below(12) as u64)).await;
        let victim = below(nodes.len());
        // Not waited for: some are killed before they are ready.
        std::mem::replace(&mut nodes[victim], Node::start(&setups[victim])).kill().await;
    }
}
