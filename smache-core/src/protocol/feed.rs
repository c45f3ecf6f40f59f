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
    /// The new revision, if the step raises it.
    pub revision: Option<u64>,
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
    Ok(FeedWrites { leader, sources, revision: None })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ErrorKind,
        protocol::testing::{at, epoch, here, ms, source, step, token, validity},
    };

    fn leader() -> Leader {
        Leader { holder: token(1), fence: 4, until: at(60) }
    }

    fn saved(before: Option<&Position>, known: &Validity, asked: &FeedStep) -> Result<FeedWrites> {
        let (incarnation, leader) = (here(), leader());
        let view = FeedView { now: at(50), incarnation: &incarnation, leader: Some(&leader), validity: known };
        save(&view, asked, |_| before, || epoch(9))
    }

    #[test]
    fn a_step_of_an_older_leader_and_of_another_incarnation_is_refused() {
        let kind = |asked: &FeedStep| saved(None, &validity(), asked).expect_err("refused").kind();
        assert_eq!(kind(&FeedStep { fence: 3, ..step("one", 1) }), ErrorKind::Fenced);
        let elsewhere = FeedStep { incarnation: Incarnation::new("elsewhere"), ..step("one", 1) };
        assert_eq!(kind(&elsewhere), ErrorKind::IncarnationChanged);
        let incarnation = here();
        let view = FeedView { now: at(50), incarnation: &incarnation, leader: None, validity: &validity() };
        assert_eq!(save(&view, &step("one", 1), |_| None, || epoch(9)).expect_err("none").kind(), ErrorKind::Fenced);
    }

    #[test]
    fn a_position_that_is_not_taken_confirms_nothing() {
        let before = Position::new("one", [5], "token");
        for (history, place, taken) in [("one", 5, true), ("one", 6, true), ("one", 4, false), ("two", 6, false)] {
            let writes = saved(Some(&before), &validity(), &step(history, place)).expect("the leader's");
            assert_eq!(writes.sources.len(), usize::from(taken), "{history} {place}");
            assert_eq!(writes.leader.until, at(100), "the leadership is renewed in any case");
        }
    }

    #[test]
    fn the_newest_step_says_until_when_a_source_is_valid_at_most_until_its_deadline() {
        let mut known = validity();
        let until = |known: &Validity, asked: &FeedStep| {
            let writes = saved(None, known, asked).expect("the leader's");
            let (_, _, validity) = writes.sources.into_iter().next().expect("taken");
            (validity.valid_until, validity.caught_up_on.is_some())
        };
        assert_eq!(until(&known, &step("one", 1)), (Some(at(70)), true));
        let late = FeedStep { deadline: Some(at(55)), ..step("one", 1) };
        assert_eq!(until(&known, &late), (Some(at(55)), true));
        known.sources.insert(source("users"), SourceValidity::feed(epoch(2), None, at(500)));
        let behind = FeedStep { caught_up: false, ..step("one", 1) };
        assert_eq!(until(&known, &behind), (Some(at(70)), false), "sooner than before");
        let silent = FeedStep { valid_for: None, ..step("one", 1) };
        assert_eq!(until(&known, &silent), (Some(at(500)), true));
    }

    #[test]
    fn a_source_that_the_application_reports_gets_no_end_from_a_feed() {
        let mut known = validity();
        known.sources.insert(source("users"), SourceValidity::application(epoch(2), None));
        let writes = saved(None, &known, &step("one", 1)).expect("the leader's");
        assert_eq!(writes.sources[0].2.valid_until, None);
        assert_eq!(writes.sources[0].2.epoch, epoch(2));
        assert_eq!(step("one", 1).valid_until(at(50)), Some(at(50).after(ms(20))));
    }
}
