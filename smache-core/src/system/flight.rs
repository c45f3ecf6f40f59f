//! Single flight: one computation of an entry at a time in this process, whatever the number of readers.
//!
//! The computation runs as a task of its own, so that a reader who goes away takes nothing from the others.

use std::{
    collections::{HashMap, hash_map::Entry},
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use super::Attempt;
use crate::{EntryId, Error, ErrorKind, Result};

type Landed = Option<Result<Attempt>>;

/// The computations under way in this process.
#[derive(Debug, Default)]
pub(crate) struct Flights(Arc<Mutex<HashMap<EntryId, watch::Receiver<Landed>>>>);

/// A computation that one waits for.
pub(crate) struct Flight {
    receiver: watch::Receiver<Landed>,
    /// Whether it began because of this caller.
    pub(crate) mine: bool,
}

impl Flights {
    /// Joins the computation of an entry, or starts it.
    pub(crate) fn join<W>(&self, id: EntryId, work: impl FnOnce() -> W) -> Flight
    where
        W: Future<Output = Result<Attempt>> + Send + 'static,
    {
        let mut flights = lock(&self.0);
        let slot = match flights.entry(id) {
            Entry::Occupied(slot) => return Flight { receiver: slot.get().clone(), mine: false },
            Entry::Vacant(slot) => slot,
        };
        let (sender, receiver) = watch::channel(None);
        slot.insert(receiver.clone());
        drop(flights);
        let landing = Landing { flights: Arc::clone(&self.0), id };
        let work = work();
        tokio::spawn(async move {
            let result = work.await;
            // Off the map before the result is out: who comes after it starts anew instead of reading an old result.
            drop(landing);
            // Nobody listens any more: the result is in the store all the same.
            let _ = sender.send(Some(result));
        });
        Flight { receiver, mine: true }
    }
}

impl Flight {
    /// Waits for the result.
    pub(crate) async fn land(mut self) -> Result<Attempt> {
        match self.receiver.wait_for(Option::is_some).await {
            Ok(landed) => landed.clone().expect("it was just seen to be there"),
            Err(_) => Err(Error::new(ErrorKind::Cancelled, "the computation was dropped with its runtime")),
        }
    }
}

/// Takes a flight off the map, also when its task is dropped.
struct Landing {
    flights: Arc<Mutex<HashMap<EntryId, watch::Receiver<Landed>>>>,
    id: EntryId,
}

impl Drop for Landing {
    fn drop(&mut self) {
        lock(&self.flights).remove(&self.id);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The map is only inserted into and removed from: a panic in between leaves it whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
