//! **L**: one process at a time leads a feed, by the store's clock and under a fence that grows with every leader.

use std::time::Duration;

use super::{mutant::off, parts::Leader};
use crate::{Leadership, Timestamp, Token};

/// The plan of a process that wants to lead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leading {
    /// Another process leads for that long: nothing is written.
    Led(Duration),
    /// It leads from now on.
    Leads(Leader),
}

/// Takes or keeps the leadership. The first fence is 1.
#[must_use]
pub fn lead(present: Option<&Leader>, holder: Token, lease: Duration, now: Timestamp) -> Leading {
    let fence = match present {
        None => 1,
        Some(leader) if leader.holder == holder => leader.fence,
        Some(leader) if leader.until > now => return Leading::Led(leader.until.since(now)),
        Some(leader) => off!(FenceStays, leader.fence + 1, leader.fence),
    };
    Leading::Leads(Leader { holder, fence, until: now.after(lease) })
}

/// Ends a leadership that is still held under that fence. The leader stays on record: the next one has a higher fence.
#[must_use]
pub fn resign(present: Option<&Leader>, fence: u64, now: Timestamp) -> Option<Leader> {
    let leader = present.filter(|leader| leader.fence == fence)?;
    Some(Leader { until: leader.until.min(now), ..leader.clone() })
}

impl Leading {
    /// The answer.
    #[must_use]
    pub fn leadership(&self) -> Leadership {
        match self {
            Self::Led(retry_after) => Leadership::Follower { retry_after: *retry_after },
            Self::Leads(leader) => Leadership::Leader { fence: leader.fence },
        }
    }
}
