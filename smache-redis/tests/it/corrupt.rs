//! Keys with data that this crate did not write.

use std::time::Duration;

use smache_core::{
    Abort, Backend, Begin, CacheStore, Commit, CommitOutcome, EntryId, ErrorKind, FeedStep, Freshness, Invalidation,
    JobEnd, JobState, Lane, Namespace, NewJob, Page, Reserve, Settlement, Staleness, Token,
};
use smache_testkit::{random_namespace, servers::shared_redis_url};

use crate::support::{
    LONG, Run, ask, begin, change, compute, direct, freshness, id, raw, shared, source, step, tag, until,
};

fn key(namespace: &Namespace, id: &EntryId) -> Vec<u8> {
    [format!("{{{namespace}}}:r:").as_bytes(), id.as_bytes()].concat()
}

/// Stores an entry and damages its record.
async fn damage(store: &dyn CacheStore, namespace: &Namespace, of: u32, words: &[&[u8]]) {
    compute(store, id(of), &[direct("a")]).await;
    damage_record(namespace, of, words).await;
}

/// Damages a record by one command: the words before and behind the key.
async fn damage_record(namespace: &Namespace, of: u32, words: &[&[u8]]) {
    let key = key(namespace, &id(of));
    let words: Vec<&[u8]> = [words[0], &key].into_iter().chain(words[1..].iter().copied()).collect();
    let _: redis::Value = ask(&mut raw(&shared_redis_url()).await, &words).await;
}

/// Damage that makes a record unreadable to every step.
const UNREADABLE: [&[&[u8]]; 8] = [
    &[b"HDEL", b"h"],
    &[b"HDEL", b"v"],
    &[b"HDEL", b"m"],
    &[b"HDEL", b"h", b"v", b"m", b"k"],
    &[b"HSET", b"h", b"short"],
    &[b"HSET", b"s", b"9"],
    &[b"HSET", b"s", b"2yesterday"],
    &[b"HSET", b"s", b""],
];

async fn is_whole(store: &dyn CacheStore, of: u32) {
    let record = store.inspect(&id(of)).await.expect("inspect").expect("a record");
    assert_eq!((&record.entry.value[..], record.used), (&b"again"[..], vec![direct("a")]));
    let marked = store.invalidate(change(["a"])).await.expect("invalidate").marked;
    assert!(matches!(freshness(store, id(of)).await, Some(Freshness::Stale { .. })), "{marked} marked");
}

#[tokio::test]
async fn a_record_of_a_wrong_type_is_named() {
    let namespace = random_namespace();
    let store = shared().await.store(&namespace).expect("a store");
    let mut connection = raw(&shared_redis_url()).await;
    let _: () = ask(&mut connection, &[b"SET", &key(&namespace, &id(1)), b"x"]).await;
    for error in [
        store.lookup(&[id(9), id(1)]).await.map(drop).expect_err("no record"),
        store.inspect(&id(1)).await.map(drop).expect_err("no record"),
        store.begin(Begin { id: id(1), token: Token::random(), lease: LONG }).await.map(drop).expect_err("no record"),
    ] {
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(error.to_string().contains(&format!("{{{namespace}}}:r:{}", id(1))), "{error}");
    }
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_absent_and_the_others_are_answered() {
    for words in UNREADABLE {
        let namespace = random_namespace();
        let store = shared().await.store(&namespace).expect("a store");
        compute(&*store, id(2), &[direct("a")]).await;
        damage(&*store, &namespace, 1, words).await;
        let found = store.lookup(&[id(1), id(2)]).await.expect("lookup").entries;
        assert!(found[0].is_none() && found[1].is_some(), "{words:?}");
        assert!(store.inspect(&id(1)).await.expect("inspect").is_none(), "{words:?}");

        damage(&*store, &namespace, 3, words).await;
        assert!(store.read_record(&id(3)).await.expect("read_record").record.is_none(), "{words:?}");
        let all = store.dependants(&tag("a"), Page::first(9)).await.expect("dependants").entries;
        assert!(all.iter().any(|(of, _)| *of == id(2)), "{words:?}");
    }
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_replaced_by_the_next_run() {
    for words in UNREADABLE {
        let namespace = random_namespace();
        let store = shared().await.store(&namespace).expect("a store");
        damage(&*store, &namespace, 1, words).await;
        let run = begin(&*store, id(1)).await;
        assert!(run.begun.entry.is_none(), "{words:?}");
        let outcome = store.commit(run.value("again", &[direct("a")])).await.expect("commit");
        assert!(matches!(outcome, CommitOutcome::Fresh { .. }), "{outcome:?}");
        is_whole(&*store, 1).await;
    }
}

/// The invalidation removes the edge of a record without a header, and the next run restores it.
#[tokio::test]
async fn an_invalidation_goes_on_past_a_record_that_cannot_be_read() {
    for words in UNREADABLE {
        let namespace = random_namespace();
        let (store, queue) = shared().await.both(&namespace).expect("both");
        damage(&*store, &namespace, 1, words).await;
        compute(&*store, id(2), &[direct("a")]).await;
        let run = begin(&*store, id(1)).await;
        store.invalidate(change(["a"])).await.expect("invalidate");
        assert!(matches!(freshness(&*store, id(2)).await, Some(Freshness::Stale { .. })), "{words:?}");
        assert!(!matches!(freshness(&*store, id(1)).await, Some(Freshness::Fresh { .. })), "{words:?}");
        let listed = store.stale(Page::first(9)).await.expect("stale").entries;
        assert!(listed.iter().any(|(of, _)| *of == id(2)), "{words:?}");
        assert!(queue.find(&id(2)).await.expect("find").is_some(), "{words:?}");

        let outcome = store.commit(run.value("again", &[direct("a")])).await.expect("commit");
        assert!(matches!(outcome, CommitOutcome::Conflicted { .. }), "{outcome:?}");
        let run = begin(&*store, id(1)).await;
        store.commit(run.value("again", &[direct("a")])).await.expect("commit");
        assert!(matches!(freshness(&*store, id(1)).await, Some(Freshness::Fresh { .. })), "{words:?}");
        is_whole(&*store, 1).await;
    }
}

/// A look-up does not read the whole record, so its answer is fresh until a caller needs the rest.
#[tokio::test]
async fn a_record_without_what_it_depends_on_or_its_call_is_stale_once_a_caller_asks_for_them() {
    let unreadable: [&[&[u8]]; 4] = [
        &[b"HSET", b"u", b"one and a half dependencies"],
        &[b"HSET", b"u", b"a dependency of x"],
        &[b"HDEL", b"u"],
        &[b"HDEL", b"k"],
    ];
    for words in unreadable {
        for asks in [true, false] {
            let namespace = random_namespace();
            let store = shared().await.store(&namespace).expect("a store");
            damage(&*store, &namespace, 1, words).await;
            if asks {
                assert!(store.read_record(&id(1)).await.expect("read_record").record.is_none(), "{words:?}");
                assert!(matches!(freshness(&*store, id(1)).await, Some(Freshness::Stale { .. })), "{words:?}");
            }
            let run = begin(&*store, id(1)).await;
            if asks || words[1] == b"u" {
                let entry = run.begun.entry.as_ref().expect("its value can be read");
                assert_eq!(entry.staleness, Staleness::Stale, "only a run stores it again: {words:?}");
            }
            store.commit(run.value("again", &[direct("a")])).await.expect("commit");
            is_whole(&*store, 1).await;
        }
    }
}

#[tokio::test]
async fn notes_on_a_record_that_cannot_be_read_begin_again() {
    for causes in [&b"\0\x09short"[..], b"x", b""] {
        let namespace = random_namespace();
        let store = shared().await.store(&namespace).expect("a store");
        let broken = [&b"HSET"[..], b"c", causes, b"n", b"many", b"f", b"1e3", b"l", b"now"];
        damage(&*store, &namespace, 1, &broken).await;
        let record = store.inspect(&id(1)).await.expect("inspect").expect("a record");
        assert_eq!((record.causes.len(), record.conflicts, record.failures, record.last_failure), (0, 0, 0, None));

        let run = begin(&*store, id(1)).await;
        assert_eq!(run.begun.conflicts, 0);
        let failure = Some("it fails".to_owned());
        let abort = Abort { id: id(1), token: run.token, failure, delay: Duration::ZERO };
        assert!(store.abort(abort).await.expect("abort"));
        let run = begin(&*store, id(1)).await;
        store.invalidate(change(["a"])).await.expect("invalidate");
        let record = store.inspect(&id(1)).await.expect("inspect").expect("a record");
        assert_eq!((record.causes[0].as_ref(), record.failures), ("changed", 1));
        assert_eq!(record.last_failure.expect("a failure").message, "it fails");

        store.commit(run.value("value", &[direct("a")])).await.expect("commit");
        assert_eq!(store.inspect(&id(1)).await.expect("inspect").expect("a record").conflicts, 1);
    }
}

#[tokio::test]
async fn a_conflicting_run_replaces_a_staleness_that_cannot_be_read() {
    for words in UNREADABLE.into_iter().filter(|words| words[1] == b"s") {
        let namespace = random_namespace();
        let store = shared().await.store(&namespace).expect("a store");
        compute(&*store, id(1), &[direct("a")]).await;
        let run = begin(&*store, id(1)).await;
        store.invalidate(change(["a"])).await.expect("invalidate");
        damage_record(&namespace, 1, words).await;
        let outcome = store.commit(run.value("again", &[direct("a")])).await.expect("commit");
        assert!(matches!(outcome, CommitOutcome::Conflicted { .. }), "{outcome:?}");
        assert!(matches!(freshness(&*store, id(1)).await, Some(Freshness::Stale { .. })), "{words:?}");
        assert_eq!(store.stale(Page::first(9)).await.expect("stale").entries.len(), 1);
    }
}

#[tokio::test]
async fn maintenance_and_invalidations_go_on_past_keys_of_a_wrong_type() {
    let namespace = random_namespace();
    let (store, queue) = shared().await.both(&namespace).expect("both");
    let mut connection = raw(&shared_redis_url()).await;
    let short = Some(Duration::from_millis(1));
    for number in 1..=4 {
        let run = begin(&*store, id(number)).await;
        let ttl = short.filter(|_| number > 2);
        store.commit(Commit { ttl, ..run.value("value", &[direct("a")]) }).await.expect("commit");
    }
    let dying = begin(&*store, id(1)).await;
    for number in [1, 3] {
        let key = key(&namespace, &id(number));
        let _: i64 = ask(&mut connection, &[b"DEL", &key]).await;
        let _: () = ask(&mut connection, &[b"SET", &key, b"x"]).await;
    }
    store.new_epoch().await.expect("a new epoch");
    let mut expired = 0;
    until("what has expired is removed", async || {
        expired += store.maintain(100).await.expect("maintain").expired;
        expired == 2
    })
    .await;
    assert_eq!(queue.counts().await.expect("counts").recompute, 1, "the walk of the epochs came to the second one");
    let abort = Abort { id: id(1), token: dying.token, failure: None, delay: Duration::ZERO };
    assert!(store.abort(abort).await.expect("abort"));
    store.invalidate(change(["a"])).await.expect("invalidate");
    let record = store.inspect(&id(2)).await.expect("inspect").expect("a record");
    assert_eq!(record.causes.last().map(AsRef::as_ref), Some("changed"));
    for number in [1, 3] {
        let left: i64 = ask(&mut connection, &[b"DEL", &key(&namespace, &id(number))]).await;
        assert_eq!(left, 1, "the foreign key stays");
    }
    compute(&*store, id(1), &[direct("a")]).await;
    assert_eq!(store.invalidate(change(["a"])).await.expect("invalidate").marked, 2, "its edge is there again");
}

/// Damage to the namespace: everything is stale once, and then works as before.
#[tokio::test]
async fn broken_epochs_and_revisions_are_replaced_by_new_ones() {
    let damages: [&[&[u8]]; 13] = [
        &[b"HSET", b"v", b"e", b"short"],
        &[b"HSET", b"v", b"s:users", b"short"],
        &[b"HSET", b"v", b"s:orders", b"longer, but of no kind that there is"],
        &[b"HSET", b"v", b"s:orders", b""],
        &[b"HSET", b"v", b"a", b"now"],
        &[b"HSET", b"c", b"k", b"many"],
        &[b"HSET", b"c", b"k", b"9223372036854775807"],
        &[b"HSET", b"c", b"k", b"9007199254740993"],
        &[b"HSET", b"c", b"f", b"1e9"],
        &[b"HSET", b"c", b"sg", b"-"],
        &[b"HSET", b"p", b"orders", b"x"],
        &[b"HSET", b"f:feed", b"n", b"first"],
        &[b"HSET", b"f:feed", b"n", b"9007199254740993"],
    ];
    for words in damages {
        let namespace = random_namespace();
        let (store, queue) = shared().await.both(&namespace).expect("both");
        store.attach(&[source("users")]).await.expect("attach");
        let first = step(&*store, &source("orders"), 1).await;
        store.restart(first.clone()).await.expect("restart");
        let save = async |step: FeedStep| {
            let step = FeedStep { valid_for: Some(LONG), caught_up: true, ..step };
            store.invalidate(Invalidation { step: Some(step), ..change(["b"]) }).await
        };
        save(first.clone()).await.expect("a step");
        let sources = [source("orders"), source("users")];
        let run = begin(&*store, id(1)).await;
        let value =
            async |run: &Run| store.commit(run.value_of("value", &[direct("a")], &sources)).await.expect("commit");
        assert!(matches!(value(&run).await, CommitOutcome::Fresh { .. }));
        assert!(matches!(freshness(&*store, id(1)).await, Some(Freshness::Fresh { .. })));
        let before = begin(&*store, id(1)).await;
        store.invalidate(change(["a"])).await.expect("invalidate");
        let key = format!("{{{namespace}}}:{}", String::from_utf8_lossy(words[1]));
        let words: Vec<&[u8]> = [words[0], key.as_bytes()].into_iter().chain(words[2..].iter().copied()).collect();
        let _: redis::Value = ask(&mut raw(&shared_redis_url()).await, &words).await;

        let damaged = freshness(&*store, id(1)).await.expect("it is there for who looks");
        assert!(!damaged.is_fresh(), "{words:?}");
        while store.maintain(100).await.expect("maintain").more {}
        assert!(!matches!(value(&before).await, CommitOutcome::Fresh { .. }), "{words:?}");
        store.attach(&[source("users")]).await.expect("attach");
        let next = step(&*store, &source("orders"), 3).await;
        assert!(words[2] != b"n" || next.fence > first.fence, "the old leader is fenced");
        save(next).await.expect("the feed goes on");
        while store.maintain(100).await.expect("maintain").more {}
        assert_eq!(queue.counts().await.expect("counts").recompute, 1, "{words:?}");
        let run = begin(&*store, id(1)).await;
        assert!(matches!(value(&run).await, CommitOutcome::Fresh { .. }), "{words:?}");
        assert!(matches!(freshness(&*store, id(1)).await, Some(Freshness::Fresh { .. })), "{words:?}");
        store.invalidate(change(["a"])).await.expect("invalidate");
        assert!(matches!(freshness(&*store, id(1)).await, Some(Freshness::Stale { .. })), "{words:?}");
    }
}

#[tokio::test]
async fn epochs_in_a_key_of_a_wrong_type_are_named() {
    let namespace = random_namespace();
    let store = shared().await.store(&namespace).expect("a store");
    let validity = format!("{{{namespace}}}:v");
    let _: () = ask(&mut raw(&shared_redis_url()).await, &[b"SET", validity.as_bytes(), b"x"]).await;
    let error = store.lookup(&[id(1)]).await.expect_err("the epochs cannot be read");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains(&validity) && error.to_string().contains("remove"), "{error}");
}

/// Whatever part of a job is damaged: it is done, and so are the others.
#[tokio::test]
async fn entry_of_a_broken_job_gets_another_one() {
    let damages: [&[&[u8]]; 10] = [
        &[b"SET", b"x"],
        &[b"DEL"],
        &[b"HSET", b"s", b"?"],
        &[b"HDEL", b"s"],
        &[b"HSET", b"l", b"7", b"p", b"urgent"],
        &[b"HDEL", b"l", b"p"],
        &[b"HSET", b"d", b"tomorrow"],
        &[b"HSET", b"e", b"x", b"c", b"y"],
        &[b"HSET", b"t", b"short"],
        &[b"HSET", b"a", b"soon", b"b", b"9", b"g", b"-"],
    ];
    for words in damages {
        for reserved in [false, true] {
            let namespace = random_namespace();
            let (store, queue) = shared().await.both(&namespace).expect("both");
            for number in [1, 2] {
                compute(&*store, id(number), &[direct("a")]).await;
            }
            store.invalidate(change(["a"])).await.expect("invalidate");
            if reserved {
                let lease = Duration::from_millis(1);
                let taken = queue.reserve(Reserve::new(Lane::Recompute, 10, lease)).await.expect("reserve").jobs;
                assert_eq!(taken.len(), 2);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let key = [format!("{{{namespace}}}:q:j:").as_bytes(), id(1).as_bytes()].concat();
            let words: Vec<&[u8]> = [words[0], &key].into_iter().chain(words[1..].iter().copied()).collect();
            let _: redis::Value = ask(&mut raw(&shared_redis_url()).await, &words).await;
            // As the reconciler does.
            let net = |number| NewJob { revive: false, ..NewJob::now(id(number), Lane::Recompute) };
            queue.enqueue(&[net(1), net(2)]).await.expect("enqueue");
            queue.find(&id(1)).await.expect("find");
            queue.list(JobState::Queued, None, 10).await.expect("a list");
            until("both are computed", async || {
                for job in queue.reserve(Reserve::new(Lane::Recompute, 10, LONG)).await.expect("reserve").jobs {
                    compute(&*store, job.id, &[direct("a")]).await;
                    let end = JobEnd::Done;
                    queue.settle(&[Settlement { id: job.id, token: job.token, end }]).await.expect("settle");
                }
                store.stats().await.expect("stats").stale == 0
            })
            .await;
            let left = queue.counts().await.expect("counts");
            assert_eq!((left.recompute, left.running), (0, 0), "{words:?}");
        }
    }
}
