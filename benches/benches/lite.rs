//! SQLite natively and on the key-value seam, side by side in one run: `cargo bench -p smache-benches --bench lite`.
//!
//! The samples of both alternate, each with a file in the same folder. Behind each time is the time that the threads of
//! the process ran, which depends less on the other work of the machine. A number as an argument repeats the whole.

use std::{path::Path, sync::Arc, time::Duration};

use smache::{
    backend::{
        Backend, Begin, BeginOutcome, CacheStore, ChangedDependency, Commit, CommitOutcome, Dependency, EntryId,
        Epochs, FunctionKey, Invalidation, JobEnd, JobQueue, Lane, Namespace, NewJob, OnConflict, Reserve, Settlement,
        Token, UsedDependency, Via,
    },
    kv::KvBackend,
    sqlite::Sqlite,
};
use smache_benches::{SqliteKeyValue, busy, median, time};

const LEASE: Duration = Duration::from_secs(60);

/// The sizes of the measurement.
#[derive(Clone, Copy)]
struct Sizes {
    reads: u64,
    writes: u64,
    dependants: u64,
    jobs: u32,
}

impl Sizes {
    const WHOLE: Self = Self { reads: 3_000, writes: 500, dependants: 10_000, jobs: 2_048 };
    const SMOKE: Self = Self { reads: 10, writes: 3, dependants: 30, jobs: 128 };
}

/// A store and a queue that share a file.
struct Side {
    store: Arc<dyn CacheStore>,
    queue: Arc<dyn JobQueue>,
    path: std::path::PathBuf,
}

impl Side {
    async fn native(folder: &Path, file: &str) -> Self {
        let path = folder.join(format!("native-{file}.db"));
        Self::of(&Sqlite::open(&path).await.expect("a file"), path)
    }

    async fn kv(folder: &Path, file: &str) -> Self {
        let path = folder.join(format!("kv-{file}.db"));
        let store = SqliteKeyValue::open(&path).await.expect("a file");
        // One writer at a time: a long step conflicts with none.
        Self::of(&KvBackend::builder(store).page(20_000).build(), path)
    }

    fn of(backend: &dyn Backend, path: std::path::PathBuf) -> Self {
        let (store, queue) = backend.both(&Namespace::new("shop").expect("a good name")).expect("both roles");
        Self { store, queue, path }
    }

    /// The bytes of the file after the log was written back.
    async fn size(&self) -> f64 {
        use smache::sqlite::sqlx::{self, ConnectOptions as _, sqlite::SqliteConnectOptions};
        let mut connection = SqliteConnectOptions::new().filename(&self.path).connect().await.expect("a file");
        sqlx::raw_sql("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut connection).await.expect("a checkpoint");
        std::fs::metadata(&self.path).expect("a file").len() as f64
    }
}

#[tokio::main]
async fn main() {
    let whole = std::env::args().any(|argument| argument == "--bench");
    let sizes = if whole { Sizes::WHOLE } else { Sizes::SMOKE };
    let times: u32 = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(1);
    for _ in 0..times {
        let folder = match std::env::var_os("FOLDER") {
            Some(folder) => tempfile::tempdir_in(folder),
            None => tempfile::tempdir(),
        };
        let folder = folder.expect("a folder");
        run(folder.path(), sizes).await;
    }
}

#[expect(clippy::print_stdout, reason = "a benchmark prints what it measures")]
fn row(what: &str, native: f64, kv: f64, unit: &str) {
    println!("| {what:<44} | {native:>10.1} {unit} | {kv:>10.1} {unit} | {:>5.2} |", kv / native);
}

/// The samples of one side.
#[derive(Default)]
struct Samples {
    wall: Vec<Duration>,
    /// How long the threads of this process ran, for all samples together.
    busy: Duration,
}

impl Samples {
    /// Measures the parts of a block of work, `each` of which counts as that many.
    async fn block(&mut self, parts: impl AsyncFn(&mut Vec<Duration>)) {
        let before = busy();
        parts(&mut self.wall).await;
        self.busy += busy().saturating_sub(before);
    }

    fn wall(&self) -> f64 {
        median(self.wall.clone()).as_secs_f64() * 1e6
    }

    fn busy(&self) -> f64 {
        self.busy.as_secs_f64() * 1e6 / self.wall.len() as f64
    }
}

/// Blocks of samples of both sides in turns.
async fn compare(
    what: &str,
    per: f64,
    sides: [&Side; 2],
    blocks: u64,
    parts: impl AsyncFn(&Side, u64, &mut Vec<Duration>),
) {
    let mut samples = [Samples::default(), Samples::default()];
    for block in 0..blocks {
        for (side, samples) in sides.into_iter().zip(&mut samples) {
            samples.block(async |wall| parts(side, block, wall).await).await;
        }
    }
    let [native, kv] = samples;
    row(what, native.wall() / per, kv.wall() / per, "µs");
    row("  [running]", native.busy() / per, kv.busy() / per, "µs");
}

/// How many samples one side takes before the other one.
const BLOCK: u64 = 25;

async fn run(folder: &Path, sizes: Sizes) {
    let (native, kv) = (Side::native(folder, "small").await, Side::kv(folder, "small").await);
    let sides = [&native, &kv];
    let blocks = sizes.writes.div_ceil(BLOCK);
    let many = blocks * BLOCK;
    for (round, dependencies) in [3, 100].into_iter().enumerate() {
        for what in ["begin and commit", "the same again"] {
            let from = round as u64 * many;
            let what = format!("{what}, {dependencies} dependencies");
            compare(&what, 1.0, sides, blocks, async |side, block, wall| {
                for one in 0..BLOCK {
                    let id = from + block * BLOCK + one;
                    wall.push(time(compute(&*side.store, id, dependencies)).await);
                }
            })
            .await;
        }
    }
    for at_once in [1, 50] {
        let what = if at_once == 1 { "look-up".to_owned() } else { format!("look-up of {at_once}") };
        compare(&what, 1.0, sides, sizes.reads.div_ceil(BLOCK), async |side, block, wall| {
            for one in 0..BLOCK {
                let from = (block * BLOCK + one) * at_once;
                let ids: Vec<EntryId> = (from..from + at_once).map(|id| entry(id % (2 * many))).collect();
                wall.push(time(async { side.store.lookup(&ids).await.expect("a look-up") }).await);
            }
        })
        .await;
    }
    for batch in [64, 1] {
        let jobs = if batch == 1 { sizes.jobs / 16 } else { sizes.jobs };
        let what = format!("a job: enqueue, reserve, settle, {batch} at once");
        compare(&what, f64::from(jobs), sides, 5, async |side, block, wall| {
            wall.push(time(pass_jobs(&*side.queue, jobs, batch, block)).await);
        })
        .await;
    }
    let (native, kv) = (Side::native(folder, "large").await, Side::kv(folder, "large").await);
    let sides = [&native, &kv];
    let rounds = if sizes.dependants > 1_000 { 3 } else { 1 };
    for side in sides {
        for id in 0..sizes.dependants * rounds {
            compute_of(&*side.store, id, 3, Some(id / sizes.dependants)).await;
        }
    }
    row("file of the results, 3 dependencies each", native.size().await / 1e3, kv.size().await / 1e3, "kB");
    let what = format!("change that affects {} results", sizes.dependants);
    compare(&what, 1.0, sides, rounds, async |side, block, wall| {
        let changed = vec![ChangedDependency { dependency: shared(block), cause: "a change".into() }];
        let invalidation = Invalidation { changed, entries: Vec::new(), step: None };
        wall.push(time(async { side.store.invalidate(invalidation).await.expect("an invalidation") }).await);
    })
    .await;
    row("file of the stale results and their jobs", native.size().await / 1e3, kv.size().await / 1e3, "kB");
}

fn shared(round: u64) -> Dependency {
    Dependency::tag(&format!("shared {round}"))
}

fn entry(number: u64) -> EntryId {
    let call = blake(number);
    EntryId::new(FunctionKey::from_bytes([1; 8]), call)
}

/// Bytes as random as those of an id.
fn blake(number: u64) -> [u8; 16] {
    let mut call = [0; 16];
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    for half in call.chunks_mut(8) {
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        half.copy_from_slice(&mixed.to_be_bytes());
    }
    call
}

/// A run with some dependencies.
async fn compute(store: &dyn CacheStore, number: u64, dependencies: u64) {
    compute_of(store, number, dependencies, None).await;
}

/// The same, one of them the shared one of a round.
async fn compute_of(store: &dyn CacheStore, number: u64, dependencies: u64, round: Option<u64>) {
    let id = entry(number);
    let token = Token::random();
    let begun = store.begin(Begin { id, token, lease: LEASE }).await.expect("begin");
    let BeginOutcome::Begun(begun) = begun else { panic!("another run holds it") };
    let used = (0..dependencies).map(|part| {
        let own = Dependency::tag(&format!("{number} {part}"));
        UsedDependency { dependency: round.filter(|_| part == 0).map_or(own, shared), via: Via::Direct }
    });
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
    let outcome = store.commit(commit).await.expect("commit");
    assert!(matches!(outcome, CommitOutcome::Fresh { .. }), "{outcome:?}");
}

/// Passes all jobs through the queue in batches.
async fn pass_jobs(queue: &dyn JobQueue, many: u32, batch: usize, round: u64) {
    let job = |job: u32| NewJob::now(entry(u64::from(job) + (round + 1) * 1_000_000), Lane::Recompute);
    let jobs: Vec<NewJob> = (0..many).map(job).collect();
    for batch in jobs.chunks(batch) {
        queue.enqueue(batch).await.expect("enqueue");
    }
    let mut passed = 0;
    while passed < jobs.len() {
        let taken = queue.reserve(Reserve::new(Lane::Recompute, batch, LEASE)).await.expect("reserve").jobs;
        assert!(!taken.is_empty(), "{passed} of {} jobs came", jobs.len());
        let done = |job: &smache::backend::Job| Settlement { id: job.id, token: job.token, end: JobEnd::Done };
        let settlements: Vec<Settlement> = taken.iter().map(done).collect();
        passed += queue.settle(&settlements).await.expect("settle").len();
    }
}
