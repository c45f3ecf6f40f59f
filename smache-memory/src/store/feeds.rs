//! Epochs, positions and leaders: the state that confirms entries.

use std::{sync::Arc, time::Duration};

use smache_core::{
    Epoch, FeedId, FeedStep, Incarnation, Leadership, Position, Result, SourceId, Timestamp, Token,
    protocol::{self, FeedView, FeedWrites, Leading},
};

use super::state::Cache;

impl Cache {
    pub(crate) fn new_epoch(&mut self) -> Epoch {
        let epoch = Epoch::random();
        Arc::make_mut(&mut self.validity).epoch = epoch;
        self.start_sweep();
        epoch
    }

    pub(crate) fn attach(&mut self, sources: &[SourceId], incarnation: &Incarnation) {
        let attached = protocol::attach(&self.validity, sources, incarnation, Epoch::random);
        if !attached.is_empty() {
            Arc::make_mut(&mut self.validity).sources.extend(attached);
            self.start_sweep();
        }
    }

    pub(crate) fn lead(&mut self, feed: &FeedId, holder: Token, lease: Duration, now: Timestamp) -> Leadership {
        let leading = protocol::lead(self.leaders.get(feed), holder, lease, now);
        let leadership = leading.leadership();
        if let Leading::Leads(leader) = leading {
            self.leaders.insert(feed.clone(), leader);
        }
        leadership
    }

    pub(crate) fn resign(&mut self, feed: &FeedId, fence: u64, now: Timestamp) {
        if let Some(leader) = protocol::resign(self.leaders.get(feed), fence, now) {
            self.leaders.insert(feed.clone(), leader);
        }
    }

    pub(crate) fn position(&self, source: &SourceId) -> Option<Position> {
        self.positions.get(source).cloned()
    }

    pub(crate) fn restart(&mut self, step: &FeedStep, incarnation: &Incarnation, now: Timestamp) -> Result<()> {
        let writes = protocol::restart(&self.view(step, incarnation, now), step, self.revision, Epoch::random)?;
        self.write_step(step, writes);
        self.start_sweep();
        Ok(())
    }

    /// The writes of a leader's progress.
    pub(super) fn progress(&self, step: &FeedStep, incarnation: &Incarnation, now: Timestamp) -> Result<FeedWrites> {
        let saved = |source: &SourceId| self.positions.get(source);
        protocol::save(&self.view(step, incarnation, now), step, saved, Epoch::random)
    }

    fn view<'a>(&'a self, step: &FeedStep, incarnation: &'a Incarnation, now: Timestamp) -> FeedView<'a> {
        FeedView { now, incarnation, leader: self.leaders.get(&step.feed), validity: &self.validity }
    }

    pub(super) fn write_step(&mut self, step: &FeedStep, writes: FeedWrites) {
        self.revision = writes.revision.unwrap_or(self.revision);
        self.leaders.insert(step.feed.clone(), writes.leader);
        for (source, position, validity) in writes.sources {
            Arc::make_mut(&mut self.validity).sources.insert(source.clone(), validity);
            self.positions.insert(source, position);
        }
    }
}
