//! What vouches: epochs, positions, leases and leaders.

use std::{sync::Arc, time::Duration};

use smache_core::{
    Epoch, Error, ErrorKind, FeedId, FeedStep, Incarnation, Leadership, Position, Result, SourceId, SourceVouch,
    Timestamp, Token,
};

use super::state::Cache;

/// Who leads a feed.
pub(crate) struct Leader {
    holder: Token,
    fence: u64,
    until: Timestamp,
}

impl Cache {
    pub(crate) fn new_epoch(&mut self) -> Epoch {
        let epoch = Epoch::random();
        Arc::make_mut(&mut self.vouch).epoch = epoch;
        self.start_sweep();
        epoch
    }

    pub(crate) fn attach(&mut self, sources: &[SourceId], incarnation: &Incarnation) {
        for source in sources {
            let known = self.vouch.sources.get(source);
            let here = |vouch: &SourceVouch| vouch.lease.is_none() && vouch.armed.as_ref() == Some(incarnation);
            if known.is_some_and(here) {
                continue;
            }
            let vouch = SourceVouch::application(Epoch::random(), Some(incarnation.clone()));
            Arc::make_mut(&mut self.vouch).sources.insert(source.clone(), vouch);
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
            let vouch = SourceVouch::unarmed(Epoch::random());
            Arc::make_mut(&mut self.vouch).sources.insert(source.clone(), vouch);
            self.positions.insert(source, position);
        }
        self.start_sweep();
        Ok(())
    }

    pub(super) fn check_step(&self, step: &FeedStep, incarnation: &Incarnation) -> Result<()> {
        if self.leaders.get(&step.feed).is_none_or(|leader| leader.fence != step.fence) {
            let message = "a newer leader of the feed exists: this one stops";
            return Err(Error::new(ErrorKind::Fenced, message).with_context("feed", &step.feed));
        }
        if step.incarnation != *incarnation {
            let message =
                "the store is another incarnation than the leader of the feed knows: start again from its positions";
            return Err(Error::new(ErrorKind::IncarnationChanged, message).with_context("feed", &step.feed));
        }
        Ok(())
    }

    /// Saves the progress of a leader; the step was checked.
    pub(super) fn save_step(&mut self, step: &FeedStep, incarnation: &Incarnation, now: Timestamp) {
        self.renew(step, now);
        for (source, position) in &step.positions {
            if self.positions.get(source).is_some_and(|saved| !position.follows(saved)) {
                continue;
            }
            self.positions.insert(source.clone(), position.clone());
            let vouch = Arc::make_mut(&mut self.vouch);
            let vouch = vouch.sources.entry(source.clone()).or_insert_with(|| SourceVouch::unarmed(Epoch::random()));
            if let (Some(lease), Some(until)) = (&mut vouch.lease, step.valid_until(now)) {
                *lease = until;
            }
            if step.arm {
                vouch.armed = Some(incarnation.clone());
            }
        }
    }

    fn renew(&mut self, step: &FeedStep, now: Timestamp) {
        if let Some(leader) = self.leaders.get_mut(&step.feed) {
            leader.until = now.after(step.leadership);
        }
    }
}
