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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::testing::{at, ms, token};

    #[test]
    fn one_process_leads_at_a_time_and_every_new_leader_has_a_higher_fence() {
        let Leading::Leads(first) = lead(None, token(1), ms(10), at(0)) else { panic!("no process leads") };
        assert_eq!(first, Leader { holder: token(1), fence: 1, until: at(10) });
        let follower = lead(Some(&first), token(2), ms(10), at(9));
        assert_eq!(follower.leadership(), Leadership::Follower { retry_after: ms(1) });
        let renewed = lead(Some(&first), token(1), ms(10), at(20));
        assert_eq!(renewed.leadership(), Leadership::Leader { fence: 1 }, "it lapsed, and no other process took it");
        let next = lead(Some(&first), token(2), ms(10), at(10));
        assert_eq!(next, Leading::Leads(Leader { holder: token(2), fence: 2, until: at(20) }));
    }

    #[test]
    fn a_leader_that_resigns_leaves_its_fence() {
        let leader = Leader { holder: token(1), fence: 3, until: at(10) };
        assert_eq!(resign(Some(&leader), 2, at(5)), None);
        assert_eq!(resign(None, 3, at(5)), None);
        let resigned = resign(Some(&leader), 3, at(5)).expect("its own fence");
        assert_eq!(lead(Some(&resigned), token(2), ms(10), at(5)).leadership(), Leadership::Leader { fence: 4 });
    }
}
