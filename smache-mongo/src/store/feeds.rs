//! Epochs, leaders and positions, in the one document of the namespace.

use std::time::Duration;

use mongodb::bson::doc;
use smache_core::{
    ATTACHED_VALID_FOR, Epoch, FeedId, FeedStep, Leadership, Positions, Result, SourceId, SourceValidity, Token,
};

use super::Inner;
use crate::expression::after;
use crate::namespace::{Change, Feed, NamespaceDoc, Sweep, change, read};

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
            let mut changed = false;
            for name in sources {
                let here = &namespace.incarnation;
                if !namespace.sources.get(name).is_some_and(|known| known.is_attached_on(here)) {
                    let validity = SourceValidity::application(Epoch::random(), Some(here.clone()));
                    namespace.sources.insert(name.clone(), validity);
                    namespace.sweep = Sweep::start();
                    changed = true;
                }
            }
            Ok(if changed { Change::Write { ticks: false, answer: () } } else { Change::Keep(()) })
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
            let now = namespace.now;
            let until = now.after(lease);
            let known = namespace.feeds.iter_mut().find(|known| known.name == feed.as_str());
            let fence = match known {
                None => {
                    namespace.feeds.push(Feed { name: feed.as_str().to_owned(), holder, fence: 1, until });
                    1
                }
                Some(known) if known.holder == holder => {
                    known.until = until;
                    known.fence
                }
                Some(known) if known.until <= now => {
                    (known.holder, known.until) = (holder, until);
                    known.fence += 1;
                    known.fence
                }
                Some(known) => {
                    let retry_after = known.until.since(now).max(Duration::from_millis(1));
                    return Ok(Change::Keep(Leadership::Follower { retry_after }));
                }
            };
            Ok(Change::Write { ticks: false, answer: Leadership::Leader { fence } })
        };
        change(&self.link, &self.keys, "lead", lead).await.map(|(leadership, _)| leadership)
    }

    pub(super) async fn resign_feed(&self, feed: &FeedId, fence: u64) -> Result<()> {
        let resign = |namespace: &mut NamespaceDoc| {
            let now = namespace.now;
            let led = namespace.feeds.iter_mut().find(|led| led.name == feed.as_str() && led.fence == fence);
            let Some(led) = led else { return Ok(Change::Keep(())) };
            led.until = led.until.min(now);
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
            namespace.check(step)?;
            namespace.renew(step);
            for (name, position) in &step.positions {
                namespace.sources.insert(name.clone(), SourceValidity::behind(Epoch::random()));
                namespace.positions.insert(name.clone(), position.clone());
            }
            namespace.sweep = Sweep::start();
            Ok(Change::Write { ticks: false, answer: () })
        };
        change(&self.link, &self.keys, "restart", restart).await.map(drop)
    }
}
