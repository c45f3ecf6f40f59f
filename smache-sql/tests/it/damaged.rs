//! Records with damaged bookkeeping: they count as absent, stop nothing that is about others, and the next run stores
//! them again.

use std::{sync::Arc, time::Duration};

use smache_core::{
    Abort, Backend, CacheStore, Commit, CommitOutcome, EntryId, FeedId, JobQueue, Lane, Leadership, NewJob, Page,
    Reserve, SourceId, Token,
};
use smache_sql::{Postgres, Sqlite};
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};

use crate::{
    postgres::connect::own_schema,
    support::{LONG, begin, change, compute, direct, id, look, namespace},
};

/// Bytes that are no source of entries' epochs: a name that is no text, a name that is cut off, a length alone.
const EPOCHS: [&str; 4] = ["01", "02ffff00000000000000000000000000000000", "05ab", "09"];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A damaged record is absent, and the others are there.
async fn is_left_out(store: Arc<dyn CacheStore>, damage: &str, run: impl AsyncFn(String)) {
    let spoil = async |id: EntryId| {
        run(damage.replace("{id}", &hex(id.as_bytes()))).await;
        assert!(store.inspect(&id).await.expect("inspect").is_none(), "{damage}");
    };
    // A look-up does not read the rest, and the edges say themselves what a value depends on.
    let hides = damage.contains("staleness") || damage.contains("epochs");
    for number in [1, 2] {
        compute(&*store, id(number), "one", &[direct("a")]).await;
    }
    spoil(id(1)).await;
    let both = store.lookup(&[id(1), id(2)]).await.expect("lookup").entries;
    assert!(both[0].is_none() == hides && both[1].is_some(), "{damage}");

    let run_of = begin(&*store, id(1)).await;
    let begun = &run_of.begun;
    // Of the rest a run needs all but why the record is stale.
    if hides || damage.contains("used") {
        assert!(begun.entry.is_none() && begun.call.is_none() && begun.used.is_empty(), "{damage}");
    }
    let failure = Some("it failed".to_owned());
    let abort = |token: Token| Abort { id: id(1), token, failure: failure.clone(), delay: Duration::ZERO };
    assert!(store.abort(abort(run_of.value("", &[]).token)).await.expect("abort"), "{damage}");

    assert_eq!(store.invalidate(change("a")).await.expect("invalidate").marked, 2, "{damage}");
    let stale = store.stale(Page::first(10)).await.expect("stale").entries;
    assert!(stale.iter().any(|(entry, _)| *entry == id(2)), "{damage}: {stale:?}");
    store.new_epoch().await.expect("a new epoch");
    while store.maintain(1).await.expect("maintain").more {}

    compute(&*store, id(1), "two", &[direct("a")]).await;
    assert_eq!(look(&*store, id(1)).await, Some(("two".to_owned(), true)), "{damage}");
    // Also by a run that a change overtakes, which takes over what was known of the record.
    spoil(id(1)).await;
    let run_of = begin(&*store, id(1)).await;
    store.invalidate(change("a")).await.expect("invalidate");
    spoil(id(1)).await;
    let outcome = store.commit(run_of.value("three", &[direct("a")])).await.expect("commit");
    assert!(matches!(outcome, CommitOutcome::Conflicted { .. }), "{damage}: {outcome:?}");
    assert_eq!(look(&*store, id(1)).await, Some(("three".to_owned(), false)), "{damage}");
    let record = store.inspect(&id(1)).await.expect("inspect").expect("it is whole");
    assert_eq!(record.used, [direct("a")], "{damage}");
}

#[tokio::test]
async fn damaged_record_of_postgres_is_absent_and_stored_again() {
    let (url, _) = own_schema().await;
    let postgres = Postgres::connect(&url).await.expect("connect");
    let epochs = EPOCHS.map(|bytes| format!("epochs = substring(epochs FOR 16) || '\\x{bytes}'"));
    let others = ["staleness = 7", "staleness = -1", "epochs = '\\x00'", "used = '\\x00'", "used = used || '\\x00'"];
    let causes =
        ["causes = '{NULL}'", "causes = '{{a,NULL},{b,c}}', conflicts = 9223372036854775807, failures = conflicts"];
    for (number, damage) in epochs.iter().map(String::as_str).chain(others).chain(causes).enumerate() {
        let store = postgres.store(&namespace(&format!("shop-{number}"))).expect("a store");
        let run = async |sql: String| {
            let mut connection = PgConnection::connect(&url).await.expect("a plain connection");
            let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.expect("an update");
            assert_eq!(done.rows_affected(), 1);
        };
        let space = format!("(SELECT ns FROM smache_namespaces WHERE name = 'shop-{number}')");
        let damage = format!("UPDATE smache_entries SET {damage} WHERE id = '\\x{{id}}' AND ns = {space}");
        is_left_out(store, &damage, run).await;
    }
}

#[tokio::test]
async fn damaged_record_of_sqlite_is_absent_and_stored_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("cache.db");
    let sqlite = Sqlite::open(&path).await.expect("open");
    let epochs = EPOCHS.map(|bytes| format!("epochs = unhex(substr(hex(epochs), 1, 32) || '{bytes}')"));
    let others =
        ["staleness = 7", "staleness = -1", "epochs = x'00'", "used = x'00'", "used = unhex(hex(used) || '00')"];
    let causes = [
        "causes = 'none'",
        "causes = '[1]', conflicts = 9223372036854775807, failures = 9223372036854775807",
        "causes = '{\"a\":1}'",
        "causes = ''",
        "causes = CAST(x'5b22ff225d' AS TEXT)",
        "failure = CAST(x'ff' AS TEXT), causes = '7'",
    ];
    for (number, damage) in epochs.iter().map(String::as_str).chain(others).chain(causes).enumerate() {
        let store = sqlite.store(&namespace(&format!("shop-{number}"))).expect("a store");
        let run = async |sql: String| {
            let url = format!("sqlite:{}", path.display());
            let mut connection = SqliteConnection::connect(&url).await.expect("a plain connection");
            let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.expect("an update");
            assert_eq!(done.rows_affected(), 1);
        };
        let space = format!("(SELECT ns FROM smache_namespaces WHERE name = 'shop-{number}')");
        let damage = format!("UPDATE smache_entries SET {damage} WHERE id = x'{{id}}' AND ns = {space}");
        is_left_out(store, &damage, run).await;
    }
}

/// Damage in the row of a namespace or of a source: its results are stale once, and then everything works again. And a
/// damaged job of an entry.
async fn starts_again(store: Arc<dyn CacheStore>, queue: Arc<dyn JobQueue>, damage: &str, run: impl AsyncFn(String)) {
    let users = SourceId::new("users").expect("a good name");
    store.attach(std::slice::from_ref(&users)).await.expect("attach");
    let fresh = async || {
        let lookup = store.lookup(&[id(1)]).await.expect("lookup");
        let entry = lookup.entries[0].as_ref().expect("an entry");
        lookup.validity.judge(entry, lookup.now, &lookup.incarnation).is_fresh()
    };
    let commit = async |run: &crate::support::Run| {
        let value = Commit { epochs: run.begun.validity.epochs([&users]), ..run.value("value", &[direct("a")]) };
        store.commit(value).await.expect("commit")
    };
    let first = begin(&*store, id(1)).await;
    assert!(matches!(commit(&first).await, CommitOutcome::Fresh { .. }));
    assert!(fresh().await);
    let before = begin(&*store, id(1)).await;
    store.invalidate(change("a")).await.expect("invalidate");
    run(damage.to_owned()).await;

    assert!(!fresh().await, "{damage}");
    while store.maintain(100).await.expect("maintain").more {}
    assert!(!matches!(commit(&before).await, CommitOutcome::Fresh { .. }), "{damage}");
    store.attach(std::slice::from_ref(&users)).await.expect("attach");
    while store.maintain(100).await.expect("maintain").more {}
    // The reconciler asks for it.
    queue.enqueue(&[NewJob { revive: false, ..NewJob::now(id(1), Lane::Recompute) }]).await.expect("enqueue");
    let reserve = Reserve::new(Lane::Recompute, 10, Duration::from_secs(600));
    assert_eq!(queue.reserve(reserve).await.expect("reserve").jobs.len(), 1, "{damage}");
    let run = begin(&*store, id(1)).await;
    assert!(matches!(commit(&run).await, CommitOutcome::Fresh { .. }), "{damage}");
    assert!(fresh().await, "{damage}");
    let before = store.stats().await.expect("stats").revision;
    let run = begin(&*store, id(1)).await;
    let after = store.invalidate(change("a")).await.expect("invalidate").revision;
    assert!(!fresh().await && before < after, "{damage}: {before} → {after}");
    assert!(!matches!(commit(&run).await, CommitOutcome::Fresh { .. }), "{damage}: it began before the change");
}

const SPACE_DAMAGES: [&str; 10] = [
    "UPDATE smache_namespaces SET epoch = {short} WHERE ns = {ns}",
    "UPDATE smache_namespaces SET revision = 9223372036854775807 WHERE ns = {ns}",
    "UPDATE smache_namespaces SET revision = -1 WHERE ns = {ns}",
    "UPDATE smache_namespaces SET low_watermark = 9223372036854775807 WHERE ns = {ns}",
    "UPDATE smache_namespaces SET low_watermark = -1 WHERE ns = {ns}",
    "UPDATE smache_sources SET epoch = {short} WHERE ns = {ns}",
    "UPDATE smache_sources SET name = '' WHERE ns = {ns}",
    "UPDATE smache_jobs SET state = 9 WHERE ns = {ns}",
    "UPDATE smache_jobs SET lane = -1 WHERE ns = {ns}",
    "UPDATE smache_jobs SET id = {short} WHERE ns = {ns}",
];

#[tokio::test]
async fn damaged_epochs_and_jobs_of_postgres_are_replaced_by_new_ones() {
    let (url, _) = own_schema().await;
    let postgres = Postgres::connect(&url).await.expect("connect");
    for (number, damage) in SPACE_DAMAGES.into_iter().enumerate() {
        let (store, queue) = postgres.both(&namespace(&format!("shop-{number}"))).expect("both");
        let run = async |sql: String| {
            let mut connection = PgConnection::connect(&url).await.expect("a plain connection");
            let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.expect("an update");
            assert_eq!(done.rows_affected(), 1);
        };
        let space = format!("(SELECT ns FROM smache_namespaces WHERE name = 'shop-{number}')");
        starts_again(store, queue, &damage.replace("{ns}", &space).replace("{short}", "'\\x07'"), run).await;
    }
}

#[tokio::test]
async fn damaged_epochs_and_jobs_of_sqlite_are_replaced_by_new_ones() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("cache.db");
    let sqlite = Sqlite::open(&path).await.expect("open");
    for (number, damage) in SPACE_DAMAGES.into_iter().enumerate() {
        let (store, queue) = sqlite.both(&namespace(&format!("shop-{number}"))).expect("both");
        let run = async |sql: String| {
            let url = format!("sqlite:{}", path.display());
            let mut connection = SqliteConnection::connect(&url).await.expect("a plain connection");
            let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.expect("an update");
            assert_eq!(done.rows_affected(), 1);
        };
        let space = format!("(SELECT ns FROM smache_namespaces WHERE name = 'shop-{number}')");
        starts_again(store, queue, &damage.replace("{ns}", &space).replace("{short}", "x'07'"), run).await;
    }
}

/// A fence that cannot grow goes on at one that no leader has had.
async fn leads_on(store: Arc<dyn CacheStore>, damage: &str, run: impl AsyncFn(String)) {
    let feed = FeedId::new("feed").expect("a good name");
    let lead = async || {
        let leadership = store.lead(&feed, Token::random(), LONG).await.expect("lead");
        let Leadership::Leader { fence } = leadership else { panic!("{damage}: {leadership:?}") };
        store.resign(&feed, fence).await.expect("resign");
        fence
    };
    let first = lead().await;
    run(damage.to_owned()).await;
    let (second, third) = (lead().await, lead().await);
    assert!(first < second && second < third, "{damage}: {first} {second} {third}");
}

const FENCES: [i64; 3] = [i64::MAX, 1 << 60, -7];

#[tokio::test]
async fn damaged_fence_of_postgres_goes_on_behind_all_others() {
    let (url, _) = own_schema().await;
    let postgres = Postgres::connect(&url).await.expect("connect");
    for fence in FENCES {
        let store = postgres.store(&namespace(&format!("shop{fence}"))).expect("a store");
        let run = async |sql: String| {
            let mut connection = PgConnection::connect(&url).await.expect("a plain connection");
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.expect("an update");
        };
        leads_on(store, &format!("UPDATE smache_feeds SET fence = {fence} WHERE name = 'feed'"), run).await;
    }
}

#[tokio::test]
async fn damaged_fence_of_sqlite_goes_on_behind_all_others() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("cache.db");
    let sqlite = Sqlite::open(&path).await.expect("open");
    for fence in FENCES {
        let store = sqlite.store(&namespace(&format!("shop{fence}"))).expect("a store");
        let run = async |sql: String| {
            let url = format!("sqlite:{}", path.display());
            let mut connection = SqliteConnection::connect(&url).await.expect("a plain connection");
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.expect("an update");
        };
        leads_on(store, &format!("UPDATE smache_feeds SET fence = {fence} WHERE name = 'feed'"), run).await;
    }
}
