//! **X**: a run keeps its lease.

use std::time::Duration;

use super::parts::Run;
use crate::{Timestamp, Token};

/// Until when the lease holds, from now; nothing under another token. A shorter lease counts as well.
#[must_use]
pub fn extend(run: Option<&Run>, token: Token, now: Timestamp, lease: Duration) -> Option<Timestamp> {
    run.filter(|run| run.token == token).map(|_| now.after(lease))
}
