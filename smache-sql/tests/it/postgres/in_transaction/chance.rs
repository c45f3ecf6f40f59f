//! Writers, readers and workers at random: a result that is called fresh has every change that was committed before the
//! read. There is no feed, so that no reader waits for one.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use serde::Deserialize;
use smache_core::{Call, Computed, Cx, Declaration, EntityType, Failure, Smache, Token};
use smache_sql::{PostgresSource, PostgresTransaction};
use sqlx::PgPool;

use super::{World, run, until};

const ROWS: i64 = 5;
const WRITERS: u64 = 4;
const READERS: u64 = 6;
const ROUNDS: u32 = 60;

/// A row that only grows.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Counter {
    id: i64,
    n: i64,
}

impl EntityType for Counter {
    type Id = i64;
    const SOURCE: &'static str = "counters";

    fn id(&self) -> &i64 {
        &self.id
    }
}

/// A small generator.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed >> 32) % bound
    }

    async fn pause(&mut self) {
        match self.below(4) {
            0 => tokio::task::yield_now().await,
            1 => tokio::time::sleep(Duration::from_millis(self.below(3))).await,
            _ => {}
        }
    }
}

/// The number of one row, some time after it was read.
struct Number;

impl Computed for Number {
    type Args = (i64,);
    type Output = i64;

    fn declaration() -> Declaration {
        Declaration::new("number")
    }

    async fn compute(cx: &Cx, (id,): Self::Args) -> Result<i64, Failure> {
        let row = cx.load::<Counter>(&id).await?;
        tokio::time::sleep(Duration::from_millis(1)).await;
        Ok(row.map_or(0, |row| row.n))
    }
}

/// All numbers, through the results of each.
struct Numbers;

impl Computed for Numbers {
    type Args = ();
    type Output = Vec<i64>;

    fn declaration() -> Declaration {
        Declaration::new("numbers")
    }

    async fn compute(cx: &Cx, (): Self::Args) -> Result<Vec<i64>, Failure> {
        let mut numbers = Vec::new();
        for id in 1..=ROWS {
            numbers.push(*cx.get(Call::<Number>::new((id,))).await?);
        }
        Ok(numbers)
    }
}

/// The least value of every row, since a commit was acknowledged.
type Floors = Arc<Vec<AtomicI64>>;

/// Changes some rows in a transaction and reports them, in one of several ways; some are rolled back.
async fn write(smache: &Smache, pool: &PgPool, floors: &Floors, chance: &mut Chance) {
    let mut ids: Vec<i64> = (1..=ROWS).filter(|_| chance.below(3) == 0).collect();
    if ids.is_empty() {
        ids.push(1);
    }
    let mut tx = pool.begin().await.expect("begin");
    let mut images = HashMap::new();
    for &id in &ids {
        let update = sqlx::query_scalar("UPDATE counters SET n = n + 1 WHERE id = $1 RETURNING n").bind(id);
        let n: i64 = update.fetch_one(&mut *tx).await.expect("a change");
        images.insert(id, n);
        chance.pause().await;
    }
    let mut report = smache.in_transaction(PostgresTransaction::new(&mut tx));
    let uncommitted = if let [id] = ids[..] {
        let image = |n| Counter { id, n };
        report.changed_from(Some(&image(images[&id] - 1)), Some(&image(images[&id]))).await
    } else {
        report.changed_many::<Counter>(&ids).await
    };
    drop(report);
    let uncommitted = uncommitted.expect("a report");
    chance.pause().await;
    if chance.below(3) == 0 {
        tx.rollback().await.expect("rollback");
        return;
    }
    tx.commit().await.expect("commit");
    for (id, n) in &images {
        floors[*id as usize - 1].fetch_max(*n, SeqCst);
    }
    let token = uncommitted.committed().await;
    if chance.below(4) == 0 {
        let read = smache.get(Call::<Number>::new((ids[0],)).at_least(token)).await.expect("one's own write");
        assert!(*read >= images[&ids[0]], "{} is not one's own write, {}", *read, images[&ids[0]]);
    }
}

/// Reads in one of several ways, and says whether the answer was called fresh.
async fn read(smache: &Smache, floors: &Floors, chance: &mut Chance) -> bool {
    let floor = |id: usize| floors[id].load(SeqCst);
    if chance.below(3) == 0 {
        let least: Vec<i64> = (0..ROWS as usize).map(floor).collect();
        let numbers = smache.get(Call::<Numbers>::new(())).await.expect("the numbers");
        let behind = numbers.iter().zip(&least).any(|(number, least)| number < least);
        assert!(!(numbers.is_fresh() && behind), "{:?} is called fresh after {least:?}", *numbers);
        return numbers.is_fresh();
    }
    let id = chance.below(ROWS as u64) as usize;
    let least = floor(id);
    let call = Call::<Number>::new((id as i64 + 1,));
    let call = if chance.below(4) == 0 { call.fresh() } else { call };
    match smache.get(call).await {
        Ok(number) => {
            assert!(!number.is_fresh() || *number >= least, "{} is called fresh after {least}", *number);
            number.is_fresh()
        }
        // It changes faster than it is computed, for a reader that insists on a fresh one.
        Err(error) => {
            assert!(error.is_transient(), "{}", error.report());
            false
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fresh_results_have_every_change_that_was_committed_before_they_were_asked_for() {
    let world = World::new().await;
    let table = format!(
        "CREATE TABLE counters (id bigint PRIMARY KEY, n bigint NOT NULL);
         INSERT INTO counters SELECT id, 0 FROM generate_series(1, {ROWS}) AS id"
    );
    run(&world.url, table).await;
    // Two processes have nothing in common but the database.
    let mut systems = Vec::new();
    for _ in 0..2 {
        let source = PostgresSource::<Counter>::builder(&world.pool, "counters").schema(&world.schema);
        let builder = world.bare().source(source.transactional().build()).register::<Number>().register::<Numbers>();
        systems.push(builder.backend(world.backend().await).build().await.expect("a system"));
    }
    let workers: Vec<_> = systems.iter().map(|system| system.worker().concurrency(3).start()).collect();
    let floors: Floors = Arc::new((0..ROWS).map(|_| AtomicI64::new(0)).collect());
    let over = Arc::new(AtomicBool::new(false));
    let fresh = Arc::new(AtomicUsize::new(0));
    let seed = u64::from_le_bytes(Token::random().as_bytes()[..8].try_into().expect("eight bytes"));

    let system = |number: u64| systems[number as usize % systems.len()].clone();
    let readers: Vec<_> = (0..READERS)
        .map(|reader| {
            let smache = system(reader);
            let floors = floors.clone();
            let over = over.clone();
            let fresh = fresh.clone();
            let mut chance = Chance(seed ^ (reader << 32));
            tokio::spawn(async move {
                while !over.load(SeqCst) {
                    fresh.fetch_add(read(&smache, &floors, &mut chance).await.into(), SeqCst);
                    chance.pause().await;
                }
            })
        })
        .collect();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let smache = system(writer);
            let pool = world.pool.clone();
            let floors = floors.clone();
            let mut chance = Chance(seed.wrapping_add(writer));
            tokio::spawn(async move {
                for _ in 0..ROUNDS {
                    write(&smache, &pool, &floors, &mut chance).await;
                    tokio::time::sleep(Duration::from_millis(chance.below(12))).await;
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("a writer");
    }
    over.store(true, SeqCst);
    for reader in readers {
        reader.await.expect("a reader");
    }
    assert!(fresh.load(SeqCst) > 100, "so few fresh answers prove nothing: {fresh:?}");

    // And no work remains.
    let last: Vec<i64> = floors.iter().map(|floor| floor.load(SeqCst)).collect();
    until("all is computed", async || {
        let numbers = systems[0].get(Call::<Numbers>::new(())).await.expect("the numbers");
        numbers.is_fresh() && *numbers == last
    })
    .await;
    for worker in workers {
        worker.shutdown(Duration::from_secs(5)).await;
    }
}
