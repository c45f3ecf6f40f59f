//! **R**: a source begins a new history: at its first start, or because the one that it was in is lost.

use super::{
    feed::{FeedView, FeedWrites},
    mutant::off,
};
use crate::{Epoch, FeedStep, Result, SourceValidity};

/// Restarts the sources of a step, whose positions the leader took *before*; a sweep starts.
///
/// Each source falls behind and gets a new epoch in one step: nothing of the old epoch is fresh, and nothing of the new
/// one before the feed has caught up.
///
/// # Errors
/// [`FeedStep::fenced`] and [`FeedStep::of_other_incarnation`]; then nothing is written.
pub fn restart(view: &FeedView<'_>, step: &FeedStep, mut new_epoch: impl FnMut() -> Epoch) -> Result<FeedWrites> {
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
    Ok(FeedWrites { leader, sources })
}
