//! Fuzz target: no damage to the pairs of a namespace makes a step panic or takes the store away from others. An error
//! is an error of that step, and after maintenance and a new epoch everything works.

use std::time::Duration;

use smache_core::{
    Abort, Backend, Dependency, FeedId, FeedStep, Invalidation, JobEnd, JobState, Lane, Leadership, ManualClock,
    Namespace, NewJob, Page, ProgramStep, RecordWaits, Registration, Reserve, Settlement, Token, WaitingRun,
};
use smache_fuzz::{Edits, damaged, fuzz};
use smache_kv::KvBackend;
use smache_testkit::steps::{self, LONG, child, compute, direct, position, source};

use crate::tree::{Conflicts, Tree};

/// Builds a namespace with some of everything, damages pairs of it, and takes every step.
async fn survives(damage: &[(u16, Edits)]) {
    let clock = ManualClock::default();
    let tree = Tree::new(clock.clone(), Conflicts::Never);
    let backend = KvBackend::builder(tree.clone()).page(3).build();
    let (store, queue) = backend.both(&Namespace::new("shop").expect("a good name")).expect("it has both");
    let feed = FeedId::new("feed").expect("a good name");
    let id = steps::id;

    let lead = store.lead(&feed, Token::random(), LONG).await.expect("lead");
    let Leadership::Leader { fence } = lead else { panic!("another process leads") };
    store.attach(&[source("attached")]).await.expect("attach");
    let incarnation = store.positions(&[]).await.expect("positions").incarnation;
    let step = FeedStep {
        feed: feed.clone(),
        fence,
        leadership: LONG,
        incarnation,
        positions: vec![(source("fed"), position(3))],
        valid_for: Some(LONG),
        deadline: None,
        caught_up: true,
    };
    store.restart(step.clone()).await.expect("restart");
    for number in 1..=4 {
        compute(&*store, id(number), "value", &[direct("a"), child(number)]).await;
    }
    store.invalidate(Invalidation { step: Some(step.clone()), ..steps::changes_of(&["a"]) }).await.expect("invalidate");
    let notes = "notes".into();
    let program = ProgramStep {
        register: Some(Registration { id: Token::random(), notes, lease: LONG }),
        ..ProgramStep::default()
    };
    store.programs(program.clone()).await.expect("programs");
    let run = steps::begin(&*store, id(1)).await;
    let other = steps::begin(&*store, id(5)).await;
    let taken = queue.reserve(Reserve::new(Lane::Recompute, 1, LONG)).await.expect("reserve");

    for (pair, edits) in damage {
        tree.damage((*pair).into(), edits);
    }

    let page = || Page { cursor: None, limit: 3 };
    for _ in 0..2 {
        // None of these may panic; what they answer is a matter of what is damaged.
        let _ = store.lookup(&[id(1), id(2), id(5)]).await;
        let _ = store.commit(run.value("value", &[direct("a"), direct("b")])).await;
        let _ = store.changed_since(0, &[Dependency::tag("a")]).await;
        let _ = store.extend(&[(other.id, other.token)], LONG).await;
        let waiting = WaitingRun { id: other.id, token: other.token, child: id(1) };
        let _ = store.record_waits(RecordWaits { runs: vec![waiting], lease: LONG, child: id(1) }).await;
        let failure = Some("failed".to_owned());
        let _ = store.abort(Abort { id: other.id, token: other.token, failure, delay: Duration::ZERO }).await;
        let _ = store.invalidate(steps::changes_of(&["a", "b"])).await;
        let step = FeedStep { positions: vec![(source("fed"), position(4))], ..step.clone() };
        let _ = store.invalidate(Invalidation { step: Some(step), ..steps::changes_of(&["b"]) }).await;
        let _ = store.invalidate(Invalidation { entries: vec![id(3)], ..Invalidation::default() }).await;
        let _ = store.remove(&id(4), None).await;
        let _ = store.positions(&[source("fed")]).await;
        let _ = store.resign(&feed, fence).await;
        let _ = store.lead(&feed, Token::random(), LONG).await;
        let _ = store.attach(&[source("attached"), source("more")]).await;
        let _ = store.programs(program.clone()).await;
        let _ = store.keep_attached(LONG).await;
        let _ = store.stale(page()).await;
        let _ = store.dependants(&Dependency::tag("a"), page()).await;
        let _ = store.read_record(&id(2)).await;
        let _ = store.stats().await;
        let _ = queue.counts().await;
        let _ = queue.find(&id(1)).await;
        let _ = queue.enqueue(&[NewJob::now(id(2), Lane::Propagation)]).await;
        for state in [JobState::Queued, JobState::Running, JobState::DeadLetter] {
            let _ = queue.list(state, None, 2).await;
        }
        for job in &taken.jobs {
            let end = JobEnd::Retry { delay: Duration::ZERO, error: "again".to_owned() };
            let _ = queue.settle(&[Settlement { id: job.id, token: job.token, end }]).await;
        }
        let _ = queue.reserve(Reserve::new(Lane::Recompute, 2, LONG)).await;
        let _ = store.maintain(2).await;
        clock.advance(LONG * 2);
    }

    // Nothing is so broken that it stays broken.
    store.new_epoch().await.expect("new epoch");
    let mut rounds = 0;
    while store.maintain(100).await.expect("maintain").more {
        rounds += 1;
        assert!(rounds < 100, "maintenance comes to an end");
    }
    clock.advance(LONG * 2);
    // No other run can have the lease of this one: a damaged lease may end at any time.
    let run = steps::begin(&*store, id(9)).await;
    store.commit(run.value("new", &[direct("a")])).await.expect("commit");
    assert_eq!(steps::look(&*store, id(9)).await.expect("stored").text(), "new");
    let marked = store.invalidate(steps::changes_of(&["a"])).await.expect("invalidate").marked;
    assert!(marked >= 1, "a change finds it");
    assert!(!steps::look(&*store, id(9)).await.expect("stored").is_fresh());
}

#[test]
fn fuzz_damaged_namespaces() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let runtime = std::panic::AssertUnwindSafe(runtime);
    fuzz::<Vec<(u16, Edits)>>(|damage| {
        let few = &damage[..damage.len().min(8)];
        runtime.block_on(survives(few));
    });
}

impl Tree {
    /// Edits the value of a pair, by its number in the order of the keys; not that of the layout, which is a note for
    /// people: other numbers in it make every step refuse the namespace.
    fn damage(&self, pair: usize, edits: &Edits) {
        self.change(|map| {
            let pairs: Vec<_> = map.iter_mut().filter(|(key, _)| key.len() > "_shop_".len()).collect();
            let at = pair % pairs.len();
            let (_, value) = pairs.into_iter().nth(at).expect("there are more pairs");
            *value = damaged(value, edits).into();
        });
    }
}
