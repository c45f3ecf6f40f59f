//! The ends of jobs.

use smache_core::{
    EntryId, JobEnd, Settled, Settlement, Timestamp,
    support::{clip, limits::ERROR_BYTES},
};

use super::jobs::{Again, Jobs, State};

impl Jobs {
    pub(crate) fn settle(&mut self, settlement: &Settlement, now: Timestamp) -> Settled {
        let Settlement { id, token, end } = settlement;
        let again = match self.all.get(id).map(|kept| &kept.state) {
            Some(State::Running { token: held, again, .. }) if held == token => *again,
            _ => return Settled::Lost,
        };
        let mut kept = self.take(id).expect("it was found above, under the same lock");
        let own_due = match end {
            JobEnd::Done => {
                if again.is_none() {
                    return Settled::Settled;
                }
                (kept.errors, kept.crashes, kept.error) = (0, 0, None);
                None
            }
            JobEnd::Release { delay } => Some(now.after(*delay)),
            JobEnd::Retry { delay, error } => {
                kept.errors = kept.errors.saturating_add(1);
                kept.error = Some(clip(error, ERROR_BYTES).to_owned());
                Some(now.after(*delay))
            }
            JobEnd::DeadLetter { error } => {
                if again.is_none() {
                    kept.error = Some(clip(error, ERROR_BYTES).to_owned());
                    kept.state = State::DeadLetter { at: now };
                    self.insert(*id, kept);
                    return Settled::Settled;
                }
                // As a change of a dead letter: it starts again.
                (kept.errors, kept.crashes, kept.error) = (0, 0, None);
                None
            }
        };
        let due = match (again, own_due) {
            (Some(again), None) => again.due,
            (None, Some(own)) => own,
            // A failed job backs off although its data changed; a released one need not wait.
            (Some(again), Some(own)) if matches!(end, JobEnd::Retry { .. }) => again.due.max(own),
            (Some(again), Some(own)) => again.due.min(own),
            (None, None) => return Settled::Settled,
        };
        if let Some(Again { lane, priority, .. }) = again {
            kept.lane = if own_due.is_some() { kept.lane.min(lane) } else { lane };
            kept.priority = priority.min(kept.priority);
        }
        kept.state = State::Queued { due, place: 0 };
        self.insert(*id, kept);
        if again.is_some() { Settled::Again } else { Settled::Settled }
    }

    pub(crate) fn requeue(&mut self, id: &EntryId, now: Timestamp) -> bool {
        if !matches!(self.all.get(id).map(|kept| &kept.state), Some(State::DeadLetter { .. })) {
            return false;
        }
        let mut kept = self.take(id).expect("it was found above, under the same lock");
        (kept.errors, kept.crashes, kept.error) = (0, 0, None);
        kept.state = State::Queued { due: now, place: 0 };
        self.insert(*id, kept);
        true
    }

    pub(crate) fn discard(&mut self, id: &EntryId) -> bool {
        let running = matches!(self.all.get(id).map(|kept| &kept.state), Some(State::Running { .. }));
        !running && self.take(id).is_some()
    }

    /// The entry is fresh or gone: a queued job and a dead letter go, a running job does not run again.
    pub(crate) fn take_back(&mut self, id: &EntryId) {
        match self.all.get_mut(id).map(|kept| &mut kept.state) {
            Some(State::Running { again, .. }) => *again = None,
            Some(_) => {
                self.take(id);
            }
            None => {}
        }
    }
}
