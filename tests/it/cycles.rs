//! Calls that wait for each other across processes: systems over one backend, which share nothing else.

use std::time::Duration;

use smache::{Builder, Cached, Cx, ErrorKind, Failure, Result, Smache, State, computed};
use tokio::{task::JoinHandle, time::Instant};

use crate::{
    faulty::{Fault, Faults},
    probe::{Act, Probe},
    world::World,
};

/// A cycle is found by then. The deadline of a reader is much later.
const SOON: Duration = Duration::from_secs(2);

#[computed]
async fn chicken(cx: &Cx, probe: State<Probe>) -> Result<u64, Failure> {
    probe.pass("chicken").await?;
    Ok(*cx.get(egg()).await?)
}

#[computed]
async fn egg(cx: &Cx, probe: State<Probe>) -> Result<u64, Failure> {
    probe.pass("egg").await?;
    Ok(*cx.get(chicken()).await?)
}

/// The seasons wait for each other in a circle.
#[computed]
async fn spring(cx: &Cx, probe: State<Probe>) -> Result<u64, Failure> {
    probe.pass("spring").await?;
    Ok(*cx.get(winter()).await?)
}

#[computed]
async fn summer(cx: &Cx, probe: State<Probe>) -> Result<u64, Failure> {
    probe.pass("summer").await?;
    Ok(*cx.get(spring()).await?)
}

#[computed]
async fn autumn(cx: &Cx, probe: State<Probe>) -> Result<u64, Failure> {
    probe.pass("autumn").await?;
    Ok(*cx.get(summer()).await?)
}

#[computed]
async fn winter(cx: &Cx, probe: State<Probe>) -> Result<u64, Failure> {
    probe.pass("winter").await?;
    Ok(*cx.get(autumn()).await?)
}

#[computed]
async fn shared(probe: State<Probe>) -> Result<u64, Failure> {
    probe.pass("shared").await?;
    Ok(1)
}

#[computed]
async fn left(cx: &Cx) -> Result<u64, Failure> {
    Ok(*cx.get(shared()).await?)
}

#[computed]
async fn right(cx: &Cx) -> Result<u64, Failure> {
    Ok(*cx.get(shared()).await?)
}

#[computed]
async fn diamond(cx: &Cx) -> Result<u64, Failure> {
    let (left, right, shared) = tokio::join!(cx.get(left()), cx.get(right()), cx.get(shared()));
    Ok(*left? + *right? + *shared?)
}

/// Asks for something that takes long, and soon does without.
#[computed]
async fn impatient(cx: &Cx, probe: State<Probe>) -> Result<u64, Failure> {
    let asked = tokio::time::timeout(Duration::from_millis(800), cx.get(thorough())).await;
    assert!(!matches!(asked, Ok(Ok(_))), "the other one takes longer, or waits for this one");
    probe.pass("impatient").await?;
    Ok(1)
}

/// Takes its time, and then asks for what had asked for it.
#[computed]
async fn thorough(cx: &Cx, probe: State<Probe>) -> Result<u64, Failure> {
    probe.pass("thorough").await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    Ok(*cx.get(impatient()).await? + 1)
}

fn register(builder: Builder) -> Builder {
    builder
        .register::<chicken>()
        .register::<egg>()
        .register::<spring>()
        .register::<summer>()
        .register::<autumn>()
        .register::<winter>()
        .register::<shared>()
        .register::<left>()
        .register::<right>()
        .register::<diamond>()
        .register::<impatient>()
        .register::<thorough>()
}

/// Several processes, as far as the engine knows, and how often they ask for the waits of others.
struct Processes<const N: usize> {
    each: [Smache; N],
    probe: Probe,
    faults: Faults,
}

impl<const N: usize> Processes<N> {
    async fn start() -> Result<Self> {
        let (world, faults) = World::faulty_attached();
        let mut each = Vec::new();
        for _ in 0..N {
            each.push(register(world.builder()).build().await?);
        }
        Ok(Self { each: each.try_into().expect("that many"), probe: world.probe, faults })
    }

    fn asked(&self) -> usize {
        self.faults.calls("record_waits")
    }
}

type Reading = JoinHandle<Result<Cached<u64>>>;

macro_rules! reading {
    ($process:expr, $call:expr) => {{
        let process = $process.clone();
        tokio::spawn(async move { process.get($call).await })
    }};
}

/// All fail with a cycle of those, wherever it starts.
async fn assert_cycle(readings: impl IntoIterator<Item = Reading>, around: &[&str]) {
    let begin = Instant::now();
    for reading in readings {
        let error = reading.await.expect("no panic").expect_err("a cycle");
        assert_eq!(error.kind(), ErrorKind::Cycle, "{}", error.report());
        let path = |from: usize| {
            let path: Vec<&str> = around.iter().cycle().skip(from).take(around.len() + 1).copied().collect();
            format!("wait for each other: {};", path.join(" → "))
        };
        let named = (0..around.len()).any(|from| error.report().contains(&path(from)));
        assert!(named, "{}", error.report());
        assert!(begin.elapsed() < SOON, "it took {:?}", begin.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_cycle_through_two_processes_is_refused_with_its_path() -> Result<()> {
    let Processes { each: [one, two], probe, .. } = Processes::start().await?;
    probe.close();
    let readings = [reading!(one, chicken()), reading!(two, egg())];
    probe.arrived(2).await;
    probe.open();
    assert_cycle(readings, &["chicken", "egg"]).await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_cycle_is_named_in_full_also_where_it_runs_within_a_process() -> Result<()> {
    let Processes { each: [one, two], probe, .. } = Processes::start().await?;
    probe.close();
    let readings = [reading!(one, winter()), reading!(two, summer())];
    probe.arrived(2).await;
    probe.open();
    assert_cycle(readings, &["winter", "autumn", "summer", "spring"]).await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_cycle_through_four_processes_is_refused_with_its_path() -> Result<()> {
    let Processes { each: [one, two, three, four], probe, .. } = Processes::start().await?;
    probe.close();
    let readings =
        [reading!(one, winter()), reading!(two, autumn()), reading!(three, summer()), reading!(four, spring())];
    probe.arrived(4).await;
    probe.open();
    assert_cycle(readings, &["winter", "autumn", "summer", "spring"]).await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_cycle_is_found_though_the_store_fails_in_between() -> Result<()> {
    for fault in [Fault::Unavailable, Fault::Ambiguous] {
        let Processes { each: [one, two], probe, faults } = Processes::start().await?;
        faults.times("record_waits", fault, 3);
        probe.close();
        let readings = [reading!(one, chicken()), reading!(two, egg())];
        probe.arrived(2).await;
        probe.open();
        assert_cycle(readings, &["chicken", "egg"]).await;
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_shared_child_that_another_process_runs_is_no_cycle() -> Result<()> {
    let processes = Processes::start().await?;
    let [one, two] = &processes.each;
    let probe = &processes.probe;
    probe.close();
    let below = reading!(two, shared());
    probe.arrived(1).await;
    let above = reading!(one, diamond());
    let again = reading!(two, diamond());
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(processes.asked() > 3, "they wait for long enough to look: {}", processes.asked());
    probe.open();
    for (reading, value) in [(below, 1), (above, 3), (again, 3)] {
        assert_eq!(*reading.await.expect("no panic")?, value);
    }
    assert_eq!(probe.runs(), 1);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_was_given_up_is_no_part_of_a_cycle() -> Result<()> {
    let processes = Processes::start().await?;
    let [one, two] = &processes.each;
    let probe = &processes.probe;
    let thorough = reading!(two, thorough());
    probe.arrived(1).await;
    probe.act(Act::Sleep(Duration::from_secs(3)));
    let impatient = reading!(one, impatient());
    assert_eq!(*impatient.await.expect("no panic")?, 1);
    assert_eq!(*thorough.await.expect("no panic")?, 2);
    assert!(processes.asked() > 3, "both waited for long enough to look: {}", processes.asked());
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn only_a_long_wait_for_another_process_is_noted() -> Result<()> {
    let processes = Processes::start().await?;
    let [one, two] = &processes.each;
    let probe = &processes.probe;
    probe.act(Act::Sleep(Duration::from_secs(1)));
    assert_eq!(*one.get(diamond()).await?, 3);
    assert_eq!(processes.asked(), 0, "a run of the same process is not looked for in the store");
    one.invalidate_all().await?;
    probe.act(Act::Sleep(Duration::from_millis(50)));
    let (one, two) = tokio::join!(one.refresh(shared()), two.refresh(diamond()));
    assert_eq!((*one?, *two?), (1, 3));
    assert_eq!(processes.asked(), 0, "nor one that is over soon");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn what_waited_in_a_cycle_can_be_computed_when_there_is_none_any_more() -> Result<()> {
    let processes = Processes::start().await?;
    let [one, two] = &processes.each;
    let probe = &processes.probe;
    probe.close();
    let readings = [reading!(one, chicken()), reading!(two, egg())];
    probe.arrived(2).await;
    probe.open();
    assert_cycle(readings, &["chicken", "egg"]).await;
    assert_eq!(probe.under_way(), 0);
    // Without a lease in the way, the next reader runs the function at once, and finds the cycle within its process.
    let asked = processes.asked();
    assert_cycle([reading!(one, chicken())], &["chicken", "egg"]).await;
    assert_eq!(processes.asked(), asked);
    Ok(())
}
