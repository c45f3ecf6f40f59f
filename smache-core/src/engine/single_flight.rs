//! Single flight: one computation of an entry at a time in this process, for any number of readers.
//!
//! The computation runs as a separate task, so that a reader that goes away does not end it for the others.

use std::{
    collections::{HashMap, HashSet, VecDeque, hash_map::Entry},
    future::Future,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

use super::run::Attempt;
use crate::{EntryId, Error, ErrorKind, Result, Token, tracking::CallFrame};

type Outcome = Option<Result<Attempt>>;

/// The computations that are under way in this process.
#[derive(Debug, Default)]
pub(crate) struct SingleFlight {
    board: Arc<Mutex<Board>>,
    /// Changes whenever a computation ends.
    ended: watch::Sender<()>,
    /// Whether computations without a reader end: true during a shutdown.
    ending: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Board {
    /// The channel for the result of each computation. Its receivers are exactly the waiting callers.
    running: HashMap<EntryId, watch::Sender<Outcome>>,
    /// Which computation waits for which others, through nested calls: a cycle would never end.
    waits: HashMap<EntryId, Vec<Awaited>>,
}

/// The computation that a parent waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Awaited {
    child: EntryId,
    /// The token of the parent's run, if the store knows the run.
    token: Option<Token>,
}

/// A computation of this process that waits for another one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LocalWait {
    pub(crate) id: EntryId,
    pub(crate) token: Option<Token>,
    pub(crate) child: EntryId,
}

/// A computation that a caller waits for.
pub(crate) struct JoinedRun {
    receiver: watch::Receiver<Outcome>,
    /// Whether this caller started it.
    pub(crate) mine: bool,
    /// Ends the wait of a parent on drop.
    _waiting: Option<Waiting>,
}

impl SingleFlight {
    /// Joins the computation of an entry, or starts it.
    pub(crate) fn join<W>(&self, id: EntryId, work: impl FnOnce() -> W) -> JoinedRun
    where
        W: Future<Output = Result<Attempt>> + Send + 'static,
    {
        let mut board = lock(&self.board);
        let slot = match board.running.entry(id) {
            Entry::Occupied(slot) => {
                return JoinedRun { receiver: slot.get().subscribe(), mine: false, _waiting: None };
            }
            Entry::Vacant(slot) => slot,
        };
        let (sender, receiver) = watch::channel(None);
        slot.insert(sender.clone());
        drop(board);
        let departure = Departure { board: Arc::clone(&self.board), ended: self.ended.clone(), id };
        let mut ending = self.ending.subscribe();
        let work = work();
        tokio::spawn(async move {
            let result = {
                let mut work = pin!(work);
                tokio::select! {
                    biased;
                    result = &mut work => Some(result),
                    () = abandoned(&mut ending, &sender) => None,
                }
                // The run drops everything that it holds here, before it leaves the map: a shutdown looks at the map.
            };
            // Leaves the map before the result is out: a later caller starts a new run instead of reading an old
            // result.
            drop(departure);
            // An error means that no caller listens any more; the result is in the store. Without a result, a caller
            // that joined at the last moment sees the end of the sender.
            let _ = result.map(|result| sender.send(Some(result)));
        });
        JoinedRun { receiver, mine: true, _waiting: None }
    }

    /// Gives the computations without a reader this long to finish, and then ends them. Later, a computation ends as
    /// soon as its last reader leaves. Computations with a reader go on: the reader's handle holds them.
    pub(crate) async fn shutdown(&self, grace: Duration) {
        let mut ended = self.ended.subscribe();
        // `self` holds the sender, so the wait does not fail.
        let none_alone =
            async |ended: &mut watch::Receiver<()>| while self.is_any_alone() && ended.changed().await.is_ok() {};
        drop(tokio::time::timeout(grace, none_alone(&mut ended)).await);
        self.ending.send_replace(true);
        // Also when all ended in time: a reader may have gone just now.
        if tokio::time::timeout(grace, none_alone(&mut ended)).await.is_err() {
            tracing::warn!("a shutdown does not wait any longer: a computed function blocks its thread");
        }
    }

    fn is_any_alone(&self) -> bool {
        lock(&self.board).running.values().any(|sender| sender.receiver_count() == 0)
    }

    /// The same as [`join`](Self::join) for the run of a parent, which waits meanwhile.
    ///
    /// # Errors
    /// The path from the parent back to itself, when the child already waits for the parent.
    pub(crate) fn join_from<W>(
        &self,
        frame: CallFrame,
        id: EntryId,
        work: impl FnOnce() -> W,
    ) -> std::result::Result<JoinedRun, Vec<EntryId>>
    where
        W: Future<Output = Result<Attempt>> + Send + 'static,
    {
        let waiting = {
            let mut board = lock(&self.board);
            let next =
                |from: &EntryId| board.waits.get(from).into_iter().flatten().map(|awaited| awaited.child).collect();
            if let Some(mut path) = path(id, frame.parent, next) {
                path.insert(0, frame.parent);
                return Err(path);
            }
            let awaited = Awaited { child: id, token: frame.token };
            board.waits.entry(frame.parent).or_default().push(awaited);
            Waiting { board: Arc::clone(&self.board), parent: frame.parent, awaited }
        };
        Ok(JoinedRun { _waiting: Some(waiting), ..self.join(id, work) })
    }

    /// Every wait that leads to a computation, the nearest first.
    pub(crate) fn waits_for(&self, id: EntryId) -> Vec<LocalWait> {
        let board = lock(&self.board);
        let mut waiters: HashMap<EntryId, Vec<LocalWait>> = HashMap::new();
        for (&id, awaited) in &board.waits {
            for &Awaited { child, token } in awaited {
                waiters.entry(child).or_default().push(LocalWait { id, token, child });
            }
        }
        drop(board);
        let mut waits = Vec::new();
        let mut line = VecDeque::from([id]);
        while let Some(id) = line.pop_front() {
            // Removed, so that the walk passes each of them once.
            let waiting = waiters.remove(&id).unwrap_or_default();
            line.extend(waiting.iter().map(|wait| wait.id));
            waits.extend(waiting);
        }
        waits
    }
}

/// The shortest path from one entry to another.
pub(super) fn path(from: EntryId, to: EntryId, next: impl Fn(&EntryId) -> Vec<EntryId>) -> Option<Vec<EntryId>> {
    let mut seen = HashSet::new();
    let mut paths = VecDeque::from([vec![from]]);
    while let Some(path) = paths.pop_front() {
        let last = *path.last()?;
        if last == to {
            return Some(path);
        }
        if seen.insert(last) {
            paths.extend(next(&last).into_iter().map(|next| path.iter().copied().chain([next]).collect()));
        }
    }
    None
}

/// A parent that waits for a child, until this is dropped.
struct Waiting {
    board: Arc<Mutex<Board>>,
    parent: EntryId,
    awaited: Awaited,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut board = lock(&self.board);
        if let Entry::Occupied(mut waits) = board.waits.entry(self.parent) {
            // Removes one: a parent may wait for a child twice at the same time.
            if let Some(at) = waits.get().iter().position(|awaited| *awaited == self.awaited) {
                waits.get_mut().swap_remove(at);
            }
            if waits.get().is_empty() {
                waits.remove();
            }
        }
    }
}

impl JoinedRun {
    /// Waits for the result.
    pub(crate) async fn outcome(mut self) -> Result<Attempt> {
        match self.receiver.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().expect("it was just seen to be there"),
            Err(_) => Err(Error::new(ErrorKind::Cancelled, "the computation was dropped with its runtime")),
        }
    }
}

/// Removes a computation from the map, also when its task is dropped.
struct Departure {
    board: Arc<Mutex<Board>>,
    ended: watch::Sender<()>,
    id: EntryId,
}

impl Drop for Departure {
    fn drop(&mut self) {
        lock(&self.board).running.remove(&self.id);
        self.ended.send_replace(());
    }
}

/// Waits until the system ends and the computation has no reader.
async fn abandoned(ending: &mut watch::Receiver<bool>, sender: &watch::Sender<Outcome>) {
    // If the sender is gone, only the computation holds the system.
    drop(ending.wait_for(|ending| *ending).await);
    sender.closed().await;
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Insertions and removals only: the map is whole after a panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
