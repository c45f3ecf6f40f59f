//! **F**: the leader of a feed saves its progress, in the last step of the invalidation that it belongs to.

use super::{mutant::off, parts::Leader};
use crate::{Epoch, FeedStep, Incarnation, Position, Result, SourceId, SourceValidity, Timestamp, Validity};

/// What a step of a feed reads.
#[derive(Debug, Clone, Copy)]
pub struct FeedView<'a> {
    /// The store's time.
    pub now: Timestamp,
    /// The store's incarnation.
    pub incarnation: &'a Incarnation,
    /// The present leader of the feed.
    pub leader: Option<&'a Leader>,
    /// The validity of the sources.
    pub validity: &'a Validity,
}

/// The writes of a step of a feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedWrites {
    /// The leader, with a renewed lease.
    pub leader: Leader,
    /// The sources whose position was taken: the position, and the validity.
    pub sources: Vec<(SourceId, Position, SourceValidity)>,
}

impl FeedView<'_> {
    /// The leader that the step is of, with a renewed lease.
    pub(super) fn renewed(&self, step: &FeedStep) -> Result<Leader> {
        step.check(self.leader.map(|leader| leader.fence), self.incarnation)?;
        let leader = self.leader.ok_or_else(|| step.fenced())?;
        Ok(Leader { until: self.now.after(step.leadership), ..leader.clone() })
    }
}

/// Saves the progress of a leader, where `saved` is the position of a source that is saved. A source that the store does not know yet gets a new epoch.
///
/// A position that does not follow the saved one, be it of another history or an earlier one, is not taken, and its
/// source is not confirmed: a replay of the same changes does no harm, and confirms nothing.
///
/// # Errors
/// [`FeedStep::fenced`] and [`FeedStep::of_other_incarnation`]; a step that fails so writes nothing at all, marks of
/// dependants included.
pub fn save<'a>(
    view: &FeedView<'_>,
    step: &FeedStep,
    saved: impl Fn(&SourceId) -> Option<&'a Position>,
    mut new_epoch: impl FnMut() -> Epoch,
) -> Result<FeedWrites> {
    let leader = view.renewed(step)?;
    let mut sources = Vec::with_capacity(step.positions.len());
    for (source, position) in &step.positions {
        let taken = saved(source).is_none_or(|saved| position.follows(saved));
        if off!(UntakenPositionConfirms, !taken) {
            continue;
        }
        let known = view.validity.sources.get(source).cloned();
        let mut validity = known.unwrap_or_else(|| SourceValidity::behind(new_epoch()));
        validity.advance(step, view.incarnation, view.now);
        sources.push((source.clone(), position.clone(), validity));
    }
    Ok(FeedWrites { leader, sources })
}

impl SourceValidity {
    /// Takes a step of the leader whose position was saved. `now` is from the beginning of the step.
    ///
    /// The newest step overwrites until when the source is valid, be it sooner: a clock that was set back must not leave
    /// a validity in the future.
    pub fn advance(&mut self, step: &FeedStep, incarnation: &Incarnation, now: Timestamp) {
        if step.caught_up {
            self.caught_up_on = Some(incarnation.clone());
        }
        // A source without an end is reported by the application, and stays so.
        if let (Some(valid_until), Some(until)) = (&mut self.valid_until, step.valid_until(now)) {
            *valid_until = off!(LaterValidityWins, until, until.max(*valid_until));
        }
    }
}

impl FeedStep {
    /// Refuses the step of an older leader, and one that is for another incarnation. `fence` is that of the present
    /// leader of the feed, if there is one.
    ///
    /// # Errors
    /// [`fenced`](Self::fenced) and [`of_other_incarnation`](Self::of_other_incarnation).
    pub fn check(&self, fence: Option<u64>, incarnation: &Incarnation) -> Result<()> {
        if off!(FenceIgnored, fence != Some(self.fence)) {
            return Err(self.fenced());
        }
        self.check_incarnation(incarnation)
    }

    /// The second part of [`check`](Self::check).
    ///
    /// # Errors
    /// [`of_other_incarnation`](Self::of_other_incarnation).
    pub fn check_incarnation(&self, incarnation: &Incarnation) -> Result<()> {
        let other = off!(StepOnAnyIncarnation, self.incarnation != *incarnation);
        if other { Err(self.of_other_incarnation()) } else { Ok(()) }
    }

    /// Until when the feed confirms by this step, if it does, by the store's clock: a deadline bounds it, since the step
    /// may have been on its way for long.
    #[must_use]
    pub fn valid_until(&self, now: Timestamp) -> Option<Timestamp> {
        let until = now.after(self.valid_for?);
        let deadline = off!(DeadlineIgnored, self.deadline, None);
        Some(deadline.map_or(until, |deadline| deadline.min(until)))
    }
}

impl Position {
    /// Whether a store takes this position where it has saved another one: it is no earlier place of the same history.
    #[must_use]
    pub fn follows(&self, saved: &Self) -> bool {
        off!(HistoryIgnored, self.history() == saved.history(), true)
            && off!(HistoryIgnored, self.order >= saved.order, self.place() >= saved.place())
    }
}
