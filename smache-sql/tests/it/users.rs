//! A table of users, and a function of them that can be held up, for the tests of the transactional mode.

use std::{sync::Arc, time::Duration};

use serde::Deserialize;
use smache_core::{Cached, Call, Computed, Cx, Declaration, EntityType, Failure, Smache};
use tokio::{sync::watch, task::JoinHandle};

/// The longest that a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// A row of the application.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct User {
    pub(crate) id: i64,
    pub(crate) name: String,
}

impl EntityType for User {
    type Id = i64;
    const SOURCE: &'static str = "users";

    fn id(&self) -> &i64 {
        &self.id
    }
}

/// The name of a user, or that there is none. Its read is old before the gate opens.
pub(crate) struct NameOf;

impl Computed for NameOf {
    type Args = (i64,);
    type Output = String;

    fn declaration() -> Declaration {
        Declaration::new("name_of")
    }

    async fn compute(cx: &Cx, (id,): Self::Args) -> Result<String, Failure> {
        let user = cx.load::<User>(&id).await?;
        cx.state::<Gate>()?.pass().await;
        Ok(user.map_or_else(|| "nobody".to_owned(), |user| user.name.clone()))
    }
}

pub(crate) fn name_of(id: i64) -> Call<NameOf> {
    Call::new((id,))
}

/// Holds runs up between their reads and their ends.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    arrived: Arc<watch::Sender<usize>>,
    open: Arc<watch::Sender<bool>>,
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self { arrived: Arc::new(watch::Sender::new(0)), open: Arc::new(watch::Sender::new(true)) }
    }

    pub(crate) async fn pass(&self) {
        self.arrived.send_modify(|arrived| *arrived += 1);
        self.open.subscribe().wait_for(|open| *open).await.expect("the test holds the gate");
    }

    pub(crate) fn close(&self) {
        self.arrived.send_replace(0);
        self.open.send_replace(false);
    }

    pub(crate) fn open(&self) {
        self.open.send_replace(true);
    }

    /// Until a run has read and stands before the gate.
    pub(crate) async fn arrival(&self) {
        let mut arrived = self.arrived.subscribe();
        let arrival = arrived.wait_for(|arrived| *arrived > 0);
        tokio::time::timeout(PATIENCE, arrival).await.expect("a run comes").expect("the test holds the gate");
    }
}

pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("in vain: {what}"));
}

/// The stored name of a user and whether it is fresh.
pub(crate) async fn stored(smache: &Smache, id: i64) -> Option<(String, bool)> {
    let found: Option<Cached<String>> = smache.peek(name_of(id)).await.expect("a look-up");
    found.map(|found| (found.to_string(), found.is_fresh()))
}

/// The stored result of a name and a freshness.
pub(crate) fn is(name: &str, fresh: bool) -> Option<(String, bool)> {
    Some((name.to_owned(), fresh))
}

/// Does the jobs until one has made a result fresh: a run that was overtaken is due a little later.
pub(crate) async fn recomputed(smache: &Smache, id: i64, name: &str) {
    let done = async || {
        smache.run_until_idle().await.expect("the jobs");
        stored(smache, id).await == is(name, true)
    };
    until("the result is computed again", done).await;
}

/// A computation of a user's name that has read, and is held up before its end.
pub(crate) async fn reading(gate: &Gate, smache: &Smache, id: i64) -> JoinHandle<smache_core::Result<Cached<String>>> {
    gate.close();
    let smache = smache.clone();
    let reading = tokio::spawn(async move { smache.refresh(name_of(id)).await });
    gate.arrival().await;
    reading
}

/// Opens the gate, and returns the result and whether it is fresh.
pub(crate) async fn end(gate: &Gate, reading: JoinHandle<smache_core::Result<Cached<String>>>) -> (String, bool) {
    gate.open();
    let read = reading.await.expect("the task").expect("a value");
    (read.to_string(), read.is_fresh())
}
