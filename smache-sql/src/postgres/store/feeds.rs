//! The steps of the feeds: epochs, leaders, positions.

use std::time::Duration;

use smache_core::{ATTACHED_VALID_FOR, Epoch, FeedId, FeedStep, Leadership, Positions, Result, SourceId, Token};

use super::{PostgresStore, Statement};
use crate::{
    cells::{count, millis, number},
    step::refused,
};

const NEW_EPOCH: &str = concat!("SELECT smache_new_epoch(", name!(), ") AS epoch");
const ATTACH: &str = concat!("SELECT smache_attach(", name!(), ", $2)");
const KEEP_ATTACHED: &str = concat!("SELECT smache_keep_attached(", name!(), ", $2)");
const LEAD: &str = concat!("SELECT * FROM smache_lead(", name!(), ", $2, $3, $4)");
const RESIGN: &str = concat!("SELECT smache_resign(", name!(), ", $2, $3)");
const RESTART: &str = concat!("SELECT smache_restart(", name!(), ", $2, $3, $4, $5, $6, $7, $8) AS outcome");
const POSITIONS: &str = "SELECT smache_incarnation(), NULL::text, NULL::bytea, NULL::bytea UNION ALL \
     SELECT NULL, v.name, v.position_order, v.position_token FROM smache_sources v JOIN smache_namespaces n USING (ns) \
     WHERE n.name = $1 AND v.name = ANY ($2) AND v.position_order IS NOT NULL";

/// The positions of a step, as three arrays.
pub(super) fn positions(query: Statement, step: &FeedStep) -> Statement {
    let names: Vec<&str> = step.positions.iter().map(|(source, _)| source.as_str()).collect();
    let orders: Vec<&[u8]> = step.positions.iter().map(|(_, position)| &position.order[..]).collect();
    let tokens: Vec<&[u8]> = step.positions.iter().map(|(_, position)| &position.token[..]).collect();
    query.bind(names).bind(orders).bind(tokens)
}

impl PostgresStore {
    pub(super) async fn start_epoch(&self) -> Result<Epoch> {
        let epoch: Vec<u8> = self.step("new_epoch", NEW_EPOCH, |query| query).await?.get("epoch")?;
        Epoch::from_slice(&epoch)
    }

    pub(super) async fn attach_sources(&self, sources: &[SourceId]) -> Result<()> {
        let names: Vec<&str> = sources.iter().map(SourceId::as_str).collect();
        self.step("attach", ATTACH, |query| query.bind(&names)).await?;
        self.keep_sources_attached(ATTACHED_VALID_FOR).await
    }

    pub(super) async fn keep_sources_attached(&self, valid_for: Duration) -> Result<()> {
        self.step("keep_attached", KEEP_ATTACHED, |query| query.bind(millis(valid_for))).await.map(drop)
    }

    pub(super) async fn lead_feed(&self, feed: &FeedId, holder: Token, lease: Duration) -> Result<Leadership> {
        let bind = |query: Statement| {
            query.bind(feed.as_str().to_owned()).bind(holder.as_bytes().to_vec()).bind(millis(lease))
        };
        let answer = self.step("lead", LEAD, bind).await?;
        let fence: Option<i64> = answer.get("fence")?;
        Ok(match fence {
            Some(fence) => Leadership::Leader { fence: count(fence) },
            None => {
                // Null when the leader's row went in between: there is no leader, so that the next try may lead.
                let retry_after: Option<i64> = answer.get("retry_after")?;
                Leadership::Follower { retry_after: Duration::from_millis(retry_after.map_or(1, count)) }
            }
        })
    }

    pub(super) async fn resign_feed(&self, feed: &FeedId, fence: u64) -> Result<()> {
        let bind = |query: Statement| query.bind(feed.as_str().to_owned()).bind(number(fence));
        self.step("resign", RESIGN, bind).await.map(drop)
    }

    pub(super) async fn saved_positions(&self, sources: &[SourceId]) -> Result<Positions> {
        let names: Vec<&str> = sources.iter().map(SourceId::as_str).collect();
        let bind = |query: Statement| query.bind(self.name.clone()).bind(&names);
        let rows = self.link.read("positions", POSITIONS, bind).await?;
        crate::step::positions(&rows, sources, &self.link.server)
    }

    pub(super) async fn restart_sources(&self, step: &FeedStep) -> Result<()> {
        let bind = |query: Statement| {
            let query = query.bind(step.feed.as_str().to_owned()).bind(number(step.fence));
            let query = query.bind(millis(step.leadership)).bind(step.incarnation.as_str().to_owned());
            positions(query, step)
        };
        let answer = self.step("restart", RESTART, bind).await?;
        refused(answer.number("outcome")?, step)
    }
}
