//! The steps of the feeds: epochs, positions, leases and leaders.

use std::{collections::HashMap, time::Duration};

use smache_core::{
    ATTACHED_VALID_FOR, Epoch, FeedId, FeedStep, Leadership, Position, Positions, Result, SourceId, SourceValidity,
    Timestamp, Token,
    protocol::{self, FeedView, FeedWrites, Leader, Leading},
};
use sqlx::sqlite::SqliteRow;

use super::{SqliteStore, Statement, Step};
use crate::cells::{Cells, millis, number, time, timestamp, whole_count};

const NEW_EPOCH: &str = "UPDATE smache_namespaces SET epoch = $2 WHERE ns = $1";
const SWEEP: &str = "UPDATE smache_namespaces SET sweep = $2 WHERE ns = $1";
const ATTACH: &str = "INSERT INTO smache_sources (ns, name, epoch, caught_up_on, valid_until) VALUES ($1, $2, $3, $4, $5) \
     ON CONFLICT (ns, name) DO UPDATE SET epoch = excluded.epoch, caught_up_on = excluded.caught_up_on, \
     valid_until = excluded.valid_until";
const KEEP_ATTACHED: &str = "INSERT INTO smache_feeds (ns, name, holder, fence, until) VALUES ($1, 'smache:attached', x'', 0, $2) \
     ON CONFLICT (ns, name) DO UPDATE SET until = excluded.until";
const LEAD: &str = "INSERT INTO smache_feeds (ns, name, holder, fence, until) VALUES ($1, $2, $3, $4, $5) \
     ON CONFLICT (ns, name) DO UPDATE SET holder = excluded.holder, fence = excluded.fence, until = excluded.until";
const VIEW: &str = include_str!("../../../queries/sqlite/feed_view.sql");
const RESIGN: &str = "UPDATE smache_feeds SET until = min(until, $4) WHERE ns = $1 AND name = $2 AND fence = $3";
const SAVE: &str = "INSERT INTO smache_sources (ns, name, epoch, caught_up_on, valid_until, position_order, position_token) \
     VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (ns, name) DO UPDATE SET epoch = excluded.epoch, \
     caught_up_on = excluded.caught_up_on, valid_until = excluded.valid_until, position_order = excluded.position_order, \
     position_token = excluded.position_token";
const POSITIONS: &str = "SELECT incarnation || $3, NULL, NULL, NULL FROM smache_meta UNION ALL \
     SELECT NULL, v.name, v.position_order, v.position_token FROM smache_sources v JOIN smache_namespaces n USING (ns) \
     WHERE n.name = $1 AND v.name IN (SELECT value FROM json_each($2)) AND v.position_order IS NOT NULL";

/// What a step of a feed reads, beside the validity of the sources.
#[derive(Default)]
struct View {
    leader: Option<Leader>,
    /// Every source with a row, and its position.
    saved: HashMap<SourceId, Option<Position>>,
}

/// What a step of a feed writes.
pub(super) struct Progress<'f> {
    feed: &'f FeedId,
    writes: FeedWrites,
    /// Whether a walk over entries of old epochs begins.
    sweeps: bool,
}

/// The arguments of a source in [`ATTACH`] and [`SAVE`].
fn source(query: Statement, ns: i64, name: &SourceId, validity: &SourceValidity) -> Statement {
    let query = query.bind(ns).bind(name.as_str().to_owned()).bind(validity.epoch.as_bytes().to_vec());
    let query = query.bind(validity.caught_up_on.as_ref().map(|on| on.as_str().to_owned()));
    query.bind(validity.valid_until.map(time))
}

/// Names as an array of JSON. They have no character that JSON would write in another way.
fn list<'a>(sources: impl Iterator<Item = &'a SourceId>) -> String {
    let names: Vec<&str> = sources.map(SourceId::as_str).collect();
    if names.is_empty() { "[]".to_owned() } else { format!("[\"{}\"]", names.join("\",\"")) }
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
        let attached = protocol::attach(&step.validity, sources, &step.incarnation, Epoch::random);
        for (name, validity) in &attached {
            step.execute(ATTACH, |query| source(query, ns, name, validity)).await?;
        }
        if !attached.is_empty() {
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
        let view = step.feed_view(feed, std::iter::empty()).await?;
        let leading = protocol::lead(view.leader.as_ref(), holder, lease, step.time());
        if let Leading::Leads(leader) = &leading {
            step.write_leader(feed, leader).await?;
        }
        step.commit().await?;
        Ok(leading.leadership())
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
        let names = list(sources.iter());
        let bind = |query: Statement| query.bind(self.name.clone()).bind(names).bind(self.link.place.mark.clone());
        let rows = self.link.read(POSITIONS, bind).await?;
        crate::step::positions(&rows, sources, &self.link.place.file)
    }

    pub(super) async fn restart_sources(&self, feed_step: &FeedStep) -> Result<()> {
        let mut writer = self.link.writer.lock().await;
        let mut step = Step::begin(&self.link, &mut writer, &self.name, self.link.now()).await?;
        let view = step.view_of(feed_step).await?;
        let writes = protocol::restart(&step.feed_step_view(&view), feed_step, step.revision, Epoch::random)?;
        step.write_progress(Progress { feed: &feed_step.feed, writes, sweeps: true }).await?;
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

    async fn feed_view(&mut self, feed: &FeedId, sources: impl Iterator<Item = &SourceId>) -> Result<View> {
        let ns = self.ns;
        let sources = list(sources);
        let bind = |query: Statement| query.bind(ns).bind(feed.as_str().to_owned()).bind(sources);
        let rows = self.rows(VIEW, bind).await?;
        let mut view = View::default();
        for row in &rows {
            view.take(row, self.time()).map_err(|error| self.failed(error))?;
        }
        Ok(view)
    }

    async fn view_of(&mut self, step: &FeedStep) -> Result<View> {
        self.feed_view(&step.feed, step.positions.iter().map(|(source, _)| source)).await
    }

    fn feed_step_view<'v>(&'v self, view: &'v View) -> FeedView<'v> {
        let leader = view.leader.as_ref();
        FeedView { now: self.time(), incarnation: &self.incarnation, leader, validity: &self.validity }
    }

    /// The progress of a leader.
    pub(super) async fn progress<'f>(&mut self, step: &'f FeedStep) -> Result<Progress<'f>> {
        let view = self.view_of(step).await?;
        let saved = |source: &SourceId| view.saved.get(source).and_then(Option::as_ref);
        let writes = protocol::save(&self.feed_step_view(&view), step, saved, Epoch::random)?;
        // The row of a source without a validity is damaged, and gets a new epoch.
        let is_damaged =
            |source: &SourceId| view.saved.contains_key(source) && !self.validity.sources.contains_key(source);
        let sweeps = writes.sources.iter().any(|(source, ..)| is_damaged(source));
        Ok(Progress { feed: &step.feed, writes, sweeps })
    }

    /// Saves the progress of a leader.
    pub(super) async fn write_progress(&mut self, progress: Progress<'_>) -> Result<()> {
        let Progress { feed, writes, sweeps } = progress;
        if let Some(revision) = writes.revision {
            self.raise(revision).await?;
        }
        self.write_leader(feed, &writes.leader).await?;
        let ns = self.ns;
        for (name, position, validity) in &writes.sources {
            let bind = |query: Statement| {
                source(query, ns, name, validity).bind(position.order.to_vec()).bind(position.token.to_vec())
            };
            self.execute(SAVE, bind).await?;
        }
        if sweeps { self.sweep_from(Some(Vec::new())).await } else { Ok(()) }
    }

    async fn write_leader(&mut self, feed: &FeedId, leader: &Leader) -> Result<()> {
        let ns = self.ns;
        let bind = |query: Statement| {
            let query = query.bind(ns).bind(feed.as_str().to_owned()).bind(leader.holder.as_bytes().to_vec());
            query.bind(number(leader.fence)).bind(time(leader.until))
        };
        self.execute(LEAD, bind).await.map(drop)
    }

    /// Where the walk over entries of old epochs goes on.
    pub(super) async fn sweep_from(&mut self, place: Option<Vec<u8>>) -> Result<()> {
        let ns = self.ns;
        self.execute(SWEEP, |query| query.bind(ns).bind(place)).await.map(drop)
    }
}

impl View {
    fn take(&mut self, row: &SqliteRow, now: Timestamp) -> Result<(), sqlx::Error> {
        let cell = |place| row.int(place).map(Option::unwrap_or_default);
        if cell(0)? == 0 {
            // A damaged holder is none of the processes, and its lease ends.
            let holder = row.bytes(1)?.and_then(|holder| Token::from_slice(&holder).ok());
            let holder = holder.unwrap_or(Token::from_bytes([0; Token::LEN]));
            // A damaged fence goes on at the time, which no fence reaches.
            let fence = whole_count(cell(4)?).unwrap_or(now.as_millis());
            self.leader = Some(Leader { holder, fence, until: timestamp(cell(5)?) });
        } else if let Some(name) = row.text(3).ok().flatten().and_then(|name| SourceId::new(name).ok()) {
            let position = row.bytes(1)?.zip(row.bytes(2)?);
            let position = position.map(|(order, token)| Position { order: order.into(), token: token.into() });
            self.saved.insert(name, position);
        }
        Ok(())
    }
}
