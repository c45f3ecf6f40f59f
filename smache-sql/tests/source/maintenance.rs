//! The maintenance of a feed of tables: it removes old changes and mends foreign ones, and holds no writer up.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use smache_core::{EntityType, ErrorKind, Start};
use smache_testkit::servers::PostgresServer;
use sqlx::{AssertSqlSafe, PgPool, postgres::PgPoolOptions};

use crate::world::{Person, Source, World, key};

fn case(case: impl AsyncFnOnce(World)) {
    smache_testkit::run(async { case(World::postgres().await).await });
}

fn postgres(world: &World) -> (&PgPool, &str) {
    match world {
        World::Postgres { pool, schema } => (pool, schema),
        World::Sqlite { .. } => panic!("this case is for PostgreSQL"),
    }
}

const LONG: Duration = Duration::from_secs(45);

#[test]
fn old_changes_of_a_schema_are_removed_in_portions_under_a_constant_load() {
    smache_testkit::run(async {
        // On a shared one, the transactions of others hold the removal back.
        let server = PostgresServer::builder().config("autovacuum", "off").start().await;
        old_changes_are_removed_in_portions(World::postgres_at(&server.url()).await).await;
    });
}

#[test]
fn old_changes_of_a_file_are_removed_in_portions_under_a_constant_load() {
    smache_testkit::run(async { old_changes_are_removed_in_portions(World::sqlite().await).await });
}

async fn old_changes_are_removed_in_portions(world: World) {
    let mut tail = world.tail().await;
    let numbers = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 25000)";
    world.run(&format!("{numbers} INSERT INTO <people> (id, name) SELECT i, 'x' FROM n")).await;
    let changes = world.table("smache_changes");
    let long_ago = if world.is_postgres() { "now() - interval '2 days'" } else { "0" };
    world.run(&format!("UPDATE {changes} SET at = {long_ago}")).await;
    assert_eq!(tail.all().await.len(), 25_000);
    let mut tail = world.source().open(Start::After(tail.stream.position())).await.expect("open");
    // A minute passes before it looks for more, unless there was a full portion.
    let started = Instant::now();
    let sql = format!("SELECT CAST(count(*) AS TEXT) FROM {changes} WHERE seq <= 25000");
    let left = async || world.ask(&sql).await[0].parse::<i64>().expect("a number");
    let mut before = left().await;
    let mut id = 100_000;
    while before > 0 {
        assert!(started.elapsed() < LONG, "{before} old changes are left");
        id += 1;
        world.run(&format!("INSERT INTO <people> (id, name) VALUES ({id}, 'new')")).await;
        while tail.next().await.changes.is_empty() {}
        let after = left().await;
        assert!(world.is_postgres() || before - after <= 10_000, "{} at once", before - after);
        before = after;
    }
    assert!(world.ask(&format!("SELECT source FROM {changes}")).await.len() >= id - 100_000, "the new ones are kept");
}

#[test]
fn a_change_table_from_another_server_is_named_and_mended() {
    case(async |world| {
        let source = world.source();
        let mut tail = world.tail().await;
        let feed = world.table("smache_feed");
        let changes = world.table("smache_changes");
        for (foreign, is_named) in [
            (format!("UPDATE {feed} SET trimmed = '1000000000000'"), true),
            (format!("UPDATE {changes} SET xid = '1000000000000'"), false),
        ] {
            world.run("INSERT INTO <people> (id, name) SELECT coalesce(max(id), 0) + 1, 'x' FROM <people>").await;
            tail.told().await;
            let position = tail.stream.position();
            world.run(&foreign).await;
            if is_named {
                let opened = source.open(Start::Now).await.err().expect("no position is good there");
                for error in [tail.stream.next().await.expect_err("nothing can be read"), opened] {
                    assert_eq!(error.kind(), ErrorKind::Config, "{}", error.report());
                    let text = error.to_string();
                    assert!(text.contains("another server") && text.contains("`install`"), "{text}");
                }
            }
            source.install().await.expect("install");
            assert!(world.ask(&format!("SELECT source FROM {changes}")).await.is_empty());
            let error = source.open(Start::After(position)).await.err().expect("another history");
            assert_eq!(error.kind(), ErrorKind::HistoryLost, "{}", error.report());
            tail = source.tail().await;
            world.run("UPDATE <people> SET name = name || 'y' WHERE id = 1").await;
            assert_eq!(tail.all().await.len(), 1, "the triggers are the same");
        }
    });
}

#[test]
fn a_poll_reads_nothing_of_what_it_has_read_while_a_transaction_stays_open() {
    case(async |world| {
        world.source().install().await.expect("install");
        let (pool, schema) = postgres(&world);
        let mut long = pool.begin().await.expect("a transaction");
        let _xid: String =
            sqlx::query_scalar("SELECT pg_current_xact_id()::text").fetch_one(&mut *long).await.expect("a number");
        world.run("INSERT INTO <people> (id, name) SELECT i, 'x' FROM generate_series(1, 20000) i").await;
        world.run(&format!("ANALYZE {}", world.table("smache_changes"))).await;
        let seen = world.ask("SELECT pg_current_snapshot()::text").await.remove(0);
        let running = seen.rsplit(':').next().expect("a list");
        assert!(!running.is_empty());
        let sql = include_str!("../../src/source/queries/postgres_read.sql")
            .replace("{schema}", &format!("\"{schema}\""))
            .replace("{history}", "''")
            .replace("{guarded}", "true")
            .replace("{triggers}", "''")
            .replace("{columns}", "0")
            .replace("$1", &format!("'{seen}'"))
            .replace("$2", "NULL")
            .replace("$3", "0")
            .replace("$4", "'{people}'")
            .replace("$5", "1000")
            .replace("$6", &format!("'{{{running}}}'"));
        let plan = world.ask(&format!("EXPLAIN (ANALYZE) {sql}")).await;
        let removed = plan.iter().filter_map(|line| line.split_once("Rows Removed by ")?.1.rsplit(' ').next());
        let removed: u64 = removed.map(|number| number.parse::<u64>().expect("a number")).sum();
        assert!(removed < 100, "{}", plan.join("\n"));
    });
}

#[derive(Debug, Serialize, Deserialize)]
struct Part {
    id: i64,
}

impl EntityType for Part {
    type Id = i64;
    const SOURCE: &'static str = "parts";

    fn id(&self) -> &i64 {
        &self.id
    }
}

async fn loaded(source: &Source<Part>, ids: &[i64]) -> Vec<bool> {
    let keys: Vec<_> = ids.iter().copied().map(key).collect();
    source.plain().load(&keys).await.expect("load").iter().map(Option::is_some).collect()
}

#[test]
fn ids_that_no_row_can_have_are_absent_without_a_scan_of_the_table() {
    case(async |world| {
        let (pool, schema) = postgres(&world);
        // One connection, whose counts are reported together.
        let single = PgPoolOptions::new().max_connections(1).connect_with((*pool.connect_options()).clone()).await;
        let single = World::Postgres { pool: single.expect("a connection"), schema: schema.to_owned() };
        let table = single.table("parts");
        single
            .run(&format!(
                "CREATE TABLE {table} (id int PRIMARY KEY);
                 INSERT INTO {table} SELECT generate_series(1, 5000); ANALYZE {table}"
            ))
            .await;
        let scans = format!("SELECT seq_scan::text FROM pg_stat_user_tables WHERE relid = '{table}'::regclass");
        let filled = async |most: i64| {
            single.ask(&format!("SELECT count(*)::text FROM {table} WHERE id + 0 > 0")).await;
            let started = Instant::now();
            loop {
                // Else the server tells of some now and of others a second later.
                single.run("SELECT pg_stat_force_next_flush()").await;
                let number: i64 = single.ask(&scans).await[0].parse().expect("a number");
                if number >= most {
                    break number;
                }
                assert!(started.elapsed() < LONG, "the server counts {number} scans");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let before = filled(1).await;
        let source = single.source_of::<Part>("parts");
        assert_eq!(loaded(&source, &[i64::MAX]).await, [false]);
        assert_eq!(
            loaded(&source, &[1, i64::MAX, 2, 9_999, i64::MIN, 3]).await,
            [true, false, true, false, false, true]
        );
        assert_eq!(filled(before + 1).await, before + 1, "the scan of this test alone");

        let small = world.table("small_id");
        let domain = world.table("small");
        world
            .run(&format!(
                "CREATE DOMAIN {domain} AS int CHECK (VALUE < 100);
                 CREATE TABLE {small} (id {domain} PRIMARY KEY); INSERT INTO {small} VALUES (1), (2)"
            ))
            .await;
        let source = world.source_of::<Part>("small_id");
        assert_eq!(loaded(&source, &[1, 500, 2]).await, [true, false, true]);
        assert_eq!(loaded(&source, &[500]).await, [false]);
    });
}

#[test]
fn a_change_of_columns_that_gives_rows_other_values_resets_the_source() {
    case(async |world| {
        world.run("INSERT INTO <people> (id, name, note) VALUES (1, 'Anna', 'x')").await;
        let mut tail = world.tail().await;
        let start = tail.stream.position();
        world.run("ALTER TABLE <people> ALTER COLUMN note TYPE text USING note || '!'").await;
        assert_eq!(tail.told().await, ["people reset"]);
        world.run("VACUUM FULL <people>").await;
        world.run("ANALYZE <people>; CREATE INDEX ON <people> (name)").await;
        assert!(tail.told().await.is_empty(), "once, and no value is another one");
        let between = tail.stream.position();
        world.run("ALTER TABLE <people> ADD COLUMN age int DEFAULT 7").await;
        world.run("UPDATE <people> SET note = 'y'").await;
        assert_eq!(tail.told().await, ["1 updated Anna/x!→Anna/y [note]", "people reset"]);
        // Also for a stream that was not open then.
        for position in [start, between] {
            let mut again = world.source().open(Start::After(position)).await.expect("open");
            assert_eq!(again.told().await, ["1 updated Anna/x!→Anna/y [note]", "people reset"]);
        }
    });
}

#[test]
fn installing_again_waits_for_no_reader() {
    case(async |world| {
        let source = world.source();
        source.install().await.expect("install");
        let mut writer = postgres(&world).0.begin().await.expect("a transaction");
        let insert = format!("INSERT INTO {} (id, name) VALUES (1, 'x')", world.table("people"));
        sqlx::query(AssertSqlSafe(insert)).execute(&mut *writer).await.expect("an insert");
        tokio::time::timeout(LONG, source.install()).await.expect("it does not wait").expect("install");
        writer.commit().await.expect("a commit");
    });
}

#[test]
fn installing_lets_writers_pass_while_it_waits_for_one_that_stays_open() {
    case(async |world| {
        world.source().install().await.expect("install");
        world.run("ALTER TABLE <people> DISABLE TRIGGER smache_row").await;
        let mut writer = postgres(&world).0.begin().await.expect("a transaction");
        let insert = format!("INSERT INTO {} (id, name) VALUES (1, 'x')", world.table("people"));
        sqlx::query(AssertSqlSafe(insert)).execute(&mut *writer).await.expect("an insert");
        let source: Source<Person> = world.source();
        let installing = tokio::spawn(async move { source.install().await });
        let waiting = "SELECT count(*)::text FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
                       JOIN pg_namespace n ON n.oid = c.relnamespace
                       WHERE NOT l.granted AND n.nspname = split_part('<people>', '\"', 2)";
        while world.ask(waiting).await != ["1"] {
            assert!(!installing.is_finished(), "it waits");
        }
        let other = world.run("INSERT INTO <people> (id, name) VALUES (2, 'x')");
        tokio::time::timeout(LONG, other).await.expect("another writer does not wait for the first one");
        writer.commit().await.expect("a commit");
        installing.await.expect("the task").expect("install");
        assert!(world.source().open(Start::Now).await.is_ok());
    });
}
