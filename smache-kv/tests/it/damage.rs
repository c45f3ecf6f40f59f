//! Unreadable records: they cost their entry a run, and other entries nothing.

use std::{sync::Arc, time::Duration};

use smache_core::{
    Backend, CacheStore, Commit, Dependency, EntryId, JobEnd, JobQueue, JobState, Lane, ManualClock, Namespace, NewJob,
    Page, Reserve, Settlement, Token, Via,
};
use smache_kv::KvBackend;

use crate::{
    logged::Logged,
    steps::{LONG, begin, both, change, commit, compute, id, is_fresh, value},
    tree::{Conflicts, Tree},
};

/// Every role whose keys end with an entry, and the changes that the namespace remembers.
const ROLES: &[u8] = b"hvgrtudzxjqianc";

struct Shop {
    clock: ManualClock,
    tree: Tree,
    store: Arc<dyn CacheStore>,
    queue: Arc<dyn JobQueue>,
}

impl Shop {
    fn new() -> Self {
        let clock = ManualClock::default();
        let tree = Tree::new(clock.clone(), Conflicts::Never);
        let (store, queue) = both(&tree);
        Self { clock, tree, store, queue }
    }

    /// Two stale entries with jobs, of which the first one's is taken, and a run of the first.
    async fn full() -> Self {
        let shop = Self::new();
        for number in [1, 2] {
            let run = begin(&*shop.store, id(number)).await;
            let value = Commit { ttl: Some(LONG * 2), ..value(id(number), run, "a") };
            assert!(is_fresh(&shop.store.commit(value).await.expect("commit")));
        }
        shop.store.invalidate(change("a")).await.expect("invalidate");
        shop.queue.reserve(Reserve::new(Lane::Recompute, 1, LONG)).await.expect("reserve");
        begin(&*shop.store, id(1)).await;
        shop
    }

    async fn shows(&self, number: u8) -> bool {
        let found = self.store.lookup(&[id(9), id(number), id(number)]).await.expect("look-up").entries;
        assert!(found[0].is_none() && found[1] == found[2]);
        found[1].is_some()
    }

    /// No read fails.
    async fn is_listed(&self) {
        let store = &self.store;
        let queue = &self.queue;
        let page = || Page { cursor: None, limit: 100 };
        store.stale(page()).await.expect("stale");
        store.dependants(&Dependency::tag("a"), page()).await.expect("dependants");
        store.inspect(&id(1)).await.expect("inspect");
        store.read_record(&id(1)).await.expect("read_record");
        store.stats().await.expect("stats");
        queue.counts().await.expect("counts");
        queue.find(&id(1)).await.expect("find");
        for state in [JobState::Queued, JobState::Running, JobState::DeadLetter] {
            queue.list(state, None, 100).await.expect("list");
        }
    }

    async fn maintenance(&self) {
        while self.store.maintain(3).await.expect("maintain").more {}
    }

    /// Takes the jobs that are due until there are none, computes their entries and settles them.
    async fn work(&self, tag: &str) {
        for _ in 0..10 {
            let reservation = self.queue.reserve(Reserve::new(Lane::Recompute, 10, LONG)).await.expect("reserve");
            for job in &reservation.jobs {
                assert!(is_fresh(&compute(&*self.store, job.id, tag).await));
                let end = JobEnd::Done;
                self.queue.settle(&[Settlement { id: job.id, token: job.token, end }]).await.expect("settle");
            }
            if reservation.jobs.is_empty() && reservation.next_due != Some(Duration::ZERO) {
                return;
            }
        }
        panic!("jobs without end");
    }
}

impl Shop {
    /// Takes the jobs that are due and computes their entries.
    async fn work_of(&self, compute: &impl AsyncFn((Token, Box<smache_core::Begun>)) -> smache_core::CommitOutcome) {
        let jobs = self.queue.reserve(Reserve::new(Lane::Recompute, 10, LONG)).await.expect("reserve").jobs;
        assert_eq!(jobs.len(), 1, "the entry is stale and has a job");
        for job in &jobs {
            assert!(is_fresh(&compute(begin(&*self.store, job.id).await).await));
            let end = JobEnd::Done;
            self.queue.settle(&[Settlement { id: job.id, token: job.token, end }]).await.expect("settle");
        }
    }
}

#[tokio::test]
async fn damaged_record_is_a_miss_and_the_others_are_answered() {
    for (role, what) in [(b'h', "the head"), (b'v', "the value")] {
        let shop = Shop::full().await;
        assert_eq!(shop.tree.spoil_of(role, id(1).as_bytes()), 1);
        let (logged, _guard) = Logged::listen();
        assert!(!shop.shows(1).await, "{what}");
        let log = logged.text();
        assert!(log.contains("WARN") && log.contains(&id(1).to_string()) && log.contains(what), "{log}");
        assert!(shop.shows(2).await, "{what} of another one");
    }
}

#[tokio::test]
async fn nothing_but_its_own_entry_is_in_the_way_of_what_is_damaged() {
    for role in ROLES.iter().copied() {
        let shop = Shop::full().await;
        let name = role.escape_ascii();
        let end: &[u8] = if b"ncq".contains(&role) { b"" } else { &[1; EntryId::LEN] };
        assert!(shop.tree.spoil_of(role, end) > 0, "{name} is there to be damaged");
        shop.is_listed().await;
        assert!(shop.shows(2).await, "{name}");

        let changed = shop.store.invalidate(change("a")).await.expect("the feed goes on");
        assert!(changed.marked >= 1, "{name}");
        shop.store.new_epoch().await.expect("new epoch");
        shop.maintenance().await;
        shop.is_listed().await;
        // The lease of the run and of the job end.
        shop.clock.advance(LONG + Duration::from_secs(2));
        shop.maintenance().await;
        shop.work("a").await;
        for number in [1, 2] {
            assert!(is_fresh(&compute(&*shop.store, id(number), "a").await), "{name}");
            let record = shop.store.inspect(&id(number)).await.expect("inspect").expect("stored");
            assert_eq!((&record.entry.value[..], record.used.len()), (&b"value"[..], 1), "{name}");
        }
        shop.maintenance().await;
        let stats = shop.store.stats().await.expect("stats");
        assert_eq!((stats.entries, stats.stale, stats.running), (2, 0, 0), "{name}");
        assert_eq!(shop.store.invalidate(change("a")).await.expect("invalidate").marked, 2, "{name}");
        shop.work("a").await;

        for number in [1, 2] {
            shop.store.remove(&id(number), None).await.expect("remove");
        }
        shop.clock.advance(LONG * 4);
        shop.work("a").await;
        // The numbers are added up a second later.
        for _ in 0..3 {
            shop.maintenance().await;
            shop.clock.advance(Duration::from_secs(2));
        }
        assert_eq!(shop.tree.len(), KEPT, "nothing is left of {name}");
    }
}

/// The layout, the validity, the revision and its low watermark.
const KEPT: usize = 4;

#[tokio::test]
async fn what_a_damaged_record_leaves_behind_is_removed_by_maintenance() {
    for role in *b"hvg" {
        let shop = Shop::full().await;
        shop.tree.spoil_of(role, id(1).as_bytes());
        // The entry has another dependency now, expires later and is fresh.
        shop.clock.advance(LONG + Duration::from_secs(2));
        assert!(is_fresh(&compute(&*shop.store, id(1), "b").await));
        shop.maintenance().await;
        let of = async |tag| {
            let page = Page { cursor: None, limit: 100 };
            shop.store.dependants(&Dependency::tag(tag), page).await.expect("dependants").entries
        };
        assert_eq!(of("a").await, [(id(2), Via::Direct)], "{}", role.escape_ascii());
        assert_eq!(of("b").await, [(id(1), Via::Direct)]);
        assert_eq!(shop.store.stats().await.expect("stats").stale, 1);
        shop.clock.advance(LONG * 2);
        shop.maintenance().await;
        assert!(shop.shows(1).await && !shop.shows(2).await, "the old expiry is not that of the new record");
    }
}

#[tokio::test]
async fn expiry_of_a_damaged_record_is_not_that_of_the_one_that_follows() {
    let shop = Shop::full().await;
    shop.tree.spoil_of(b'h', id(1).as_bytes());
    shop.clock.advance(LONG + Duration::from_secs(2));
    assert!(is_fresh(&compute(&*shop.store, id(1), "a").await));
    // Without maintenance in between.
    shop.clock.advance(LONG);
    assert_eq!(shop.store.maintain(100).await.expect("maintain").expired, 1);
    assert!(shop.shows(1).await && !shop.shows(2).await);
}

#[tokio::test]
async fn entry_that_does_not_know_what_it_depends_on_is_not_taken_for_valid() {
    let shop = Shop::new();
    compute(&*shop.store, id(1), "a").await;
    shop.tree.spoil(b'g');
    assert!(shop.shows(1).await, "its edges are there: a change finds it");
    assert_eq!(shop.store.invalidate(change("a")).await.expect("invalidate").marked, 1);
    let run = begin(&*shop.store, id(1)).await;
    assert!(run.1.entry.is_none() && run.1.call.is_none() && run.1.used.is_empty());
    assert!(!shop.shows(1).await, "its job cannot know what to run: the next reader does");
    assert!(is_fresh(&commit(&*shop.store, id(1), run, "a").await));
}

#[tokio::test]
async fn clock_of_a_change_that_cannot_be_read_may_be_the_latest() {
    let shop = Shop::new();
    let run = begin(&*shop.store, id(1)).await;
    shop.store.invalidate(change("a")).await.expect("invalidate");
    shop.tree.spoil(b'n');
    assert!(!is_fresh(&commit(&*shop.store, id(1), run, "a").await));
    shop.maintenance().await;
    assert!(is_fresh(&compute(&*shop.store, id(1), "a").await), "it does not last");
}

#[tokio::test]
async fn place_of_a_revision_that_was_damaged_does_not_hide_a_later_change() {
    let shop = Shop::new();
    shop.store.invalidate(change("a")).await.expect("invalidate");
    shop.tree.spoil(b'n');
    let run = begin(&*shop.store, id(1)).await;
    shop.store.invalidate(change("a")).await.expect("invalidate");
    // The first place goes, since no run is as old.
    shop.maintenance().await;
    assert!(!is_fresh(&commit(&*shop.store, id(1), run, "a").await));
}

#[tokio::test]
async fn invalidation_with_a_damaged_mark_is_done_again() {
    let shop = Shop::new();
    for number in 1..=10 {
        compute(&*shop.store, id(number), "a").await;
    }
    shop.tree.fail_after(Some(2));
    shop.store.invalidate(change("a")).await.expect_err("the author dies");
    shop.tree.fail_after(None);
    assert_eq!(shop.tree.spoil(b'm'), 1);
    assert!(!is_fresh(&compute(&*shop.store, id(10), "a").await));
    shop.clock.advance(Duration::from_secs(31));
    assert_eq!(shop.store.maintain(100).await.expect("maintain").redone, 1);
    assert_eq!(shop.store.stats().await.expect("stats").stale, 10);
}

#[tokio::test]
async fn damaged_job_of_a_queue_alone_is_replaced() {
    for reserved in [false, true] {
        let clock = ManualClock::default();
        let tree = Tree::new(clock.clone(), Conflicts::Never);
        let backend = KvBackend::builder(tree.clone()).build();
        let queue = backend.queue(&Namespace::new("shop").expect("a good name")).expect("it has queues");
        queue.enqueue(&[NewJob::now(id(1), Lane::Recompute)]).await.expect("enqueue");
        if reserved {
            queue.reserve(Reserve::new(Lane::Recompute, 1, LONG)).await.expect("reserve");
        }
        queue.enqueue(&[NewJob::now(id(2), Lane::Recompute)]).await.expect("enqueue");
        tree.spoil_of(b'j', id(1).as_bytes());
        assert_eq!(queue.find(&id(1)).await.expect("find"), None);
        clock.advance(LONG * 2);
        queue.enqueue(&[NewJob::now(id(1), Lane::Recompute)]).await.expect("enqueue");
        let mut taken = Vec::new();
        loop {
            let reservation = queue.reserve(Reserve::new(Lane::Recompute, 1, LONG)).await.expect("reserve");
            for job in &reservation.jobs {
                let end = JobEnd::Done;
                queue.settle(&[Settlement { id: job.id, token: job.token, end }]).await.expect("settle");
                taken.push(job.id);
            }
            if reservation.next_due.is_none() {
                break;
            }
        }
        taken.sort();
        assert_eq!(taken, [id(1), id(2)], "each once");
        // Reservations add up the numbers.
        for _ in 0..64 {
            clock.advance(Duration::from_secs(2));
            queue.reserve(Reserve::new(Lane::Recompute, 1, LONG)).await.expect("reserve");
        }
        assert_eq!(tree.len(), 1, "only the layout: {tree:?}");
    }
}

/// Only its workers meet the job again.
#[tokio::test]
async fn entry_of_a_damaged_job_gets_another_one() {
    for spoilt_at in ["queued", "running", "dead_letter"] {
        let shop = Shop::new();
        compute(&*shop.store, id(1), "a").await;
        shop.store.invalidate(change("a")).await.expect("invalidate");
        if spoilt_at != "queued" {
            let taken = shop.queue.reserve(Reserve::new(Lane::Recompute, 1, LONG)).await.expect("reserve").jobs;
            if spoilt_at == "dead_letter" {
                let end = JobEnd::DeadLetter { error: "out of paper".into() };
                let dead_letter = Settlement { id: taken[0].id, token: taken[0].token, end };
                shop.queue.settle(&[dead_letter]).await.expect("settle");
            }
        }
        assert_eq!(shop.tree.spoil(b'j'), 1);
        shop.clock.advance(LONG * 2);
        if spoilt_at == "dead_letter" {
            // As the reconciler does.
            let net = NewJob { revive: false, ..NewJob::now(id(1), Lane::Recompute) };
            shop.queue.enqueue(&[net]).await.expect("enqueue");
        }
        shop.work("a").await;
        shop.maintenance().await;
        assert_eq!(shop.store.stats().await.expect("stats").stale, 0, "{spoilt_at}");
        assert_eq!(shop.queue.counts().await.expect("counts"), smache_core::JobCounts::default(), "{spoilt_at}");
    }
}

/// Damage to the namespace: everything is stale once, and then works as before.
#[tokio::test]
async fn damaged_epochs_and_revisions_are_replaced_by_new_ones() {
    for role in *b"ekfpl" {
        let shop = Shop::new();
        let name = role.escape_ascii();
        let users = smache_core::SourceId::new("users").expect("a good name");
        let orders = smache_core::SourceId::new("orders").expect("a good name");
        shop.store.attach(std::slice::from_ref(&users)).await.expect("attach");
        let feed = smache_core::FeedId::new("feed").expect("a good name");
        let holder = Token::random();
        let step = async |fence, order: u8| smache_core::FeedStep {
            feed: feed.clone(),
            fence,
            leadership: LONG,
            incarnation: shop.store.positions(&[]).await.expect("positions").incarnation,
            positions: vec![(orders.clone(), smache_core::Position::new("history", [order], "token"))],
            valid_for: Some(LONG),
            deadline: None,
            caught_up: true,
        };
        let lead = async || match shop.store.lead(&feed, holder, LONG).await.expect("lead") {
            smache_core::Leadership::Leader { fence } => fence,
            other => panic!("another process leads: {other:?}"),
        };
        let fence = lead().await;
        shop.store.restart(step(fence, 1).await).await.expect("restart");
        let save = async |fence, order| {
            let step = Some(step(fence, order).await);
            shop.store.invalidate(smache_core::Invalidation { step, ..change("b") }).await
        };
        save(fence, 2).await.expect("a step");
        let of_both = async |run: (Token, Box<smache_core::Begun>)| {
            let epochs = run.1.validity.epochs([&orders, &users]);
            let value = Commit { epochs, ..value(id(1), run, "a") };
            shop.store.commit(value).await.expect("commit")
        };
        let fresh = async || {
            let lookup = shop.store.lookup(&[id(1)]).await.expect("look-up");
            let entry = lookup.entries[0].as_ref().expect("stored");
            lookup.validity.judge(entry, lookup.now, &lookup.incarnation).is_fresh()
        };
        assert!(is_fresh(&of_both(begin(&*shop.store, id(1)).await).await));
        assert!(fresh().await);
        let before = begin(&*shop.store, id(1)).await;
        shop.store.invalidate(change("a")).await.expect("invalidate");
        shop.maintenance().await;
        assert!(shop.tree.spoil(role) > 0, "{name}");

        let (logged, _guard) = Logged::listen();
        fresh().await;
        assert!(!is_fresh(&of_both(before).await), "{name}: it read what was before the change");
        shop.maintenance().await;
        shop.store.attach(std::slice::from_ref(&users)).await.expect("attach");
        let next = lead().await;
        assert!(role != b'l' || next > fence, "the old leader is fenced");
        save(next, 3).await.expect("the feed goes on");
        shop.work_of(&of_both).await;
        assert!(fresh().await, "{name}");
        let log = logged.text();
        assert!(log.contains("WARN") && log.contains("is replaced"), "{name}: {log}");
        shop.store.invalidate(change("a")).await.expect("invalidate");
        assert!(!fresh().await, "{name}");
        assert!(is_fresh(&of_both(begin(&*shop.store, id(1)).await).await), "{name}");
    }
}

#[tokio::test]
async fn numbers_that_cannot_grow_are_damage() {
    for role in *b"kl" {
        let shop = Shop::full().await;
        let feed = smache_core::FeedId::new("feed").expect("a good name");
        shop.store.lead(&feed, Token::random(), LONG).await.expect("lead");
        // The revision; the fence and the end of the lease of a leader.
        shop.tree.change(|map| {
            let of_role = map.iter_mut().filter(|(key, _)| key.get(usize::from(key[0]) + 2) == Some(&role));
            of_role.for_each(|(_, value)| {
                let end = value.len().min(25);
                let mut bytes = value.to_vec();
                bytes[end.saturating_sub(8)..end].fill(0xff);
                *value = bytes.into();
            });
        });
        shop.clock.advance(LONG * 2);
        let before = shop.store.stats().await.expect("stats").revision;
        let after = shop.store.invalidate(change("a")).await.expect("invalidate").revision;
        assert!(after > before, "{before} → {after}");
        let lead = shop.store.lead(&feed, Token::random(), LONG).await.expect("lead");
        assert!(matches!(lead, smache_core::Leadership::Leader { fence } if fence > 1), "{lead:?}");
    }
}
