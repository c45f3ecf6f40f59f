//! Feeds: leadership, positions, epochs.

use std::time::Duration;

use redis::Value;
use smache_core::{
    ATTACHED_VALID_FOR, Epoch, FeedId, FeedStep, Leadership, Position, Positions, Result, SourceId, Token,
    support::log_damaged_position,
};

use super::RedisStore;
use crate::{
    error::unexpected,
    reply::Reply,
    script::{ATTACH, Call, KEEP_ATTACHED, LEAD, NEW_EPOCH, RESIGN, RESTART},
};

/// Writes a step as the scripts read it. `since` is the time since the step was requested: it confirms from then on and
/// not from now.
pub(super) fn step_args(call: &mut Call, step: &FeedStep, since: Duration) {
    call.arg(step.feed.as_str()).arg(step.fence).millis(step.leadership);
    match step.valid_for {
        Some(valid_for) => call.millis(valid_for.saturating_sub(since)),
        None => call.arg(""),
    };
    match step.deadline {
        Some(deadline) => call.arg(deadline.as_millis()),
        None => call.arg(""),
    };
    call.flag(step.caught_up).arg(step.incarnation.as_str());
    for (source, position) in &step.positions {
        call.arg(source.as_str()).arg(position.order.as_ref()).arg(position.token.as_ref());
        call.arg(Epoch::random().as_bytes());
    }
}

impl RedisStore {
    pub(super) async fn start_epoch(&self) -> Result<Epoch> {
        let epoch = Epoch::random();
        let mut call = self.step(&NEW_EPOCH);
        call.arg(epoch.as_bytes());
        self.link.call(&call).await?;
        Ok(epoch)
    }

    pub(super) async fn attach_sources(&self, sources: &[SourceId]) -> Result<()> {
        let live = self.link.live().await?;
        for sources in sources.chunks(500) {
            let mut call = self.step(&ATTACH);
            call.arg(live.incarnation.as_str()).millis(ATTACHED_VALID_FOR);
            for source in sources {
                call.arg(source.as_str()).arg(Epoch::random().as_bytes());
            }
            live.call(&call).await?;
        }
        Ok(())
    }

    pub(super) async fn keep_sources_attached(&self, valid_for: Duration) -> Result<()> {
        let mut call = KEEP_ATTACHED.call(&self.keys);
        call.millis(valid_for);
        self.link.call(&call).await.map(drop)
    }

    pub(super) async fn lead_feed(&self, feed: &FeedId, holder: Token, lease: Duration) -> Result<Leadership> {
        let mut call = LEAD.call(&self.keys);
        call.arg(feed.as_str()).arg(holder.as_bytes()).millis(lease);
        let mut reply = Reply::new(call.operation(), self.link.call(&call).await?)?;
        let leads = reply.number()? == 1;
        let number = reply.number()?;
        Ok(if leads {
            Leadership::Leader { fence: number }
        } else {
            Leadership::Follower { retry_after: Duration::from_millis(number) }
        })
    }

    pub(super) async fn resign_feed(&self, feed: &FeedId, fence: u64) -> Result<()> {
        let mut call = RESIGN.call(&self.keys);
        call.arg(feed.as_str()).arg(fence);
        self.link.call(&call).await?;
        Ok(())
    }

    pub(super) async fn saved_positions(&self, sources: &[SourceId]) -> Result<Positions> {
        let key = self.keys.of("p");
        let mut commands = redis::pipe();
        for source in sources {
            commands.cmd("HGET").arg(&key).arg(source.as_str());
        }
        if sources.is_empty() {
            let incarnation = self.link.live().await?.incarnation.clone();
            return Ok(Positions { positions: Vec::new(), incarnation });
        }
        let (values, live) = self.link.read(&commands).await?;
        let mut positions = Vec::with_capacity(sources.len());
        for (source, value) in sources.iter().zip(values) {
            positions.push(match value {
                Value::Nil => None,
                Value::BulkString(bytes) => {
                    let position = parse_position(&bytes);
                    if position.is_none() {
                        log_damaged_position(&key, source);
                    }
                    position
                }
                Value::ServerError(error) => return Err(live.failed(error, &self.keys, key)),
                _ => return Err(unexpected("positions")),
            });
        }
        Ok(Positions { positions, incarnation: live.incarnation.clone() })
    }

    pub(super) async fn restart_sources(&self, step: &FeedStep) -> Result<()> {
        let live = self.link.live().await?;
        step.check_incarnation(&live.incarnation)?;
        let mut call = self.step(&RESTART);
        step_args(&mut call, step, Duration::ZERO);
        match live.call(&call).await? {
            Value::Int(1) => Ok(()),
            _ => Err(step.fenced()),
        }
    }
}

/// Four bytes of length, the order, the token.
pub(super) fn parse_position(bytes: &[u8]) -> Option<Position> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (order, token) = rest.split_at_checked(u32::from_be_bytes(*length).try_into().ok()?)?;
    Some(Position { order: order.to_vec().into(), token: token.to_vec().into() })
}
