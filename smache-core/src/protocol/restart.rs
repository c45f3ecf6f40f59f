//! **R**: a source begins a new history: at its first start, or because the one that it was in is lost.

use super::{
    feed::{FeedView, FeedWrites},
    invalidate::revise,
    mutant::off,
};
use crate::{Epoch, FeedStep, Result, SourceValidity};

/// Restarts the sources of a step, whose positions the leader took *before*; a sweep starts.
///
/// Each source falls behind and gets a new epoch in one step: nothing of the old epoch is fresh, and nothing of the new
/// one before the feed has caught up. The revision grows, so that a token of `caught_up` from now on stands for more than
/// the values of the lost history: their changes were never invalidations.
///
/// # Errors
/// [`FeedStep::fenced`] and [`FeedStep::of_other_incarnation`]; then nothing is written.
pub fn restart(
    view: &FeedView<'_>,
    step: &FeedStep,
    revision: u64,
    mut new_epoch: impl FnMut() -> Epoch,
) -> Result<FeedWrites> {
    let leader = view.renewed(step)?;
    let mut sources = Vec::with_capacity(step.positions.len());
    for (source, position) in &step.positions {
        let known = view.validity.sources.get(source);
        let kept = known.map(|known| known.epoch);
        let epoch = off!(RestartKeepsEpoch, new_epoch(), kept.unwrap_or_else(&mut new_epoch));
        let behind = SourceValidity::behind(epoch);
        let confirmed = known.map_or_else(|| behind.clone(), |known| SourceValidity { epoch, ..known.clone() });
        let validity = off!(RestartStaysConfirmed, behind, confirmed);
        sources.push((source.clone(), position.clone(), validity));
    }
    Ok(FeedWrites { leader, sources, revision: Some(revise(revision)) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{
        parts::Leader,
        testing::{at, epoch, here, source, step, token, validity},
    };

    #[test]
    fn a_restarted_source_is_behind_in_a_new_epoch_at_any_position() {
        let mut known = validity();
        known.sources.insert(source("users"), SourceValidity::feed(epoch(2), Some(here()), at(500)));
        let (incarnation, leader) = (here(), Leader { holder: token(1), fence: 4, until: at(60) });
        let view = FeedView { now: at(50), incarnation: &incarnation, leader: Some(&leader), validity: &known };
        let writes = restart(&view, &step("another history", 0), 7, || epoch(9)).expect("the leader's");
        assert_eq!((writes.leader.until, writes.revision), (at(100), Some(8)));
        let (_, position, validity) = &writes.sources[0];
        assert_eq!(
            (position, validity),
            (&step("another history", 0).positions[0].1, &SourceValidity::behind(epoch(9)))
        );
        assert!(restart(&view, &FeedStep { fence: 3, ..step("one", 0) }, 7, || epoch(9)).is_err());
    }
}
