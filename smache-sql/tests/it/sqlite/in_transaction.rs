//! Changes that are reported within the transactions that make them: data, results and jobs in one file.

use std::{path::PathBuf, sync::Arc, time::Duration};

use smache_core::{
    Backend, Builder, Clock, ErrorKind, Guarantee, Lane, ManualClock, Namespace, Reserve, Severity, Smache, Uncommitted,
};
use smache_sql::{Sqlite, SqliteSource, SqliteTransaction};
use sqlx::{AssertSqlSafe, SqliteConnection, SqlitePool, Transaction, sqlite::SqliteConnectOptions};
use tempfile::TempDir;

use crate::{
    support::LONG,
    users::{Gate, NameOf, User, end, is, name_of, reading, recomputed, stored, until},
};

/// A file with users and a store.
struct World {
    _folder: TempDir,
    path: PathBuf,
    pool: SqlitePool,
    gate: Gate,
}

impl World {
    /// With the users 1 to 3, all called Ann.
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("shop.db");
        Sqlite::open(&path).await.expect("the tables of a store");
        let options = SqliteConnectOptions::new().filename(&path).busy_timeout(Duration::from_secs(10));
        let pool = SqlitePool::connect_with(options).await.expect("a pool");
        let users = "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
            INSERT INTO users VALUES (1, 'Ann'), (2, 'Ann'), (3, 'Ann');";
        sqlx::raw_sql(users).execute(&pool).await.expect("a table");
        Self { _folder: folder, path, pool, gate: Gate::new() }
    }

    fn bare(&self) -> Builder {
        let source = SqliteSource::<User>::builder(&self.pool, "users").transactional().build();
        let builder = Smache::builder("shop").source(source).state(self.gate.clone()).register::<NameOf>();
        builder.read_patience(Duration::from_secs(5))
    }

    async fn backend(&self) -> Sqlite {
        Sqlite::open(&self.path).await.expect("the file")
    }

    async fn start(&self) -> Smache {
        self.bare().backend(self.backend().await).build().await.expect("a system")
    }

    async fn begin(&self) -> Transaction<'static, sqlx::Sqlite> {
        self.pool.begin_with("BEGIN IMMEDIATE").await.expect("begin")
    }
}

async fn rename(tx: &mut SqliteConnection, id: i64, name: &str) {
    let query = sqlx::query("UPDATE users SET name = $2 WHERE id = $1").bind(id).bind(name.to_owned());
    assert_eq!(query.execute(tx).await.expect("an update").rows_affected(), 1);
}

async fn report(smache: &Smache, tx: &mut SqliteConnection, id: i64) -> smache_core::Result<Uncommitted> {
    smache.in_transaction(SqliteTransaction::new(tx)).changed::<User>(&id).await
}

#[tokio::test]
async fn results_are_stale_with_the_commit_and_untouched_by_a_rollback() {
    let world = World::new().await;
    let smache = world.start().await;
    for id in [1, 2] {
        assert!(smache.get(name_of(id)).await.expect("a value").is_fresh());
    }
    for commits in [false, true] {
        let mut tx = world.begin().await;
        rename(&mut tx, 1, "Bea").await;
        let uncommitted = report(&smache, &mut tx, 1).await.expect("a report");
        assert_eq!(stored(&smache, 1).await, is("Ann", true), "no other connection sees it, and none waits");
        if commits {
            tx.commit().await.expect("commit");
            let token = uncommitted.committed().await;
            assert_eq!(stored(&smache, 1).await, is("Ann", false));
            assert_eq!(*smache.get(name_of(1).at_least(token)).await.expect("one's own write"), "Bea");
        } else {
            tx.rollback().await.expect("rollback");
            assert_eq!(stored(&smache, 1).await, is("Ann", true));
            let stats = smache.inspect().stats().await.expect("numbers");
            assert_eq!((stats.store.revision, stats.jobs.recompute), (0, 0));
        }
    }
    assert_eq!(stored(&smache, 2).await, is("Ann", true));
}

#[tokio::test]
async fn run_that_read_before_a_commit_is_not_fresh_after_it_and_one_before_a_rollback_is() {
    let world = World::new().await;
    let smache = world.start().await;
    for stored_before in [false, true] {
        let run = reading(&world.gate, &smache, 1).await;
        let mut tx = world.begin().await;
        rename(&mut tx, 1, "Bea").await;
        let _token = report(&smache, &mut tx, 1).await.expect("a report");
        world.gate.open();
        assert_eq!(stored(&smache, 1).await.is_some(), stored_before, "it waits for the writer");
        tx.commit().await.expect("commit");
        assert_eq!(end(&world.gate, run).await, ("Ann".to_owned(), false));
        recomputed(&smache, 1, "Bea").await;

        let run = reading(&world.gate, &smache, 1).await;
        let mut tx = world.begin().await;
        rename(&mut tx, 1, "Cid").await;
        let _never = report(&smache, &mut tx, 1).await.expect("a report");
        tx.rollback().await.expect("rollback");
        assert_eq!(end(&world.gate, run).await, ("Bea".to_owned(), true));
        let mut tx = world.begin().await;
        rename(&mut tx, 1, "Ann").await;
        let _token = report(&smache, &mut tx, 1).await.expect("a report");
        tx.commit().await.expect("commit");
        recomputed(&smache, 1, "Ann").await;
    }
}

#[tokio::test]
async fn savepoint_takes_its_reports_back() {
    use sqlx::Acquire;
    let world = World::new().await;
    let smache = world.start().await;
    assert!(smache.get(name_of(1)).await.expect("a value").is_fresh());
    let mut tx = world.begin().await;
    let mut inner = tx.begin().await.expect("a savepoint");
    rename(&mut inner, 1, "Bea").await;
    let _never = report(&smache, &mut inner, 1).await.expect("a report");
    inner.rollback().await.expect("rollback to the savepoint");
    tx.commit().await.expect("commit");
    assert_eq!(stored(&smache, 1).await, is("Ann", true));
}

/// Its snapshot is old, and it can never write any more.
#[tokio::test]
async fn transaction_that_read_before_others_wrote_must_begin_as_a_writer() {
    let world = World::new().await;
    let smache = world.start().await;
    let mut tx = world.pool.begin().await.expect("a deferred one");
    let _: i64 = sqlx::query_scalar("SELECT count(*) FROM users").fetch_one(&mut *tx).await.expect("a read");
    assert!(smache.get(name_of(1)).await.expect("a value").is_fresh());
    let error = report(&smache, &mut tx, 1).await.expect_err("its snapshot is old");
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Timeout, true), "{}", error.report());
    assert!(error.to_string().contains("BEGIN IMMEDIATE"), "{error}");
    tx.rollback().await.expect("rollback");
    assert_eq!(stored(&smache, 1).await, is("Ann", true));
}

#[tokio::test]
async fn transaction_on_another_file_is_refused() {
    let world = World::new().await;
    let other = World::new().await;
    let smache = world.start().await;
    let there = other.start().await;
    let mut tx = other.begin().await;
    let error = report(&smache, &mut tx, 1).await.expect_err("another file");
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::WrongServer, false), "{}", error.report());
    assert!(error.to_string().contains("not in the database of the transaction"), "{error}");
    tx.commit().await.expect("it is left as it was");
    assert_eq!(there.inspect().stats().await.expect("numbers").store.revision, 0);

    let folder = tempfile::tempdir().expect("a folder");
    let options = SqliteConnectOptions::new().filename(folder.path().join("plain.db")).create_if_missing(true);
    let plain = SqlitePool::connect_with(options).await.expect("a pool");
    let mut tx = plain.begin_with("BEGIN IMMEDIATE").await.expect("begin");
    let error = report(&smache, &mut tx, 1).await.expect_err("no store");
    assert_eq!(error.kind(), ErrorKind::WrongServer, "{}", error.report());
    assert!(error.to_string().contains("plain.db") && error.to_string().contains("Sqlite::open"), "{error}");

    let mut tx = world.begin().await;
    let nameless = Smache::builder("not-made").backend(other.backend().await).build().await.expect("a system");
    let error =
        nameless.in_transaction(SqliteTransaction::new(&mut tx)).changed_tag("any").await.expect_err("another file");
    assert_eq!(error.kind(), ErrorKind::WrongServer, "{}", error.report());
}

#[tokio::test]
async fn connection_without_a_transaction_is_refused_and_one_begun_by_hand_is_not() {
    let world = World::new().await;
    let smache = world.start().await;
    assert!(smache.get(name_of(1)).await.expect("a value").is_fresh());
    let mut connection = world.pool.acquire().await.expect("a connection");
    rename(&mut connection, 1, "Bea").await;
    let error = report(&smache, &mut connection, 1).await.expect_err("nothing is open");
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Config, false), "{}", error.report());
    assert_eq!(stored(&smache, 1).await, is("Ann", true), "nothing was reported");
    for (finish, fresh) in [("ROLLBACK", true), ("COMMIT", false)] {
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut *connection).await.expect("begin");
        let _token = report(&smache, &mut connection, 1).await.expect("a report");
        sqlx::raw_sql(AssertSqlSafe(finish)).execute(&mut *connection).await.expect(finish);
        assert_eq!(stored(&smache, 1).await, is("Ann", fresh), "{finish}");
    }
}

#[tokio::test]
async fn jobs_come_with_the_commit_and_are_found_by_workers_who_wait() {
    let world = World::new().await;
    let smache = world.bare().backend(world.backend().await).maintenance(false).build().await.expect("a system");
    assert!(smache.get(name_of(1)).await.expect("a value").is_fresh());
    let queue = world.backend().await.queue(&Namespace::new("shop").expect("a name")).expect("a queue");
    queue.reserve(Reserve::new(Lane::Recompute, 9, LONG)).await.expect("nothing yet");
    let worker = tokio::spawn({
        let queue = queue.clone();
        async move { queue.wait(LONG).await }
    });
    let mut tx = world.begin().await;
    rename(&mut tx, 1, "Bea").await;
    drop(report(&smache, &mut tx, 1).await.expect("a report"));
    assert_eq!(queue.counts().await.expect("counts").recompute, 0, "not before the commit");
    tx.commit().await.expect("commit");
    tokio::time::timeout(Duration::from_secs(60), worker).await.expect("it is woken").expect("a task").expect("wait");
    let jobs = queue.reserve(Reserve::new(Lane::Recompute, 9, LONG)).await.expect("reserve").jobs;
    assert_eq!(jobs.len(), 1);
}

#[tokio::test]
async fn jobs_are_due_by_the_clock_of_the_store() {
    let world = World::new().await;
    let clock = ManualClock::default();
    let backend = Sqlite::builder(&world.path).clock(Arc::new(clock.clone())).open().await.expect("the file");
    let queue = backend.queue(&Namespace::new("shop").expect("a name")).expect("a queue");
    let smache = world.bare().backend(backend).maintenance(false).build().await.expect("a system");
    assert!(smache.get(name_of(1)).await.expect("a value").is_fresh());
    clock.advance(Duration::from_secs(60));
    let mut tx = world.begin().await;
    rename(&mut tx, 1, "Bea").await;
    let _token = report(&smache, &mut tx, 1).await.expect("a report");
    tx.commit().await.expect("commit");
    let since = sqlx::query_scalar("SELECT since FROM smache_entries").fetch_one(&world.pool);
    let since: i64 = since.await.expect("it is stored");
    assert_eq!(since.cast_unsigned(), clock.now().as_millis());
    let jobs = queue.reserve(Reserve::new(Lane::Recompute, 9, LONG)).await.expect("reserve").jobs;
    assert_eq!(jobs.len(), 1, "it is due");
}

#[tokio::test]
async fn queue_of_another_backend_gets_its_jobs_after_the_commit() {
    let world = World::new().await;
    let elsewhere = World::new().await;
    let builder = world.bare().store(world.backend().await).queue(elsewhere.backend().await).maintenance(false);
    let smache = builder.build().await.expect("a system");
    assert!(smache.get(name_of(1)).await.expect("a value").is_fresh());
    let mut tx = world.begin().await;
    rename(&mut tx, 1, "Bea").await;
    let uncommitted = report(&smache, &mut tx, 1).await.expect("a report");
    tx.commit().await.expect("commit");
    assert_eq!(smache.inspect().stats().await.expect("numbers").jobs.recompute, 0);
    uncommitted.committed().await;
    assert_eq!(smache.inspect().stats().await.expect("numbers").jobs.recompute, 1);
    recomputed(&smache, 1, "Bea").await;
}

/// Writers, readers and workers at once: no fresh result is behind what was committed before it was asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fresh_results_have_every_change_that_was_committed_before_they_were_asked_for() {
    let world = World::new().await;
    let smache = world.start().await;
    let other = world.start().await;
    let workers = [smache.worker().start(), other.worker().start()];
    let (floor, known) = tokio::sync::watch::channel(0_u32);
    let readers: Vec<_> = [smache.clone(), smache.clone(), other.clone(), other.clone()]
        .into_iter()
        .map(|smache| {
            let known = known.clone();
            tokio::spawn(async move {
                let mut fresh = 0;
                while known.has_changed().is_ok() {
                    let least = *known.borrow();
                    let name = smache.get(name_of(1)).await.expect("a value");
                    let seen: u32 = name.trim_start_matches("Ann").parse().unwrap_or(0);
                    assert!(!name.is_fresh() || seen >= least, "{seen} is called fresh after {least}");
                    fresh += u32::from(name.is_fresh());
                }
                fresh
            })
        })
        .collect();
    for number in 1..=120 {
        let mut tx = world.begin().await;
        rename(&mut tx, 1, &format!("Ann{number}")).await;
        let _token = report(&smache, &mut tx, 1).await.expect("a report");
        if number % 3 == 0 {
            tx.rollback().await.expect("rollback");
        } else {
            tx.commit().await.expect("commit");
            floor.send_replace(number);
        }
        tokio::time::sleep(Duration::from_millis(u64::from(number % 12))).await;
    }
    drop(floor);
    let mut fresh = 0;
    for reader in readers {
        fresh += reader.await.expect("a reader");
    }
    assert!(fresh > 50, "so few fresh answers prove nothing: {fresh}");
    until("the last one is computed", async || stored(&smache, 1).await == is("Ann119", true)).await;
    for worker in workers {
        worker.shutdown(Duration::from_secs(5)).await;
    }
}

#[tokio::test]
async fn doctor_says_exact_only_of_a_source_beside_its_store() {
    let world = World::new().await;
    let elsewhere = World::new().await;
    for (backend, guarantee, worst) in [
        (world.backend().await, Guarantee::Exact, None),
        (elsewhere.backend().await, Guarantee::BestEffort, Some(Severity::Danger)),
    ] {
        let diagnosis = world.bare().backend(backend).build().await.expect("a system").inspect().doctor().await;
        let part = diagnosis.parts.iter().find(|part| part.role == "source users").expect("the source");
        let found = part.examination.findings.iter().map(|finding| finding.severity).max();
        assert_eq!((part.examination.guarantee, found), (Some(guarantee), worst), "{diagnosis}");
        assert!(part.examination.what.contains("shop.db"), "{diagnosis}");
    }
    let error = SqliteSource::<User>::builder(&world.pool, "users").transactional().build().install().await;
    assert_eq!(error.expect_err("no triggers").kind(), ErrorKind::Config);
}
