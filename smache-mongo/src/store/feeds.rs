//! What vouches: epochs, leaders, positions. All of it is in the one document of the namespace.

use std::time::Duration;

use mongodb::bson::doc;
use smache_core::{
    ATTACHED_LEASE, Epoch, FeedId, FeedStep, Leadership, Positions, Result, SourceId, SourceVouch, Token,
};

use super::Inner;
use crate::expression::after;
use crate::space::{Change, Feed, Space, Sweep, change, read};

impl Inner {
    pub(super) async fn start_epoch(&self) -> Result<Epoch> {
        let epoch = Epoch::random();
        let write = |space: &mut Space| {
            space.epoch = epoch;
            space.sweep = Sweep::anew();
            Ok(Change::Write { ticks: false, answer: epoch })
        };
        change(&self.link, &self.keys, "new_epoch", write).await.map(|(epoch, _)| epoch)
    }

    pub(super) async fn attach_sources(&self, sources: &[SourceId]) -> Result<()> {
        let attach = |space: &mut Space| {
            let mut changed = false;
            for name in sources {
                let here = Some(&space.incarnation);
                let attached = |vouch: &SourceVouch| vouch.lease.is_none() && vouch.armed.as_ref() == here;
                if !space.sources.get(name).is_some_and(attached) {
                    let vouch = SourceVouch::application(Epoch::random(), here.cloned());
                    space.sources.insert(name.clone(), vouch);
                    space.sweep = Sweep::anew();
                    changed = true;
                }
            }
            Ok(if changed { Change::Write { ticks: false, answer: () } } else { Change::Keep(()) })
        };
        change(&self.link, &self.keys, "attach", attach).await?;
        self.keep_sources_attached(ATTACHED_LEASE).await
    }

    /// By an update of its own: it waits for no feed, and no feed for it.
    pub(super) async fn keep_sources_attached(&self, lease: Duration) -> Result<()> {
        let until = after(lease);
        let kept =
            self.link.state.update_one(doc! { "_id": self.keys.space() }, vec![doc! { "$set": { "attached": until } }]);
        self.link.run("keep_attached", async { kept.await }).await.map(drop)
    }

    pub(super) async fn lead_feed(&self, feed: &FeedId, holder: Token, lease: Duration) -> Result<Leadership> {
        let lead = |space: &mut Space| {
            let now = space.now;
            let until = now.after(lease);
            let known = space.feeds.iter_mut().find(|known| known.name == feed.as_str());
            let fence = match known {
                None => {
                    space.feeds.push(Feed { name: feed.as_str().to_owned(), holder, fence: 1, until });
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
        let resign = |space: &mut Space| {
            let now = space.now;
            let led = space.feeds.iter_mut().find(|led| led.name == feed.as_str() && led.fence == fence);
            let Some(led) = led else { return Ok(Change::Keep(())) };
            led.until = led.until.min(now);
            Ok(Change::Write { ticks: false, answer: () })
        };
        change(&self.link, &self.keys, "resign", resign).await.map(drop)
    }

    pub(super) async fn saved_positions(&self, sources: &[SourceId]) -> Result<Positions> {
        let space = read(&self.link, &self.keys, "positions", Vec::new()).await?.space;
        let positions = sources.iter().map(|source| space.positions.get(source).cloned()).collect();
        Ok(Positions { positions, incarnation: space.incarnation })
    }

    pub(super) async fn restart_sources(&self, step: &FeedStep) -> Result<()> {
        let restart = |space: &mut Space| {
            space.check(step)?;
            space.renew(step);
            for (name, position) in &step.positions {
                space.sources.insert(name.clone(), SourceVouch::unarmed(Epoch::random()));
                space.positions.insert(name.clone(), position.clone());
            }
            space.sweep = Sweep::anew();
            Ok(Change::Write { ticks: false, answer: () })
        };
        change(&self.link, &self.keys, "restart", restart).await.map(drop)
    }
}
