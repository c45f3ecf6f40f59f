//! How many commands a step takes, as in the crate's guide.

use std::sync::{Arc, Mutex};

use smache_core::{Backend, ChangedDependency, Invalidation, JobEnd, JobQueue, Lane, NewJob, Reserve, Settlement};
use smache_mongo::Mongo;

use super::support::{LONG, Own, begin, change, compute, direct, id, lead, look, namespace};

/// The commands that a client has sent since the last look.
#[derive(Clone, Default)]
struct Sent(Arc<Mutex<Vec<String>>>);

impl Sent {
    fn take(&self) -> usize {
        let sent = std::mem::take(&mut *self.0.lock().expect("no holder panics"));
        sent.iter().filter(|name| *name != "endSessions").count()
    }
}

async fn watched(own: &Own) -> (Mongo, Sent) {
    let sent = Sent::default();
    let told = sent.clone();
    let note = move |name: &str, _: &_| told.0.lock().expect("no holder panics").push(name.to_owned());
    (own.told(note).await, sent)
}

#[tokio::test]
async fn steps_of_the_store_take_few_commands() {
    let own = Own::new().await;
    let (mongo, sent) = watched(&own).await;
    let store = mongo.store(&namespace("shop")).expect("a store");
    compute(&*store, id(1), "one", &[direct("a")]).await;
    sent.take();

    look(&*store, id(1)).await;
    assert_eq!(sent.take(), 1, "a look-up");
    let all: Vec<_> = (0..100).map(id).collect();
    store.lookup(&all).await.expect("lookup");
    assert_eq!(sent.take(), 1, "a look-up of many");
    for number in [1, 2] {
        let run = begin(&*store, id(number)).await;
        assert_eq!(sent.take(), 2, "begin");
        store.commit(run.value("two", &[direct("a"), direct("b")])).await.expect("commit");
        assert_eq!(sent.take(), 3, "a commit, whatever it depends on");
    }
    store.invalidate(change("unused")).await.expect("invalidate");
    assert_eq!(sent.take(), 4, "a change without dependants");
    store.invalidate(change("a")).await.expect("invalidate");
    assert_eq!(sent.take(), 5, "a change with a page of dependants");
}

#[tokio::test]
async fn invalidations_take_commands_by_the_page() {
    let own = Own::new().await;
    let (mongo, sent) = watched(&own).await;
    let store = mongo.store(&namespace("shop")).expect("a store");
    let leader = lead(&*store).await;
    compute(&*store, id(1), "one", &[direct("a")]).await;
    let one = leader.step(&*store, 2).await;
    let two = leader.step(&*store, 3).await;
    sent.take();

    let empty = Invalidation { step: Some(one), ..Invalidation::default() };
    store.invalidate(empty).await.expect("invalidate");
    assert_eq!(sent.take(), 2, "progress of a feed alone");
    store.invalidate(Invalidation { step: Some(two), ..change("a") }).await.expect("invalidate");
    assert_eq!(sent.take(), 5 + 2, "a change of a feed with a page of dependants");

    let changed = |names: std::ops::Range<u32>| {
        names.flat_map(|name| change(&name.to_string()).changed).collect::<Vec<ChangedDependency>>()
    };
    store.invalidate(Invalidation { changed: changed(0..65), ..Invalidation::default() }).await.expect("invalidate");
    assert_eq!(sent.take(), 3 + 2, "a look for dependants a 64 changes");
    let entries = (1..=101).map(id).collect();
    store.invalidate(Invalidation { entries, ..Invalidation::default() }).await.expect("invalidate");
    assert_eq!(sent.take(), 3 + 2 + 1, "a look a 100 named entries; one of them is there");
}

/// Reserves the job of an entry and settles it; `meanwhile` it may be requested again.
async fn settled(own: &Own, queue: &dyn JobQueue, sent: &Sent, meanwhile: bool) -> usize {
    let others = own.mongo.queue(&namespace("shop")).expect("a queue");
    let job = [NewJob::now(id(1), Lane::Recompute)];
    others.enqueue(&job).await.expect("enqueue");
    let reserved = queue.reserve(Reserve::new(Lane::Recompute, 1, LONG)).await.expect("reserve").jobs;
    if meanwhile {
        others.enqueue(&job).await.expect("enqueue");
    }
    let settlement = Settlement { id: id(1), token: reserved[0].token, end: JobEnd::Done };
    sent.take();
    queue.settle(&[settlement]).await.expect("settle");
    sent.take()
}

#[tokio::test]
async fn settling_a_job_takes_more_commands_where_it_is_not_the_usual_one() {
    let own = Own::new().await;
    let (mongo, sent) = watched(&own).await;
    let (_, joined) = mongo.both(&namespace("shop")).expect("both");
    let alone = mongo.queue(&namespace("shop")).expect("a queue");
    assert_eq!(settled(&own, &*alone, &sent, false).await, 1, "nothing else is in its document");
    assert_eq!(settled(&own, &*joined, &sent, false).await, 2, "a joined queue expects an entry");
    compute(&*own.mongo.store(&namespace("shop")).expect("a store"), id(1), "one", &[]).await;
    assert_eq!(settled(&own, &*joined, &sent, false).await, 1, "an entry with its job");
    assert_eq!(settled(&own, &*alone, &sent, false).await, 2, "a separate queue does not expect it");
    assert_eq!(settled(&own, &*joined, &sent, true).await, 4, "it was requested again");
}

#[tokio::test]
async fn steps_of_the_queue_take_few_commands() {
    let own = Own::new().await;
    let (mongo, sent) = watched(&own).await;
    let queue = mongo.queue(&namespace("shop")).expect("a queue");
    let reserve = || Reserve::new(Lane::Recompute, 10, LONG);
    queue.reserve(reserve()).await.expect("reserve");
    sent.take();
    queue.reserve(reserve()).await.expect("reserve");
    assert_eq!(sent.take(), 1, "no job is due");
    // Through another client: its notification comes a little later.
    let jobs = [1, 2, 3].map(|number| NewJob::now(id(number), Lane::Recompute));
    own.mongo.queue(&namespace("shop")).expect("a queue").enqueue(&jobs).await.expect("enqueue");
    let taken = queue.reserve(reserve()).await.expect("reserve").jobs;
    assert_eq!((taken.len(), sent.take()), (3, 3));
    let done = |job: &smache_core::Job| Settlement { id: job.id, token: job.token, end: JobEnd::Done };
    let settlements: Vec<_> = taken.iter().map(done).collect();
    queue.settle(&settlements).await.expect("settle");
    assert_eq!(sent.take(), 3, "one a job");
}
