//! **X**: a run keeps its lease.

use std::time::Duration;

use super::parts::Run;
use crate::{Timestamp, Token};

/// Until when the lease holds, from now; nothing under another token. A shorter lease counts as well.
#[must_use]
pub fn extend(run: Option<&Run>, token: Token, now: Timestamp, lease: Duration) -> Option<Timestamp> {
    run.filter(|run| run.token == token).map(|_| now.after(lease))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::testing::{at, ms, run, token};

    #[test]
    fn a_lease_is_extended_from_now_and_by_its_token_only() {
        assert_eq!(
            extend(Some(&run(1)), token(1), at(500), ms(3)),
            Some(at(503)),
            "it had lapsed, and no other run took it"
        );
        assert_eq!(extend(Some(&run(1)), token(1), at(50), ms(3)), Some(at(53)), "a shorter one counts");
        assert_eq!(extend(Some(&run(1)), token(2), at(50), ms(3)), None);
        assert_eq!(extend(None, token(1), at(50), ms(3)), None);
    }
}
