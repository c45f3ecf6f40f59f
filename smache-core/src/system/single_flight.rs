//! Single flight: one computation of an entry at a time in this process, whatever the number of readers.
//!
//! The computation runs as a task of its own, so that a reader who goes away takes nothing from the others.

use std::{
    collections::{HashMap, HashSet, VecDeque, hash_map::Entry},
    future::Future,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

use super::{Attempt, CallFrame};
use crate::{EntryId, Error, ErrorKind, Result, Token};

type Outcome = Option<Result<Attempt>>;

/// The computations under way in this process.
#[derive(Debug, Default)]
pub(crate) struct SingleFlight {
    board: Arc<Mutex<Board>>,
    /// Changes whenever one ends.
    ended: watch::Sender<()>,
    /// Whether those end that nobody waits for.
    ending: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Board {
    /// Where each gives its result. Its receivers are those who wait, and only they.
    running: HashMap<EntryId, watch::Sender<Outcome>>,
    /// Which computation waits for which others, through nested calls: a cycle would wait for ever.
    waits: HashMap<EntryId, Vec<Awaited>>,
}

/// What a computation waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Awaited {
    child: EntryId,
    /// Of the run that waits, if the store knows of it.
    token: Option<Token>,
}

/// A computation of this process that waits for another one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LocalWait {
    pub(crate) id: EntryId,
    pub(crate) token: Option<Token>,
    pub(crate) child: EntryId,
}

/// A computation that one waits for.
pub(crate) struct JoinedRun {
    receiver: watch::Receiver<Outcome>,
    /// Whether it began because of this caller.
    pub(crate) mine: bool,
    /// Ends the wait of the parent, when it is one.
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
                // Here everything of the run is dropped, before it is off the map: a shutdown looks there.
            };
            // Off the map before the result is out: who comes after it starts anew instead of reading an old result.
            drop(departure);
            // Nobody listens any more: the result is in the store all the same. Without one, who came at the last moment
            // is told by the end of the sender.
            let _ = result.map(|result| sender.send(Some(result)));
        });
        JoinedRun { receiver, mine: true, _waiting: None }
    }

    /// Waits for the computations that nobody waits for: for so long they may finish, then they end, as does every one
    /// that its last reader leaves later. Those that somebody waits for are held by the handle of who waits.
    pub(crate) async fn shutdown(&self, grace: Duration) {
        let mut ended = self.ended.subscribe();
        // A sender is a part of this, so that the wait does not fail.
        let none_alone =
            async |ended: &mut watch::Receiver<()>| while self.is_any_alone() && ended.changed().await.is_ok() {};
        drop(tokio::time::timeout(grace, none_alone(&mut ended)).await);
        self.ending.send_replace(true);
        // Also in time: a reader may have gone just now.
        if tokio::time::timeout(grace, none_alone(&mut ended)).await.is_err() {
            tracing::warn!("a shutdown does not wait any longer: a computed function blocks its thread");
        }
    }

    fn is_any_alone(&self) -> bool {
        lock(&self.board).running.values().any(|sender| sender.receiver_count() == 0)
    }

    /// The same for the run of a parent, which waits meanwhile.
    ///
    /// # Errors
    /// The path from the parent back to itself, when the child waits for the parent already.
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
        let (mut waits, mut line) = (Vec::new(), VecDeque::from([id]));
        while let Some(id) = line.pop_front() {
            // Taken out, so that each is passed once.
            let waiting = waiters.remove(&id).unwrap_or_default();
            line.extend(waiting.iter().map(|wait| wait.id));
            waits.extend(waiting);
        }
        waits
    }
}

/// The shortest way from one entry to another.
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
            // Once: a parent may wait for a child twice at the same time.
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

/// Takes a computation off the map, also when its task is dropped.
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

/// Until nobody waits for a computation of a system that ends.
async fn abandoned(ending: &mut watch::Receiver<bool>, sender: &watch::Sender<Outcome>) {
    // A sender that is gone is a system that only the computation holds.
    drop(ending.wait_for(|ending| *ending).await);
    sender.closed().await;
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The map is only inserted into and removed from: a panic in between leaves it whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
