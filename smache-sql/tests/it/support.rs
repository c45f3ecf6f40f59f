//! The words that the tests are written in.

use std::fmt::Display;

use smache_core::{
    Backend, CacheStore, EntryId, ErrorKind, Examination, InspectStore, Invalidation, JobQueue, Lane, Namespace,
    NewJob, Reserve,
};
use smache_testkit::steps;
pub(crate) use smache_testkit::steps::{LONG, Run, begin, compute, direct, id};

pub(crate) fn namespace(name: &str) -> Namespace {
    Namespace::new(name).expect("a good name")
}

pub(crate) fn change(name: impl Display) -> Invalidation {
    steps::changes_of(&[&name.to_string()])
}

/// The value of an entry and whether it is fresh.
pub(crate) async fn look(store: &dyn CacheStore, id: EntryId) -> Option<(String, bool)> {
    steps::look(store, id).await.map(|seen| (seen.text().to_owned(), seen.is_fresh()))
}

/// The answer to the examination of the store and of the queue.
pub(crate) async fn examined(backend: &impl Backend) -> Examination {
    let (store, queue) = backend.both(&namespace("doctor")).expect("both");
    let of_store = InspectStore::examine(&*store).await.expect("an examination");
    let of_queue = JobQueue::examine(&*queue).await.expect("an examination");
    assert_eq!(of_store, of_queue);
    of_store
}

/// The findings, one a line, without the place of the temporary folder.
pub(crate) fn said(examination: &Examination) -> Vec<String> {
    let findings = examination.findings.iter().filter(|finding| !finding.problem.contains("is in memory"));
    findings.map(|finding| format!("{}: {}; {}", finding.severity, finding.problem, finding.fix)).collect()
}

/// Tables that are too new for this program refuse each of its steps.
pub(crate) async fn refuses_every_step(store: &dyn CacheStore, queue: &dyn JobQueue, half_way: &Run) {
    let refused = [
        store.lookup(&[id(1)]).await.map(drop),
        store.read_record(&id(1)).await.map(drop),
        store.commit(half_way.value("two", &[])).await.map(drop),
        store.invalidate(change("a")).await.map(drop),
        store.maintain(10).await.map(drop),
        queue.enqueue(&[NewJob::now(id(3), Lane::Recompute)]).await.map(drop),
        queue.reserve(Reserve::new(Lane::Recompute, 1, LONG)).await.map(drop),
    ];
    for refused in refused {
        let error = refused.expect_err("the tables are too new");
        assert_eq!(error.kind(), ErrorKind::WrongServer, "{}", error.report());
        assert!(error.message().contains("upgrade this program"), "{error}");
    }
}
