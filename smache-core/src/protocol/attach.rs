//! **T**: a process attaches the sources that only the application reports.

use super::mutant::off;
use crate::{Epoch, Incarnation, SourceId, SourceValidity, Validity};

/// The validities to write; if there are any, a sweep starts. Every source is looked at.
///
/// On another incarnation a source starts a new epoch: reports that were acknowledged there may be lost, and no feed
/// replays them.
pub fn attach(
    validity: &Validity,
    sources: &[SourceId],
    incarnation: &Incarnation,
    mut new_epoch: impl FnMut() -> Epoch,
) -> Vec<(SourceId, SourceValidity)> {
    let mut attached: Vec<(SourceId, SourceValidity)> = Vec::new();
    for source in sources {
        let known = validity.sources.get(source);
        let seen = attached.iter().any(|(attached, _)| attached == source);
        if seen || known.is_some_and(|known| known.is_attached_on(incarnation)) {
            continue;
        }
        let kept = known.filter(|known| known.valid_until.is_none()).map(|known| known.epoch);
        let epoch = off!(AttachKeepsEpoch, new_epoch(), kept.unwrap_or_else(&mut new_epoch));
        attached.push((source.clone(), SourceValidity::application(epoch, Some(incarnation.clone()))));
    }
    attached
}

impl SourceValidity {
    /// Whether the application reports the source, and it is attached on that incarnation: [`attach`] keeps its epoch.
    #[must_use]
    pub fn is_attached_on(&self, incarnation: &Incarnation) -> bool {
        self.valid_until.is_none() && self.caught_up_on.as_ref() == Some(incarnation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Timestamp,
        protocol::testing::{epoch, here, source, validity},
    };

    #[test]
    fn a_source_that_another_incarnation_confirmed_starts_an_epoch() {
        let mut known = validity();
        let elsewhere = Some(Incarnation::new("elsewhere"));
        known.sources.insert(source("a"), SourceValidity::application(epoch(2), Some(here())));
        known.sources.insert(source("b"), SourceValidity::application(epoch(3), elsewhere));
        known.sources.insert(source("c"), SourceValidity::feed(epoch(4), Some(here()), Timestamp::from_millis(5)));
        let all = ["a", "b", "c", "d", "d"].map(source);
        let mut next = 10;
        let attached = attach(&known, &all, &here(), || {
            next += 1;
            epoch(next)
        });
        let new = |number| SourceValidity::application(epoch(number), Some(here()));
        assert_eq!(attached, [(source("b"), new(11)), (source("c"), new(12)), (source("d"), new(13))]);
    }
}
