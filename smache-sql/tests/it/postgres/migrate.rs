//! Tables of an older release: migrated as a whole or left alone, while others use them.

use std::time::{Duration, Instant};

use smache_core::{
    Backend, ErrorKind, FeedId, FeedStep, Invalidation, JobState, Lane, Leadership, Position, Reserve, SourceId, Token,
};
use smache_sql::Postgres;
use smache_testkit::servers::{PostgresServer, shared_postgres_url};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::connect::{own_schema, refused, run};
use crate::support::{LONG, begin, change, compute, direct, id, look, namespace, refuses_every_step};

/// The tables and functions as version 1 made them.
const FIRST: [&str; 6] = [
    include_str!("../../fixtures/postgres_1/schema.sql"),
    include_str!("../../fixtures/postgres_1/base.sql"),
    include_str!("../../fixtures/postgres_1/runs.sql"),
    include_str!("../../fixtures/postgres_1/invalidate.sql"),
    include_str!("../../fixtures/postgres_1/feeds.sql"),
    include_str!("../../fixtures/postgres_1/queue.sql"),
];

/// The data of a program of version 1: an entry with a dependency, another one that is stale, a job that runs, one that
/// waits, and a source whose position is saved.
const FILL: &str = "
    SELECT smache_attach('shop', '{users}');
    SELECT smache_lead('shop', 'feed', '\\x01', 600000);
    SELECT smache_restart('shop', 'feed', 1, 600000, smache_life(), '{users}', '{\\\\x05}', '{five}');
    SELECT smache_begin('shop', entry, '\\x0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a', 60000) FROM ids;
    SELECT smache_commit('shop', entry, '\\x0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a', 0, smache_life(), n.epoch, 'call', value,
        'meta', tag || '1'::bytea, ARRAY[tag], ARRAY[1::bigint], NULL, NULL, false, false, 0, true)
        FROM ids, smache_namespaces n;
    SELECT smache_invalidate('shop', true, ARRAY[tag], '{changed}', '{}', '{}', NULL, NULL, NULL, NULL, NULL, NULL, NULL,
        NULL, NULL) FROM ids WHERE value = 'stale';
    SELECT smache_enqueue('shop', ARRAY['\\x0909090909090909090909090909090909090909'::bytea], '{1}', '{4}', '{0}', '{false}');
";

async fn scalar<T>(url: &str, sql: &str) -> T
where
    T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
{
    let mut connection = PgConnection::connect(url).await.expect("a plain connection");
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(&mut connection).await.expect("an answer")
}

/// A schema of version 1 with something in it.
async fn make_first(url: &str) {
    for script in FIRST {
        run(url, script.to_owned()).await;
    }
    run(url, "INSERT INTO smache_meta VALUES (1, 'first')".to_owned()).await;
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let tag = |name: &str| hex(direct(name).dependency.as_bytes());
    let rows = [(1, "kept", "a"), (2, "stale", "b")].map(|(number, value, name)| {
        format!("('\\x{}'::bytea, '{value}'::bytea, '\\x{}'::bytea)", hex(id(number).as_bytes()), tag(name))
    });
    let ids = format!("CREATE TEMP TABLE ids AS SELECT * FROM (VALUES {}) AS v (entry, value, tag);", rows.join(", "));
    run(
        url,
        format!(
            "{ids}{}",
            FILL.replace("\\x0909090909090909090909090909090909090909", &format!("\\x{}", hex(id(9).as_bytes())))
        ),
    )
    .await;
}

async fn first() -> (String, String) {
    let (url, schema) = own_schema().await;
    make_first(&url).await;
    (url, schema)
}

/// The contents of a schema: columns, indexes and types, and functions with their text.
async fn contents(url: &str, schema: &str) -> Vec<String> {
    let sql = format!(
        "SELECT concat_ws(' ', table_name, ordinal_position, column_name, data_type, column_default, is_nullable)
             FROM information_schema.columns WHERE table_schema = '{schema}'
         UNION ALL SELECT replace(indexdef, '{schema}', '') FROM pg_indexes WHERE schemaname = '{schema}'
         UNION ALL SELECT concat_ws(' ', t.typname, a.attnum, a.attname, a.atttypid::regtype) FROM pg_type t
             JOIN pg_attribute a ON a.attrelid = t.typrelid
             WHERE t.typnamespace = '{schema}'::regnamespace AND t.typtype = 'c' AND a.attnum > 0
         UNION ALL SELECT replace(pg_get_functiondef(oid), '{schema}', '') FROM pg_proc
             WHERE pronamespace = '{schema}'::regnamespace
         ORDER BY 1"
    );
    let mut connection = PgConnection::connect(url).await.expect("a plain connection");
    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&mut connection).await.expect("a list")
}

#[tokio::test]
async fn older_tables_are_migrated_with_all_that_is_in_them() {
    let (url, schema) = first().await;
    // A program of version 1 that goes on: its statement is prepared by now.
    let old = "SELECT * FROM smache_begin($1, $2, $3, $4)";
    let mut running = PgConnection::connect(&url).await.expect("a plain connection");
    let begins = async |running: &mut PgConnection, number: u32| {
        let query = sqlx::query(old).bind("shop").bind(id(number).as_bytes().to_vec());
        query.bind(Token::random().as_bytes().to_vec()).bind(60_000_i64).fetch_all(running).await
    };
    begins(&mut running, 50).await.expect("version 1");

    let (store, queue) = Postgres::connect(&url).await.expect("a migration").both(&namespace("shop")).expect("both");
    assert_eq!(scalar::<i64>(&url, "SELECT version FROM smache_meta").await, 5);
    assert_eq!(scalar::<String>(&url, "SELECT made_by FROM smache_meta").await, env!("CARGO_PKG_VERSION"));
    assert_eq!(scalar::<String>(&url, "SELECT incarnation FROM smache_meta").await, "first");

    let source = SourceId::new("users").expect("a name");
    let saved = store.positions(std::slice::from_ref(&source)).await.expect("positions");
    assert_eq!(saved.positions[0].as_ref().map(|position| &position.token[..]), Some(&b"five"[..]));
    assert_eq!(look(&*store, id(1)).await, Some(("kept".to_owned(), true)));
    assert_eq!(look(&*store, id(2)).await, Some(("stale".to_owned(), false)));
    assert_eq!(store.invalidate(change("a")).await.expect("invalidate").marked, 1, "edges are there");
    assert_eq!(look(&*store, id(1)).await, Some(("kept".to_owned(), false)));
    let jobs = queue.list(JobState::Queued, None, 10).await.expect("list").jobs;
    assert_eq!(jobs.iter().map(|job| job.id).collect::<Vec<_>>(), [id(1), id(2), id(9)]);
    let reserved = queue.reserve(Reserve::new(Lane::Recompute, 9, LONG)).await.expect("reserve").jobs;
    assert_eq!(reserved.len(), 3);
    compute(&*store, id(1), "new", &[direct("a")]).await;
    let feed = FeedId::new("feed").expect("a name");
    let lead = store.lead(&feed, Token::from_bytes([1; 16]), LONG).await.expect("lead");
    assert!(matches!(lead, Leadership::Follower { .. }), "the leader of before still leads: {lead:?}");
    let step = FeedStep {
        feed,
        fence: 1,
        leadership: LONG,
        incarnation: saved.incarnation,
        positions: vec![(source, Position::new("first", [6], "six"))],
        valid_for: Some(LONG),
        deadline: None,
        caught_up: true,
    };
    store.invalidate(Invalidation { step: Some(step), ..Invalidation::default() }).await.expect("a step of the feed");

    begins(&mut running, 51)
        .await
        .expect("a function whose arguments are the same serves a program of version 1 that still runs");
    let (fresh, fresh_schema) = own_schema().await;
    Postgres::connect(&fresh).await.expect("a new schema");
    assert_eq!(contents(&url, &schema).await, contents(&fresh, &fresh_schema).await, "as if they were made today");
}

#[tokio::test]
async fn a_migration_that_fails_half_way_leaves_the_older_version() {
    let (url, schema) = first().await;
    let before = contents(&url, &schema).await;
    // The last of the functions cannot be made again: by then all else is done.
    let broken = "DROP FUNCTION smache_discard; CREATE FUNCTION smache_discard(p_name text, p_ids bytea[]) RETURNS text
                  LANGUAGE sql AS 'SELECT NULL::text'";
    run(&url, broken.to_owned()).await;
    let error = refused(&url).await;
    let text = error.to_string();
    assert!(text.contains("version 1 to 5") && text.contains("as they were"), "{text}");
    assert_eq!(scalar::<i64>(&url, "SELECT version FROM smache_meta").await, 1);
    run(&url, "DROP FUNCTION smache_discard".to_owned()).await;
    let discard = FIRST[5].split("CREATE OR REPLACE FUNCTION smache_discard").nth(1).expect("the last function");
    run(&url, format!("CREATE FUNCTION smache_discard{discard}")).await;
    assert_eq!(contents(&url, &schema).await, before, "nothing of the migration is left");
    let store = Postgres::connect(&url).await.expect("it is mended").store(&namespace("shop")).expect("a store");
    assert_eq!(look(&*store, id(1)).await, Some(("kept".to_owned(), true)));
}

#[tokio::test]
async fn a_server_that_dies_during_a_migration_has_the_older_version() {
    let server = PostgresServer::start().await;
    let url = server.url();
    make_first(&url).await;
    let mut reader = PgConnection::connect(&url).await.expect("a plain connection");
    let mut reads = reader.begin().await.expect("begin");
    sqlx::query("SELECT version FROM smache_meta").fetch_one(&mut *reads).await.expect("a lock on the table");
    let connecting = tokio::spawn(Postgres::connect(url.clone()));
    let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'";
    let deadline = Instant::now() + Duration::from_secs(60);
    while scalar::<i64>(&url, waiting).await == 0 {
        assert!(!connecting.is_finished() && Instant::now() < deadline, "it waits for the reader");
    }
    server.kill().await;
    let error = connecting.await.expect("the task").expect_err("the server died");
    assert!(error.is_transient(), "{}", error.report());
    server.restart().await;
    assert_eq!(scalar::<i64>(&url, "SELECT version FROM smache_meta").await, 1);
    let store = Postgres::connect(&url).await.expect("a migration").store(&namespace("shop")).expect("a store");
    assert!(look(&*store, id(1)).await.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn processes_that_start_side_by_side_migrate_once_while_an_old_one_works() {
    let (url, _) = first().await;
    let (done, mut stop) = tokio::sync::oneshot::channel::<()>();
    let busy = tokio::spawn({
        let url = url.clone();
        async move {
            let mut connection = PgConnection::connect(&url).await.expect("a plain connection");
            // As the statements of programs do: the version comes first, and with it the lock that a migration holds.
            let sql = "SELECT smache_enqueue((SELECT 'shop'::text FROM smache_meta WHERE version = 1), \
                 $1, '{1}', '{4}', '{0}', '{true}')";
            let mut steps = 0;
            while stop.try_recv().is_err() {
                let ids = vec![id(1_000 + steps).as_bytes().to_vec()];
                match sqlx::query(sql).bind(ids).fetch_all(&mut connection).await {
                    Ok(_) => steps += 1,
                    // The tables were migrated: it is asked to be upgraded, and has changed nothing.
                    Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("SM001") => {
                        stop.await.expect("the other programs have connected");
                        break;
                    }
                    Err(error) => panic!("a step of version 1: {error:?}"),
                }
            }
            steps
        }
    });
    let all = futures_util::future::join_all((0..8).map(|_| Postgres::connect(url.clone()))).await;
    done.send(()).expect("the old program works");
    let steps = busy.await.expect("the old program");
    for postgres in all {
        let (store, queue) = postgres.expect("connect").both(&namespace("shop")).expect("both");
        assert_eq!(look(&*store, id(1)).await, Some(("kept".to_owned(), true)));
        assert_eq!(queue.counts().await.expect("counts").recompute, u64::from(steps) + 2);
    }
}

#[tokio::test]
async fn a_role_that_may_not_migrate_learns_which_may() {
    let (url, schema) = first().await;
    run(
        &url,
        format!(
            "CREATE ROLE role_{schema} LOGIN; GRANT USAGE ON SCHEMA {schema} TO role_{schema};
             GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO role_{schema}"
        ),
    )
    .await;
    let role = url.replace("smache@", &format!("role_{schema}@"));
    let error = refused(&role).await;
    assert_eq!(error.kind(), ErrorKind::Permission, "{}", error.report());
    assert!(error.message().contains("version 1 to 5") && error.message().contains("owner"), "{error}");
    Postgres::connect(&url).await.expect("the owner");
    run(&url, format!("GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO role_{schema}")).await;
    let store = Postgres::connect(&role).await.expect("usable by now").store(&namespace("shop")).expect("a store");
    compute(&*store, id(3), "three", &[]).await;
}

#[tokio::test]
async fn a_program_that_runs_while_a_newer_one_migrates_goes_on_or_is_refused() {
    let (url, _) = own_schema().await;
    let (store, queue) = Postgres::connect(&url).await.expect("connect").both(&namespace("shop")).expect("both");
    compute(&*store, id(1), "one", &[direct("a")]).await;
    let half_way = begin(&*store, id(2)).await;
    // The newer release says that programs of this version may go on.
    run(&url, "UPDATE smache_meta SET version = 6, oldest = 5, made_by = '9.9.9'".to_owned()).await;
    assert_eq!(look(&*store, id(1)).await, Some(("one".to_owned(), true)));
    store.invalidate(change("a")).await.expect("invalidate");
    let error = refused(&url).await;
    assert!(error.to_string().contains("release 9.9.9") && error.to_string().contains("upgrade"), "{error}");

    // The next one says that they may not.
    run(&url, "UPDATE smache_meta SET version = 7, oldest = 6".to_owned()).await;
    refuses_every_step(&*store, &*queue, &half_way).await;
    run(&url, "UPDATE smache_meta SET version = 5, oldest = 1".to_owned()).await;
    assert_eq!(look(&*store, id(2)).await, None, "nothing was done meanwhile");
    let jobs = queue.list(JobState::Queued, None, 10).await.expect("list").jobs;
    assert_eq!(jobs.iter().map(|job| job.id).collect::<Vec<_>>(), [id(1)]);
}

#[tokio::test]
async fn functions_of_another_build_are_made_again() {
    let (url, _) = own_schema().await;
    Postgres::connect(&url).await.expect("connect");
    run(&url, "UPDATE smache_meta SET functions = 'others'; DROP FUNCTION smache_new_epoch".to_owned()).await;
    // Also where another schema comes before that of the tables by now.
    let (_, before) = own_schema().await;
    let (server, path) = url.split_once("search_path%3D").expect("a path");
    let longer = format!("{server}search_path%3D{before},{path}");
    let store = Postgres::connect(&longer).await.expect("connect").store(&namespace("shop")).expect("a store");
    store.new_epoch().await.expect("the function is there");
    assert!(contents(&shared_postgres_url(), &before).await.is_empty());
}
