//! Tables on full, demoted or careless servers, and keys that other clients have written to.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use smache_core::{
    Backend, ChangeKind, ChangeStream, DataSource, EntityKey, ErrorKind, Guarantee, JobQueue, Lane, NewJob, Severity,
    Snapshot, Start,
};
use smache_redis::{Redis, RedisSource};
use smache_testkit::{random_namespace, servers::RedisServer};

use crate::{
    source::{Note, note},
    support::{ask, id, raw, until},
};

pub(crate) async fn start() -> (RedisServer, RedisSource<Note>, MultiplexedConnection) {
    let server = RedisServer::start().await;
    let redis = Redis::connect(server.url()).await.expect("the private Redis");
    let admin = raw(&server.url()).await;
    (server, RedisSource::new(&redis), admin)
}

pub(crate) async fn open(notes: &RedisSource<Note>, start: Start) -> smache_core::Result<Box<dyn ChangeStream>> {
    let (feed, topic) = notes.feed().expect("it has a feed");
    feed.open(&[topic], start).await
}

/// All stored data, for comparison.
async fn dump(admin: &mut MultiplexedConnection) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut keys: Vec<Vec<u8>> = ask(admin, &[b"KEYS", b"*"]).await;
    keys.sort();
    let mut all = Vec::new();
    for key in keys {
        let value = ask(admin, &[b"DUMP", &key]).await;
        all.push((key, value));
    }
    all
}

#[tokio::test]
async fn full_memory_writes_nothing_by_halves_and_what_is_removed_makes_room() {
    let (_server, notes, mut admin) = start().await;
    let _: () = ask(&mut admin, &[b"CONFIG", b"SET", b"maxmemory", b"1"]).await;
    let fresh = dump(&mut admin).await;
    let error = notes.put(&note(1, "one")).await.expect_err("no memory");
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Unavailable, true), "{error}");
    assert_eq!(dump(&mut admin).await, fresh, "not even a new table");
    let _: () = ask(&mut admin, &[b"CONFIG", b"SET", b"maxmemory", b"0"]).await;
    notes.put(&note(1, "one")).await.expect("put");
    notes.put(&note(2, "two")).await.expect("put");

    let _: () = ask(&mut admin, &[b"CONFIG", b"SET", b"maxmemory", b"1"]).await;
    let before = dump(&mut admin).await;
    for error in [
        notes.put(&note(1, "other")).await.map(drop).expect_err("no memory"),
        notes.put(&note(3, "three")).await.map(drop).expect_err("no memory"),
        notes.update(&1, |note| note.text.push('!')).await.map(drop).expect_err("no memory"),
    ] {
        assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Unavailable, true), "{error}");
        assert!(error.to_string().contains("maxmemory"), "{error}");
    }
    assert_eq!(dump(&mut admin).await, before);
    assert_eq!(notes.get(&1).await.expect("it can be read"), Some(note(1, "one")));
    let mut stream = open(&notes, Start::Now).await.expect("a feed needs no memory");
    stream.next().await.expect("the first look");
    assert_eq!(notes.remove(&2).await.expect("what is removed makes room"), Some(note(2, "two")));
    let changes = stream.next().await.expect("a batch").changes;
    assert!(changes.len() == 1 && changes[0].kind == ChangeKind::Delete, "{changes:?}");

    let _: () = ask(&mut admin, &[b"CONFIG", b"SET", b"maxmemory", b"0"]).await;
    notes.put(&note(3, "three")).await.expect("there is memory again");
    assert_eq!(stream.next().await.expect("a batch").changes.len(), 1);
}

/// A program that only reads never meets a refused write: each read asks for the role.
#[tokio::test]
async fn a_source_that_only_reads_leaves_a_primary_that_was_demoted() {
    let (server, notes, mut admin) = start().await;
    notes.put(&note(1, "one")).await.expect("put");
    let reader = RedisSource::<Note>::new(&Redis::connect(server.url()).await.expect("a second connection"));
    assert_eq!(reader.get(&1).await.expect("a primary"), Some(note(1, "one")));
    let _: () = ask(&mut admin, &[b"REPLICAOF", b"127.0.0.1", b"1"]).await;
    let keys = [EntityKey::encode(&1).expect("a key")];
    for error in [
        reader.get(&1).await.map(drop).expect_err("get"),
        reader.load(&keys).await.map(drop).expect_err("load"),
        reader.list().await.map(drop).expect_err("list"),
    ] {
        assert_eq!(error.kind(), ErrorKind::WrongServer, "{error}");
    }
}

#[tokio::test]
async fn a_replica_is_named_and_works_again_after_its_promotion() {
    let (server, notes, mut admin) = start().await;
    let other = RedisServer::start().await;
    notes.put(&note(1, "one")).await.expect("put");
    let port = other.port().to_string();
    let position = open(&notes, Start::Now).await.expect("open").position();
    let unchanged = RedisSource::<Note>::new(&Redis::connect(server.url()).await.expect("a second connection"));
    let demote = [&b"REPLICAOF"[..], b"127.0.0.1", port.as_bytes()];
    let _: () = ask(&mut admin, &demote).await;
    let error = unchanged.put(&note(1, "one")).await.expect_err("the primary may have another one");
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Unavailable, true), "{error}");
    // The connection is open, and would say of a missing entity that it was missing.
    let error = notes.remove(&9).await.expect_err("a replica takes no writes");
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Unavailable, true), "{error}");
    assert!(error.to_string().contains("replica"), "{error}");
    for error in [
        notes.put(&note(1, "two")).await.map(drop).expect_err("a replica"),
        notes.get(&1).await.map(drop).expect_err("a replica"),
        open(&notes, Start::Now).await.map(drop).expect_err("a replica"),
        Redis::connect(server.url()).await.map(drop).expect_err("a replica"),
    ] {
        assert_eq!(error.kind(), ErrorKind::WrongServer, "{error}");
        assert!(error.to_string().contains("connect to the primary"), "{error}");
    }
    let _: () = ask(&mut admin, &[b"REPLICAOF", b"NO", b"ONE"]).await;
    until("it is a primary again", async || notes.put(&note(1, "three")).await.is_ok()).await;
    let error = open(&notes, Start::After(position)).await.map(drop).expect_err("what it missed is unknown");
    assert_eq!(error.kind(), ErrorKind::HistoryLost, "{error}");
    let mut stream = open(&notes, Start::Now).await.expect("open");
    stream.next().await.expect("the first look");
    notes.put(&note(1, "four")).await.expect("put");
    assert_eq!(stream.next().await.expect("a batch").changes.len(), 1);
}

/// The server goes on answering readers on open connections, from data that grows older.
#[tokio::test]
async fn a_feed_ends_when_its_server_becomes_a_replica_whether_it_waits_or_not() {
    for waits in [true, false] {
        let (_server, notes, mut admin) = start().await;
        let other = RedisServer::start().await;
        notes.put(&note(1, "one")).await.expect("put");
        let mut stream = open(&notes, Start::Now).await.expect("open");
        let port = other.port().to_string();
        let demote = [&b"REPLICAOF"[..], b"127.0.0.1", port.as_bytes()];
        let error = if waits {
            stream.next().await.expect("the first look");
            let reads = tokio::spawn(async move {
                loop {
                    if let Err(error) = stream.next().await {
                        return error;
                    }
                }
            });
            until("the feed waits", async || {
                ask::<String>(&mut admin, &[b"INFO", b"clients"]).await.contains("blocked_clients:1")
            })
            .await;
            let _: () = ask(&mut admin, &demote).await;
            reads.await.expect("it ends")
        } else {
            let _: () = ask(&mut admin, &demote).await;
            stream.next().await.map(drop).expect_err("a replica")
        };
        assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Unavailable, true), "{}", error.report());
        let error = open(&notes, Start::Now).await.map(drop).expect_err("a replica");
        assert_eq!(error.kind(), ErrorKind::WrongServer, "{error}");
        if !waits {
            assert_eq!(notes.get(&1).await.expect_err("the feed has noticed it").kind(), ErrorKind::WrongServer);
        }
    }
}

#[tokio::test]
async fn a_server_that_was_a_replica_between_two_batches_has_lost_the_history() {
    let (_server, notes, mut admin) = start().await;
    let other = RedisServer::start().await;
    let mut stream = open(&notes, Start::Now).await.expect("open");
    let port = other.port().to_string();
    let _: () = ask(&mut admin, &[b"REPLICAOF", b"127.0.0.1", port.as_bytes()]).await;
    let _: () = ask(&mut admin, &[b"REPLICAOF", b"NO", b"ONE"]).await;
    let error = stream.next().await.expect_err("another one may have written meanwhile");
    assert_eq!(error.kind(), ErrorKind::HistoryLost, "{error}");
}

#[tokio::test]
async fn a_key_of_another_type_is_named_and_nothing_is_written_by_halves() {
    for (key, feed_reads_it) in [("e", false), ("log", true), ("end", true), ("i", true), ("t", true), ("l", true)] {
        let (_server, notes, mut admin) = start().await;
        notes.put(&note(1, "one")).await.expect("put");
        let mut stream = open(&notes, Start::Now).await.expect("open");
        let position = stream.position();
        let name = format!("{{table:notes}}:{key}");
        let _: i64 = ask(&mut admin, &[b"DEL", name.as_bytes()]).await;
        let _: i64 = ask(&mut admin, &[b"SADD", name.as_bytes(), b"foreign"]).await;
        let before = dump(&mut admin).await;
        let mut errors = Vec::new();
        if key != "t" {
            errors.push(notes.put(&note(1, "two")).await.map(drop).expect_err("it cannot be written"));
            errors.push(notes.remove(&1).await.map(drop).expect_err("it cannot be written"));
        }
        if key == "e" || key == "l" {
            errors.push(notes.get(&1).await.map(drop).expect_err("it cannot be read"));
            errors.push(notes.list().await.map(drop).expect_err("it cannot be read"));
        }
        if feed_reads_it {
            errors.push(open(&notes, Start::After(position.clone())).await.map(drop).expect_err("no feed"));
        }
        if feed_reads_it && key != "l" {
            errors.push(stream.next().await.map(drop).expect_err("no feed"));
        }
        for error in errors {
            assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Corrupt, false), "{key}: {error}");
            let text = error.to_string();
            assert!(text.contains(&name) && text.contains("remove `{table:notes}:i`"), "{text}");
        }
        assert_eq!(dump(&mut admin).await, before, "{key}");

        let _: i64 = ask(&mut admin, &[b"DEL", name.as_bytes(), b"{table:notes}:i"]).await;
        notes.put(&note(2, "two")).await.expect("it is mended");
        let error = open(&notes, Start::After(position)).await.map(drop).expect_err("all of it counts as changed");
        assert_eq!(error.kind(), ErrorKind::HistoryLost, "{error}");
        open(&notes, Start::Now).await.expect("open").next().await.expect("a feed");
    }
}

#[tokio::test]
async fn foreign_lines_in_the_history_count_as_a_change_of_everything() {
    let (_server, notes, mut admin) = start().await;
    notes.put(&note(1, "one")).await.expect("put");
    let mut stream = open(&notes, Start::Now).await.expect("open");
    stream.next().await.expect("the first look");
    let lines: [&[&[u8]]; 4] = [
        &[b"a message", b"of somebody"],
        &[b"k", b"1"],
        &[b"k", b"no number", b"a", br#"{"number":1,"text":"x"}"#],
        &[b"\xff\xfe", b"", b"b", b"x"],
    ];
    for line in lines {
        let words: Vec<&[u8]> =
            [&b"XADD"[..], b"{table:notes}:log", b"*"].into_iter().chain(line.iter().copied()).collect();
        let _: String = ask(&mut admin, &words).await;
        let changes = stream.next().await.expect("the feed goes on").changes;
        assert!(changes.len() == 1 && changes[0].kind == ChangeKind::Reset, "{line:?}: {changes:?}");
    }
    notes.put(&note(1, "two")).await.expect("put");
    let changes = stream.next().await.expect("the feed goes on").changes;
    assert!(changes.len() == 1 && changes[0].kind == ChangeKind::Update, "{changes:?}");
}

/// No line can follow one of the last number.
#[tokio::test]
async fn a_history_that_takes_no_lines_takes_no_writes() {
    let (_server, notes, mut admin) = start().await;
    notes.put(&note(1, "one")).await.expect("put");
    let last = format!("{0}-{0}", u64::MAX);
    let _: String = ask(&mut admin, &[b"XADD", b"{table:notes}:log", last.as_bytes(), b"foreign", b"line"]).await;
    let before = dump(&mut admin).await;
    notes.put(&note(1, "two")).await.expect_err("there is no room in the history");
    notes.put(&note(2, "two")).await.expect_err("there is no room in the history");
    notes.remove(&1).await.expect_err("there is no room in the history");
    assert_eq!(notes.get(&1).await.expect("get"), Some(note(1, "one")));
    assert_eq!(dump(&mut admin).await, before);
}

#[tokio::test]
async fn an_entity_that_cannot_be_read_is_named_with_its_place() {
    let (_server, notes, mut admin) = start().await;
    let _: i64 = ask(&mut admin, &[b"HSET", b"{table:notes}:e", b"7", b"not JSON"]).await;
    let key = EntityKey::encode(&7).expect("a key");
    for error in [
        notes.get(&7).await.map(drop).expect_err("no entity"),
        notes.update(&7, |_| {}).await.map(drop).expect_err("no entity"),
        notes.load(&[key]).await.map(drop).expect_err("no entity"),
    ] {
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        let text = error.to_string();
        assert!(text.contains("key: {table:notes}:e") && text.contains("field: 7"), "{text}");
    }
}

#[tokio::test]
async fn an_entity_under_the_id_of_another_one_is_named_with_the_fix() {
    let (_server, notes, mut admin) = start().await;
    let other: &[u8] = br#"{"number":8,"text":"x"}"#;
    let _: i64 = ask(&mut admin, &[b"HSET", b"{table:notes}:e", b"7", other]).await;
    let key = EntityKey::encode(&7).expect("a key");
    for error in [
        notes.get(&7).await.map(drop).expect_err("another one"),
        notes.update(&7, |note| note.number = 7).await.map(drop).expect_err("another one"),
        notes.load(std::slice::from_ref(&key)).await.map(drop).expect_err("another one"),
        notes.list().await.map(drop).expect_err("another one"),
    ] {
        assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Corrupt, false), "{error}");
        let text = error.to_string();
        for part in ["the table of `notes` has the id 8", "under 7: store it under its own id", "field: 7"] {
            assert!(text.contains(part), "{text}");
        }
    }
    let mut stream = open(&notes, Start::Now).await.expect("open");
    stream.next().await.expect("the first look");
    let line = [&b"XADD"[..], b"{table:notes}:log", b"*", b"k", b"7", b"b", br#"{"number":7,"text":"x"}"#, b"a", other];
    let _: String = ask(&mut admin, &line).await;
    let changes = stream.next().await.expect("the feed goes on").changes;
    let [change] = &changes[..] else { panic!("{changes:?}") };
    assert_eq!(change.key, EntityKey::encode(&7_u32).expect("a key"));
    assert!(matches!((&change.before, &change.after), (Snapshot::Known(_), Snapshot::Unknown)), "{change:?}");
    notes.put(&note(7, "mended")).await.expect("put");
    assert_eq!(notes.list().await.expect("list").len(), 1);
}

#[tokio::test]
async fn a_table_of_another_layout_is_refused_and_left_alone() {
    let (_server, notes, mut admin) = start().await;
    notes.put(&note(1, "one")).await.expect("a new table");
    let layout: String = ask(&mut admin, &[b"GET", b"{table:notes}:l"]).await;
    assert_eq!(layout, "2");
    let key = EntityKey::encode(&1).expect("a key");
    for (layout, fix) in [("3", "upgrade this program"), ("1", "write the entities again")] {
        let _: () = ask(&mut admin, &[b"SET", b"{table:notes}:l", layout.as_bytes()]).await;
        let before = dump(&mut admin).await;
        for error in [
            notes.put(&note(1, "two")).await.map(drop).expect_err("another layout"),
            notes.get(&1).await.map(drop).expect_err("another layout"),
            notes.load(std::slice::from_ref(&key)).await.map(drop).expect_err("another layout"),
            notes.list().await.map(drop).expect_err("another layout"),
            notes.remove(&1).await.map(drop).expect_err("another layout"),
            open(&notes, Start::Now).await.map(drop).expect_err("another layout"),
        ] {
            assert_eq!((error.kind(), error.is_transient()), (ErrorKind::WrongServer, false), "{error}");
            let text = error.to_string();
            let of = format!("`{{table:notes}}:*` are of layout {layout} and this program knows layout 2: {fix}");
            assert!(text.contains(&of) && text.contains("another table"), "{text}");
        }
        assert_eq!(dump(&mut admin).await, before);
    }
}

#[tokio::test]
async fn a_queue_of_another_layout_is_refused_and_left_alone() {
    let server = RedisServer::start().await;
    let namespace = random_namespace();
    let redis = Redis::connect(server.url()).await.expect("the private Redis");
    let queue = redis.queue(&namespace).expect("a queue");
    queue.enqueue(&[NewJob::now(id(1), Lane::Recompute)]).await.expect("a new namespace");
    let mut admin = raw(&server.url()).await;
    let key = format!("{{{namespace}}}:c");
    let layout: String = ask(&mut admin, &[b"HGET", key.as_bytes(), b"l"]).await;
    assert_eq!(layout, "2");
    let _: i64 = ask(&mut admin, &[b"HSET", key.as_bytes(), b"l", b"3"]).await;
    let before = dump(&mut admin).await;
    for error in refusals(&*queue).await {
        assert_eq!((error.kind(), error.is_transient()), (ErrorKind::WrongServer, false), "{error}");
        assert!(error.to_string().contains("of layout 3 and") && error.to_string().contains("upgrade"), "{error}");
    }
    assert_eq!(dump(&mut admin).await, before);
}

async fn refusals(queue: &dyn JobQueue) -> Vec<smache_core::Error> {
    let other = "another layout";
    let reserve = smache_core::Reserve::new(Lane::Recompute, 1, Duration::from_secs(9));
    vec![
        queue.enqueue(&[NewJob::now(id(2), Lane::Recompute)]).await.map(drop).expect_err(other),
        queue.reserve(reserve).await.map(drop).expect_err(other),
        queue.requeue(&[id(1)]).await.map(drop).expect_err(other),
        queue.discard(&[id(1)]).await.map(drop).expect_err(other),
        queue.counts().await.map(drop).expect_err(other),
        queue.find(&id(1)).await.map(drop).expect_err(other),
        queue.list(smache_core::JobState::Queued, None, 9).await.map(drop).expect_err(other),
    ]
}

#[tokio::test]
async fn an_examination_says_what_a_table_guarantees_and_what_is_unsafe() {
    let server = RedisServer::builder().keep_data().start().await;
    let redis = Redis::connect(server.url()).await.expect("the private Redis");
    let notes = RedisSource::<Note>::new(&redis);
    let examination = notes.examine().await.expect("an examination");
    assert_eq!((examination.guarantee, &examination.findings[..]), (Some(Guarantee::ChangeFeed), &[][..]));
    let what = &examination.what;
    assert!(
        what.contains("the table `notes` in Redis ")
            && what.ends_with(", with a feed of the writes through `RedisSource`")
    );
    assert!(what.contains(&server.port().to_string()), "{what}");

    let mut admin = raw(&server.url()).await;
    for (setting, value, problem) in [
        ("maxmemory-policy", "allkeys-lru", "evicts any key (`allkeys-lru`)"),
        ("appendonly", "no", "entities do not survive a restart"),
    ] {
        let set = |value: &'static str| [&b"CONFIG"[..], b"SET", setting.as_bytes(), value.as_bytes()];
        let before: (String, String) = ask(&mut admin, &[b"CONFIG", b"GET", setting.as_bytes()]).await;
        let _: () = ask(&mut admin, &set(value)).await;
        let findings = notes.examine().await.expect("an examination").findings;
        assert!(findings.len() == 1 && findings[0].severity == Severity::Danger, "{findings:?}");
        assert!(findings[0].problem.contains(problem) && findings[0].fix.contains(setting), "{findings:?}");
        let _: () = ask(&mut admin, &[b"CONFIG", b"SET", setting.as_bytes(), before.1.as_bytes()]).await;
    }
    let _: () = ask(&mut admin, &[b"CONFIG", b"SET", b"maxmemory", b"1"]).await;
    let findings = notes.examine().await.expect("an examination").findings;
    assert!(findings.len() == 1 && findings[0].fix.contains("remove entities"), "{findings:?}");

    // The same machine by a name that hides it.
    let far = Redis::connect(format!("redis://[::ffff:127.0.0.1]:{}", server.port())).await;
    let far = RedisSource::<Note>::new(&far.expect("a server that is not bound to its name"));
    let findings = far.examine().await.expect("an examination").findings;
    assert!(findings.iter().any(|found| found.severity == Severity::Danger && found.fix.contains("rediss://")));
}
