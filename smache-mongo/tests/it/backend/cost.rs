//! How many commands a step takes: what the guide of the crate says.

use std::sync::{Arc, Mutex};

use mongodb::{
    Client,
    event::{EventHandler, command::CommandEvent},
    options::ClientOptions,
};
use smache_core::{Backend, JobEnd, Lane, NewJob, Reserve, Settlement};
use smache_mongo::Mongo;

use super::support::{LONG, Own, begin, change, compute, direct, id, look, namespace};

/// The commands that a client has sent since the last look.
#[derive(Clone, Default)]
struct Sent(Arc<Mutex<Vec<String>>>);

impl Sent {
    fn take(&self) -> usize {
        let sent = std::mem::take(&mut *self.0.lock().expect("nobody panics with it"));
        sent.iter().filter(|name| *name != "endSessions").count()
    }
}

async fn watched(own: &Own) -> (Mongo, Sent) {
    let sent = Sent::default();
    let told = sent.clone();
    let mut options = ClientOptions::parse(&own.url).await.expect("a good URL");
    options.command_event_handler = Some(EventHandler::callback(move |event| {
        if let CommandEvent::Started(event) = event {
            told.0.lock().expect("nobody panics with it").push(event.command_name);
        }
    }));
    let client = Client::with_options(options).expect("a client");
    let mongo = Mongo::from_database(&client.database(own.database.name())).await.expect("a good database");
    (mongo, sent)
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
    store.invalidate(change("nobody's")).await.expect("invalidate");
    assert_eq!(sent.take(), 4, "a change without dependants");
    store.invalidate(change("a")).await.expect("invalidate");
    assert_eq!(sent.take(), 5, "a change with a page of dependants");
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
    // Through another client: the bell is rung a little later.
    let jobs = [1, 2, 3].map(|number| NewJob::now(id(number), Lane::Recompute));
    own.mongo.queue(&namespace("shop")).expect("a queue").enqueue(&jobs).await.expect("enqueue");
    let taken = queue.reserve(reserve()).await.expect("reserve").jobs;
    assert_eq!((taken.len(), sent.take()), (3, 3));
    let done = |job: &smache_core::Job| Settlement { id: job.id, token: job.token, end: JobEnd::Done };
    let settlements: Vec<_> = taken.iter().map(done).collect();
    queue.settle(&settlements).await.expect("settle");
    assert_eq!(sent.take(), 3, "one a job");
}
