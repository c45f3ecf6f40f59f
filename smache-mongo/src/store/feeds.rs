//! Epochs, leaders and positions, in the one document of the namespace.

use std::time::Duration;

use mongodb::bson::doc;
use smache_core::{
    ATTACHED_VALID_FOR, Epoch, FeedId, FeedStep, Leadership, Positions, Result, SourceId, Token,
    protocol::{self, Leading},
};

use super::Inner;
use crate::expression::after;
use crate::namespace::{Change, NamespaceDoc, Sweep, change, read};

impl Inner {
    pub(super) async fn start_epoch(&self) -> Result<Epoch> {
        let epoch = Epoch::random();
        let write = |namespace: &mut NamespaceDoc| {
            namespace.epoch = epoch;
            namespace.sweep = Sweep::start();
            Ok(Change::Write { ticks: false, answer: epoch })
        };
        change(&self.link, &self.keys, "new_epoch", write).await.map(|(epoch, _)| epoch)
    }

    pub(super) async fn attach_sources(&self, sources: &[SourceId]) -> Result<()> {
        let attach = |namespace: &mut NamespaceDoc| {
            let attached = protocol::attach(&namespace.validity(), sources, &namespace.incarnation, Epoch::random);
            if attached.is_empty() {
                return Ok(Change::Keep(()));
            }
            namespace.sources.extend(attached);
            namespace.sweep = Sweep::start();
            Ok(Change::Write { ticks: false, answer: () })
        };
        change(&self.link, &self.keys, "attach", attach).await?;
        self.keep_sources_attached(ATTACHED_VALID_FOR).await
    }

    /// By a separate update, so that it waits for no feed, and no feed for it.
    pub(super) async fn keep_sources_attached(&self, valid_for: Duration) -> Result<()> {
        let until = after(valid_for);
        let kept = self
            .link
            .state
            .update_one(doc! { "_id": self.keys.namespace() }, vec![doc! { "$set": { "attached": until } }]);
        self.link.run("keep_attached", async { kept.await }).await.map(drop)
    }

    pub(super) async fn lead_feed(&self, feed: &FeedId, holder: Token, lease: Duration) -> Result<Leadership> {
        let lead = |namespace: &mut NamespaceDoc| {
            let leading = protocol::lead(namespace.leaders.get(feed.as_str()), holder, lease, namespace.now);
            let answer = leading.leadership();
            let Leading::Leads(leader) = leading else { return Ok(Change::Keep(answer)) };
            namespace.leaders.insert(feed.as_str().to_owned(), leader);
            Ok(Change::Write { ticks: false, answer })
        };
        change(&self.link, &self.keys, "lead", lead).await.map(|(leadership, _)| leadership)
    }

    pub(super) async fn resign_feed(&self, feed: &FeedId, fence: u64) -> Result<()> {
        let resign = |namespace: &mut NamespaceDoc| {
            let resigned = protocol::resign(namespace.leaders.get(feed.as_str()), fence, namespace.now);
            let Some(leader) = resigned else { return Ok(Change::Keep(())) };
            namespace.leaders.insert(feed.as_str().to_owned(), leader);
            Ok(Change::Write { ticks: false, answer: () })
        };
        change(&self.link, &self.keys, "resign", resign).await.map(drop)
    }

    pub(super) async fn saved_positions(&self, sources: &[SourceId]) -> Result<Positions> {
        let namespace = read(&self.link, &self.keys, "positions", Vec::new()).await?.namespace;
        let positions = sources.iter().map(|source| namespace.positions.get(source).cloned()).collect();
        Ok(Positions { positions, incarnation: namespace.incarnation })
    }

    pub(super) async fn restart_sources(&self, step: &FeedStep) -> Result<()> {
        let restart = |namespace: &mut NamespaceDoc| {
            let validity = namespace.validity();
            let writes = protocol::restart(&namespace.view(step, &validity), step, namespace.revision, Epoch::random)?;
            // An operator raises the revision, since invalidations do so beside this.
            let ticks = writes.revision.is_some();
            namespace.write_step(step, writes);
            namespace.sweep = Sweep::start();
            Ok(Change::Write { ticks, answer: () })
        };
        change(&self.link, &self.keys, "restart", restart).await.map(drop)
    }
}
