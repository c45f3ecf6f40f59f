//! Every backend side by side in one table: `scripts/with-servers cargo bench -p smache-benches --bench backends`.
//!
//! The lines in brackets are the raw client of the same server in the same run; its samples alternate with ours. Names
//! of backends as arguments leave out the others: `… --bench backends -- redis sqlite`.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use smache::backend::{
    Begin, BeginOutcome, CacheStore, Commit, CommitOutcome, Dependency, EntryId, Epochs, FunctionKey, JobEnd, JobQueue,
    Lane, Namespace, NewJob, OnConflict, Reserve, Settlement, Token, UsedDependency, Via,
};
use smache_benches::{Item, Place, World, median, places, share, size, time};

/// The sizes of the measurement.
#[derive(Clone, Copy)]
struct Sizes {
    reads: u64,
    writes: u64,
    /// How many results one change affects.
    dependants: u64,
    /// How many jobs pass through the queue.
    jobs: u32,
}

impl Sizes {
    /// Enough for a table; `DEPENDANTS` makes the change smaller, for a server that takes too long for so many.
    fn whole() -> Self {
        let dependants = std::env::var("DEPENDANTS").map(|many| many.parse().expect("DEPENDANTS is a number"));
        Self { reads: 1_000, writes: 300, dependants: dependants.unwrap_or(10_000), jobs: 2_000 }
    }

    /// Enough to show that it works.
    const SMOKE: Self = Self { reads: 3, writes: 3, dependants: 20, jobs: 70 };
}

const LEASE: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() {
    let chosen: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    // `cargo bench` passes `--bench`, `cargo test --benches` does not.
    let sizes = if std::env::args().any(|argument| argument == "--bench") { Sizes::whole() } else { Sizes::SMOKE };
    let folder = tempfile::tempdir().expect("a folder");
    let mut table = Table::default();
    for mut place in places(folder.path()).await {
        if chosen.is_empty() || chosen.iter().any(|name| name == place.name) {
            table.columns.push(place.name);
            measure(&mut place, &mut table, sizes).await;
        }
    }
    table.print();
}

/// All measurements of one backend, in a column.
async fn measure(place: &mut Place, table: &mut Table, sizes: Sizes) {
    let world = World::on(Arc::clone(&place.backend), 2_000).await;
    world.smache.get(size(0u64)).await.expect("computes");
    let mut ours = Vec::new();
    let mut reads = Vec::new();
    let mut writes = Vec::new();
    for _ in 0..sizes.reads {
        let mut there = true;
        let raw = time(async { there = place.raw.read().await }).await;
        reads.extend(there.then_some(raw));
        ours.push(time(world.smache.get(size(0u64))).await);
    }
    let hit = median(ours);
    let mut misses = Vec::new();
    let mut commits = Vec::new();
    let store = place.backend.store(&namespace("commit")).expect("it has stores");
    for id in 1..=sizes.writes {
        let mut there = true;
        let raw = time(async { there = place.raw.write().await }).await;
        writes.extend(there.then_some(raw));
        misses.push(time(world.smache.get(size(id))).await);
        commits.push(commit(&*store, id).await);
    }
    let read = (!reads.is_empty()).then(|| median(reads));
    let write = (!writes.is_empty()).then(|| median(writes));
    table.row("warm hit", Some(hit));
    table.row("  [raw read of a row]", read);
    table.ratio("  ratio", hit, read);
    table.row("miss: look up, begin, run, commit", Some(median(misses)));
    let commit = median(commits);
    table.row("commit alone, 10 dependencies", Some(commit));
    table.row("  [raw write of a row]", write);
    table.ratio("  ratio", commit, write);
    table.row(
        format!("change that affects {} results", sizes.dependants),
        Some(invalidation(&world, sizes.dependants).await),
    );
    let queue = place.backend.queue(&namespace("jobs")).expect("it has queues");
    let spent = jobs(&*queue, sizes.jobs).await;
    table.number("jobs a second: enqueue, reserve and settle", f64::from(sizes.jobs) / spent.as_secs_f64());
    world.smache.shutdown().await;
}

fn namespace(what: &str) -> Namespace {
    Namespace::new(format!("bench-{what}-{}", Token::random())).expect("a good name")
}

fn entry(number: u64) -> EntryId {
    let mut call = [0; 16];
    call[..8].copy_from_slice(&number.to_be_bytes());
    EntryId::new(FunctionKey::from_bytes([1; 8]), call)
}

/// How long the commit of a run with ten dependencies takes.
async fn commit(store: &dyn CacheStore, number: u64) -> Duration {
    let id = entry(number);
    let token = Token::random();
    let begun = store.begin(Begin { id, token, lease: LEASE }).await.expect("begin");
    let BeginOutcome::Begun(begun) = begun else { panic!("another run holds it") };
    let used = (0..10)
        .map(|part| UsedDependency { dependency: Dependency::tag(&format!("{number} {part}")), via: Via::Direct });
    let commit = Commit {
        id,
        token,
        start_revision: begun.start_revision,
        version: begun.start_revision,
        on_conflict: OnConflict::StoreStale,
        incarnation: begun.incarnation.clone(),
        epochs: Epochs { global: begun.validity.epoch, sources: Default::default() },
        call: "a call".into(),
        value: vec![b'x'; 100].into(),
        meta: "{}".into(),
        used: used.collect(),
        ttl: None,
        not_after: None,
        tainted: false,
        lazy: false,
        conflict_delay: Duration::ZERO,
    };
    let mut outcome = None;
    let spent = time(async { outcome = Some(store.commit(commit).await.expect("commit")) }).await;
    assert!(matches!(outcome, Some(CommitOutcome::Fresh { .. })), "{outcome:?}");
    spent
}

/// How long it takes to mark all dependants of one item, with a job each.
async fn invalidation(world: &World, many: u64) -> Duration {
    let fill = stream::iter(0..many).for_each_concurrent(16, |part| async move {
        world.smache.get(share(0u64, part)).await.expect("computes");
    });
    fill.await;
    world.items.update(&0, |item| item.size += 1).expect("it is there");
    let spent = time(async { world.smache.changed::<Item>(&0).await.expect("a change") }).await;
    let stale = world.smache.inspect().stats().await.expect("stats").store.stale;
    assert!(stale >= many, "{stale} of {many} are stale");
    spent
}

/// How long it takes to pass all jobs through the queue in batches of 64.
async fn jobs(queue: &dyn JobQueue, many: u32) -> Duration {
    let jobs: Vec<NewJob> = (0..many).map(|job| NewJob::now(entry(u64::from(job)), Lane::Recompute)).collect();
    time(async {
        for batch in jobs.chunks(64) {
            queue.enqueue(batch).await.expect("enqueue");
        }
        let mut passed = 0;
        while passed < jobs.len() {
            let reserve = Reserve::new(Lane::Recompute, 64, LEASE);
            let taken = queue.reserve(reserve).await.expect("reserve").jobs;
            assert!(!taken.is_empty(), "{passed} of {} jobs came", jobs.len());
            let done = |job: &smache::backend::Job| Settlement { id: job.id, token: job.token, end: JobEnd::Done };
            let settlements: Vec<Settlement> = taken.iter().map(done).collect();
            passed += queue.settle(&settlements).await.expect("settle").len();
        }
    })
    .await
}

/// The table: a column a backend.
#[derive(Default)]
struct Table {
    columns: Vec<&'static str>,
    rows: Vec<(String, Vec<String>)>,
}

impl Table {
    fn cell(&mut self, what: impl Into<String>, cell: String) {
        let what = what.into();
        match self.rows.iter_mut().find(|(row, cells)| *row == what && cells.len() < self.columns.len()) {
            Some((_, cells)) => cells.push(cell),
            None => self.rows.push((what, vec![cell])),
        }
    }

    fn row(&mut self, what: impl Into<String>, spent: Option<Duration>) {
        let cell = spent.map_or("–".to_owned(), |spent| match spent.as_secs_f64() * 1e6 {
            micros if micros < 1_000.0 => format!("{micros:.1} µs"),
            micros if micros < 1_000_000.0 => format!("{:.2} ms", micros / 1e3),
            micros => format!("{:.2} s", micros / 1e6),
        });
        self.cell(what, cell);
    }

    fn ratio(&mut self, what: &'static str, ours: Duration, raw: Option<Duration>) {
        let ratio = |raw: Duration| format!("{:.2}", ours.as_secs_f64() / raw.as_secs_f64());
        self.cell(what, raw.map_or("–".to_owned(), ratio));
    }

    fn number(&mut self, what: &'static str, number: f64) {
        self.cell(what, format!("{number:.0}"));
    }

    #[expect(clippy::print_stdout, reason = "a benchmark prints what it measures")]
    fn print(&self) {
        let line = |what: &str, cells: &[String]| {
            let cells: Vec<String> = cells.iter().map(|cell| format!("{cell:>10}")).collect();
            println!("| {what:<44} | {} |", cells.join(" | "));
        };
        line("", &self.columns.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        println!("|{}|{}", "-".repeat(46), "-----------:|".repeat(self.columns.len()));
        for (what, cells) in &self.rows {
            line(what, cells);
        }
    }
}
