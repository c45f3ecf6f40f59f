//! The steps of the feeds: epochs, positions, leases and leaders.

use std::time::Duration;

use smache_core::{
    ATTACHED_VALID_FOR, Epoch, FeedId, FeedStep, Incarnation, Leadership, Positions, Result, SourceId, Token,
};

use super::{SqliteStore, Step};
use crate::{
    cells::{Cells, count, millis, number, timestamp},
    sqlite::link::Statement,
    step::{FENCED, OTHER, refused},
};

const NEW_EPOCH: &str = "UPDATE smache_namespaces SET epoch = $2 WHERE ns = $1";
const SWEEP: &str = "UPDATE smache_namespaces SET sweep = $2 WHERE ns = $1";
const ATTACH: &str = "INSERT INTO smache_sources AS v (ns, name, epoch, caught_up_on) VALUES ($1, $2, $3, $4) \
     ON CONFLICT (ns, name) DO UPDATE SET epoch = excluded.epoch, caught_up_on = excluded.caught_up_on, valid_until = NULL \
     WHERE v.valid_until IS NOT NULL OR v.caught_up_on IS NOT excluded.caught_up_on";
const KEEP_ATTACHED: &str = "INSERT INTO smache_feeds (ns, name, holder, fence, until) VALUES ($1, 'smache:attached', x'', 0, $2) \
     ON CONFLICT (ns, name) DO UPDATE SET until = excluded.until";
const LEAD: &str = "INSERT INTO smache_feeds AS f (ns, name, holder, fence, until) VALUES ($1, $2, $3, 1, $4) \
     ON CONFLICT (ns, name) DO UPDATE SET holder = excluded.holder, until = excluded.until, \
     fence = f.fence + (f.holder <> excluded.holder) WHERE f.holder = excluded.holder OR f.until <= $5";
const LEADER: &str = "SELECT fence, until, holder FROM smache_feeds WHERE ns = $1 AND name = $2";
const RESIGN: &str = "UPDATE smache_feeds SET until = min(until, $4) WHERE ns = $1 AND name = $2 AND fence = $3";
const RENEW: &str = "UPDATE smache_feeds SET until = $3 WHERE ns = $1 AND name = $2";
const SAVE: &str = "INSERT INTO smache_sources AS v (ns, name, epoch, caught_up_on, valid_until, position_order, position_token) \
     VALUES ($1, $2, $3, $4, coalesce($5, 0), $6, $7) ON CONFLICT (ns, name) DO UPDATE SET \
     caught_up_on = coalesce($4, v.caught_up_on), valid_until = CASE WHEN v.valid_until IS NULL THEN NULL ELSE coalesce($5, v.valid_until) END, \
     position_order = $6, position_token = $7 \
     WHERE v.position_order IS NULL \
     OR (substr(v.position_order, 1, 16) = substr($6, 1, 16) AND v.position_order <= $6)";
const RESTART: &str = "INSERT INTO smache_sources (ns, name, epoch, caught_up_on, valid_until, position_order, position_token) \
     VALUES ($1, $2, $3, NULL, 0, $4, $5) ON CONFLICT (ns, name) DO UPDATE SET epoch = excluded.epoch, caught_up_on = NULL, \
     valid_until = 0, position_order = excluded.position_order, position_token = excluded.position_token";
const POSITIONS: &str = "SELECT incarnation || $3, NULL, NULL, NULL FROM smache_meta UNION ALL \
     SELECT NULL, v.name, v.position_order, v.position_token FROM smache_sources v JOIN smache_namespaces n USING (ns) \
     WHERE n.name = $1 AND v.name IN (SELECT value FROM json_each($2)) AND v.position_order IS NOT NULL";

fn random() -> Vec<u8> {
    Epoch::random().as_bytes().to_vec()
}

impl SqliteStore {
    pub(super) async fn start_epoch(&self) -> Result<Epoch> {
        let mut writer = self.link.writer.lock().await;
        let mut step = Step::begin(&self.link, &mut writer, &self.name, self.link.now()).await?;
        let ns = step.ns;
        let epoch = Epoch::random();
        step.execute(NEW_EPOCH, |query| query.bind(ns).bind(epoch.as_bytes().to_vec())).await?;
        step.sweep_from(Some(Vec::new())).await?;
        step.commit().await?;
        Ok(epoch)
    }

    pub(super) async fn attach_sources(&self, sources: &[SourceId]) -> Result<()> {
        let mut writer = self.link.writer.lock().await;
        let mut step = Step::begin(&self.link, &mut writer, &self.name, self.link.now()).await?;
        let ns = step.ns;
        let incarnation = step.incarnation().await?;
        let mut changed = 0;
        for source in sources {
            let name = source.as_str().to_owned();
            let incarnation = incarnation.as_str().to_owned();
            changed += step.execute(ATTACH, |query| query.bind(ns).bind(name).bind(random()).bind(incarnation)).await?;
        }
        if changed > 0 {
            step.sweep_from(Some(Vec::new())).await?;
        }
        step.keep_attached(ATTACHED_VALID_FOR).await?;
        step.commit().await
    }

    pub(super) async fn keep_sources_attached(&self, valid_for: Duration) -> Result<()> {
        let mut writer = self.link.writer.lock().await;
        let mut step = Step::begin(&self.link, &mut writer, &self.name, self.link.now()).await?;
        step.keep_attached(valid_for).await?;
        step.commit().await
    }

    pub(super) async fn lead_feed(&self, feed: &FeedId, holder: Token, lease: Duration) -> Result<Leadership> {
        let now = self.link.now();
        let mut writer = self.link.writer.lock().await;
        let mut step = Step::begin(&self.link, &mut writer, &self.name, now).await?;
        let ns = step.ns;
        let bind = |query: Statement| {
            let query = query.bind(ns).bind(feed.as_str().to_owned()).bind(holder.as_bytes().to_vec());
            query.bind(now + millis(lease)).bind(now)
        };
        let leads = step.execute(LEAD, bind).await? > 0;
        let row = step.row(LEADER, |query| query.bind(ns).bind(feed.as_str().to_owned())).await?;
        step.commit().await?;
        let cell = |place| {
            let cell = row.as_ref().map_or(Ok(None), |row| row.int(place));
            cell.map(Option::unwrap_or_default).map_err(|error| self.link.failed(error))
        };
        Ok(if leads {
            Leadership::Leader { fence: count(cell(0)?) }
        } else {
            Leadership::Follower { retry_after: Duration::from_millis(count(cell(1)? - now)) }
        })
    }

    pub(super) async fn resign_feed(&self, feed: &FeedId, fence: u64) -> Result<()> {
        let now = self.link.now();
        let mut writer = self.link.writer.lock().await;
        let mut step = Step::begin(&self.link, &mut writer, &self.name, now).await?;
        let ns = step.ns;
        let feed = feed.as_str().to_owned();
        step.execute(RESIGN, |query| query.bind(ns).bind(feed).bind(number(fence)).bind(now)).await?;
        step.commit().await
    }

    pub(super) async fn saved_positions(&self, sources: &[SourceId]) -> Result<Positions> {
        let names: Vec<&str> = sources.iter().map(SourceId::as_str).collect();
        // Names have no character that JSON would write in another way.
        let names = if names.is_empty() { "[]".to_owned() } else { format!("[\"{}\"]", names.join("\",\"")) };
        let bind = |query: Statement| query.bind(self.name.clone()).bind(names).bind(self.link.place.mark.clone());
        let rows = self.link.read(POSITIONS, bind).await?;
        crate::step::positions(&rows, sources, &self.link.place.file)
    }

    pub(super) async fn restart_sources(&self, feed_step: &FeedStep) -> Result<()> {
        let mut writer = self.link.writer.lock().await;
        let mut step = Step::begin(&self.link, &mut writer, &self.name, self.link.now()).await?;
        refused(step.check(feed_step).await?, feed_step)?;
        step.renew(feed_step).await?;
        let ns = step.ns;
        for (source, position) in &feed_step.positions {
            let bind = |query: Statement| {
                let query = query.bind(ns).bind(source.as_str().to_owned()).bind(random());
                query.bind(position.order.to_vec()).bind(position.token.to_vec())
            };
            step.execute(RESTART, bind).await?;
        }
        step.sweep_from(Some(Vec::new())).await?;
        step.commit().await
    }
}

impl Step<'_> {
    /// Until when sources that the application reports are confirmed, in a row beside the leaders'.
    async fn keep_attached(&mut self, valid_for: Duration) -> Result<()> {
        let ns = self.ns;
        let until = self.now + millis(valid_for);
        self.execute(KEEP_ATTACHED, |query| query.bind(ns).bind(until)).await.map(drop)
    }

    /// Whether a step of a feed is refused, and why: an outcome as [`refused`] reads it.
    pub(super) async fn check(&mut self, step: &FeedStep) -> Result<u64> {
        let ns = self.ns;
        let feed = step.feed.as_str().to_owned();
        let row = self.row(LEADER, |query| query.bind(ns).bind(feed)).await?;
        let fence = row.map_or(Ok(None), |row| row.int(0)).map_err(|error| self.failed(error))?;
        if fence != Some(number(step.fence)) {
            return Ok(FENCED);
        }
        let incarnation: Incarnation = self.incarnation().await?;
        Ok(if step.incarnation == incarnation { 0 } else { OTHER })
    }

    /// Saves the progress of a leader; the step was checked.
    pub(super) async fn save(&mut self, step: &FeedStep) -> Result<()> {
        self.renew(step).await?;
        let (ns, now) = (self.ns, self.now);
        for (source, position) in &step.positions {
            let bind = |query: Statement| {
                query
                    .bind(ns)
                    .bind(source.as_str().to_owned())
                    .bind(random())
                    .bind(step.caught_up.then(|| step.incarnation.as_str().to_owned()))
                    .bind(step.valid_until(timestamp(now)).map(|until| number(until.as_millis())))
                    .bind(position.order.to_vec())
                    .bind(position.token.to_vec())
            };
            self.execute(SAVE, bind).await?;
        }
        Ok(())
    }

    async fn renew(&mut self, step: &FeedStep) -> Result<()> {
        let ns = self.ns;
        let feed = step.feed.as_str().to_owned();
        let until = self.now + millis(step.leadership);
        self.execute(RENEW, |query| query.bind(ns).bind(feed).bind(until)).await.map(drop)
    }

    /// Where the walk over entries of old epochs goes on.
    pub(super) async fn sweep_from(&mut self, place: Option<Vec<u8>>) -> Result<()> {
        let ns = self.ns;
        self.execute(SWEEP, |query| query.bind(ns).bind(place)).await.map(drop)
    }
}
