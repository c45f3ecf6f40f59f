//! Epochs, attached sources, leaders and positions.

use std::time::Duration;

use smache_core::{
    ATTACHED_VALID_FOR, Epoch, FeedId, FeedStep, Leadership, Position, Positions, Result, SourceId, Token,
    protocol::{self, FeedView, FeedWrites, Leading},
};

use super::{Moment, Partition};

impl Partition {
    /// **M**: everything is of an old epoch.
    pub fn new_epoch(&mut self, epoch: Epoch) {
        self.validity.epoch = epoch;
        self.sweep = Some(None);
    }

    /// **T**: attaches sources that only the application reports.
    pub fn attach(&mut self, at: Moment<'_>, sources: &[SourceId], new_epoch: impl FnMut() -> Epoch) {
        let attached = protocol::attach(&self.validity, sources, at.incarnation, new_epoch);
        if !attached.is_empty() {
            self.validity.sources.extend(attached);
            self.sweep = Some(None);
        }
        self.keep_attached(at, ATTACHED_VALID_FOR);
    }

    /// **T**: confirms all attached sources for so long.
    pub fn keep_attached(&mut self, at: Moment<'_>, valid_for: Duration) {
        self.validity.attached_until = Some(at.now.after(valid_for));
    }

    /// **L**: takes or keeps the leadership of a feed.
    pub fn lead(&mut self, at: Moment<'_>, feed: &FeedId, holder: Token, lease: Duration) -> Leadership {
        let leading = protocol::lead(self.leaders.get(feed), holder, lease, at.now);
        let leadership = leading.leadership();
        if let Leading::Leads(leader) = leading {
            self.leaders.insert(feed.clone(), leader);
        }
        leadership
    }

    /// **L**: gives the leadership up.
    pub fn resign(&mut self, at: Moment<'_>, feed: &FeedId, fence: u64) {
        if let Some(leader) = protocol::resign(self.leaders.get(feed), fence, at.now) {
            self.leaders.insert(feed.clone(), leader);
        }
    }

    /// The saved positions of sources.
    #[must_use]
    pub fn positions(&self, at: Moment<'_>, sources: &[SourceId]) -> Positions {
        let positions = sources.iter().map(|source| self.positions.get(source).cloned()).collect();
        Positions { positions, incarnation: at.incarnation.clone() }
    }

    /// **R**: begins a new history of sources.
    ///
    /// # Errors
    /// For a step that is fenced or of another incarnation: then nothing happens.
    pub fn restart(&mut self, at: Moment<'_>, step: &FeedStep, new_epoch: impl FnMut() -> Epoch) -> Result<()> {
        let writes = protocol::restart(&self.feed_view(at, step), step, self.revision, new_epoch)?;
        self.write_progress(step, writes);
        self.sweep = Some(None);
        Ok(())
    }

    /// **F**: the writes of a leader's progress.
    pub(super) fn progress(
        &self,
        at: Moment<'_>,
        step: &FeedStep,
        new_epoch: impl FnMut() -> Epoch,
    ) -> Result<FeedWrites> {
        let saved = |source: &SourceId| -> Option<&Position> { self.positions.get(source) };
        protocol::save(&self.feed_view(at, step), step, saved, new_epoch)
    }

    fn feed_view<'a>(&'a self, at: Moment<'a>, step: &FeedStep) -> FeedView<'a> {
        let leader = self.leaders.get(&step.feed);
        FeedView { now: at.now, incarnation: at.incarnation, leader, validity: &self.validity }
    }

    pub(super) fn write_progress(&mut self, step: &FeedStep, writes: FeedWrites) {
        self.revision = writes.revision.unwrap_or(self.revision);
        self.leaders.insert(step.feed.clone(), writes.leader);
        for (source, position, validity) in writes.sources {
            self.validity.sources.insert(source.clone(), validity);
            self.positions.insert(source, position);
        }
    }
}
