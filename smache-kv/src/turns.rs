//! The order of steps that conflict, within this process.
//!
//! An optimistic store lets one of the conflicting transactions through and refuses the others. Many writers that try
//! again at once then refuse each other most of the time, and the slowest of them always. So the steps of this process
//! that conflict wait for each other, in the order in which they came, and conflict with other processes only.

use tokio::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// After how many conflicts no other step of this process runs beside a step.
const PRECEDENCE: u32 = 3;

/// The turns of the steps of an area in this process.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    /// The one step among those that conflict which runs now. It is fair: first come, first served.
    queue: Mutex<()>,
    /// Every attempt of a step that writes shares it, except one that has precedence. A waiting writer of a fair lock
    /// lets no later reader in, so precedence comes as soon as the attempts under way have ended.
    gate: RwLock<()>,
}

/// A step's place among the others.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    turns: &'a Turns,
    queued: Option<MutexGuard<'a, ()>>,
}

/// Held during one attempt.
#[derive(Debug)]
#[expect(dead_code, reason = "guards are only dropped")]
pub(crate) enum Attempt<'a> {
    Shared(RwLockReadGuard<'a, ()>),
    Alone(RwLockWriteGuard<'a, ()>),
}

impl Turns {
    /// The turn of a step that conflicts only by chance: it waits for none until it has met another one.
    pub(crate) fn free(&self) -> Turn<'_> {
        Turn { turns: self, queued: None }
    }

    /// The turn of a step that conflicts with every other one of its kind.
    pub(crate) async fn queued(&self) -> Turn<'_> {
        Turn { turns: self, queued: Some(self.queue.lock().await) }
    }
}

impl<'a> Turn<'a> {
    /// Lets the step make its attempt after that many conflicts.
    pub(crate) async fn attempt(&self, conflicts: u32) -> Attempt<'a> {
        // Only the holder of the queue gets here with conflicts, so that two never wait for each other.
        match conflicts >= PRECEDENCE {
            true => Attempt::Alone(self.turns.gate.write().await),
            false => Attempt::Shared(self.turns.gate.read().await),
        }
    }

    /// The step has met another one: it queues up. Returns whether it had before.
    pub(crate) async fn queue_up(&mut self) -> bool {
        let before = self.queued.is_some();
        if !before {
            self.queued = Some(self.turns.queue.lock().await);
        }
        before
    }
}
