//! Epochs, positions and leaders: the state that confirms entries.

use std::{sync::Arc, time::Duration};

use smache_core::{
    Epoch, FeedId, FeedStep, Incarnation, Leadership, Position, Result, SourceId, SourceValidity, Timestamp, Token,
};

use super::state::Cache;

/// The leader of a feed.
pub(crate) struct Leader {
    holder: Token,
    fence: u64,
    until: Timestamp,
}

impl Cache {
    pub(crate) fn new_epoch(&mut self) -> Epoch {
        let epoch = Epoch::random();
        Arc::make_mut(&mut self.validity).epoch = epoch;
        self.start_sweep();
        epoch
    }

    pub(crate) fn attach(&mut self, sources: &[SourceId], incarnation: &Incarnation) {
        for source in sources {
            let known = self.validity.sources.get(source);
            if known.is_some_and(|known| known.is_attached_on(incarnation)) {
                continue;
            }
            let validity = SourceValidity::application(Epoch::random(), Some(incarnation.clone()));
            Arc::make_mut(&mut self.validity).sources.insert(source.clone(), validity);
            self.start_sweep();
        }
    }

    pub(crate) fn lead(&mut self, feed: &FeedId, holder: Token, lease: Duration, now: Timestamp) -> Leadership {
        let until = now.after(lease);
        match self.leaders.get_mut(feed) {
            None => {
                self.leaders.insert(feed.clone(), Leader { holder, fence: 1, until });
                Leadership::Leader { fence: 1 }
            }
            Some(leader) if leader.holder != holder && leader.until > now => {
                Leadership::Follower { retry_after: leader.until.since(now) }
            }
            Some(leader) => {
                let fence = if leader.holder == holder { leader.fence } else { leader.fence + 1 };
                *leader = Leader { holder, fence, until };
                Leadership::Leader { fence }
            }
        }
    }

    pub(crate) fn resign(&mut self, feed: &FeedId, fence: u64, now: Timestamp) {
        if let Some(leader) = self.leaders.get_mut(feed).filter(|leader| leader.fence == fence) {
            leader.until = leader.until.min(now);
        }
    }

    pub(crate) fn position(&self, source: &SourceId) -> Option<Position> {
        self.positions.get(source).cloned()
    }

    pub(crate) fn restart(&mut self, step: FeedStep, incarnation: &Incarnation, now: Timestamp) -> Result<()> {
        self.check_step(&step, incarnation)?;
        self.renew(&step, now);
        for (source, position) in step.positions {
            let validity = SourceValidity::behind(Epoch::random());
            Arc::make_mut(&mut self.validity).sources.insert(source.clone(), validity);
            self.positions.insert(source, position);
        }
        self.start_sweep();
        Ok(())
    }

    pub(super) fn check_step(&self, step: &FeedStep, incarnation: &Incarnation) -> Result<()> {
        step.check(self.leaders.get(&step.feed).map(|leader| leader.fence), incarnation)
    }

    /// Saves the progress of a leader, after the check of the step.
    pub(super) fn save_step(&mut self, step: &FeedStep, incarnation: &Incarnation, now: Timestamp) {
        self.renew(step, now);
        for (source, position) in &step.positions {
            if self.positions.get(source).is_some_and(|saved| !position.follows(saved)) {
                continue;
            }
            self.positions.insert(source.clone(), position.clone());
            let validity = Arc::make_mut(&mut self.validity);
            let behind = || SourceValidity::behind(Epoch::random());
            validity.sources.entry(source.clone()).or_insert_with(behind).advance(step, incarnation, now);
        }
    }

    fn renew(&mut self, step: &FeedStep, now: Timestamp) {
        if let Some(leader) = self.leaders.get_mut(&step.feed) {
            leader.until = now.after(step.leadership);
        }
    }
}
