//! The reports of a system's parts on themselves, for `doctor`.

use std::fmt;

use crate::Incarnation;

/// How surely a change reaches the results that depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Guarantee {
    /// Only the reports of the application are known. A program that ends between its commit and its report loses the
    /// report.
    BestEffort,
    /// The application announces a change before it commits. If the program ends in between, a worker notices it at the
    /// deadline of the announcement.
    Intent,
    /// The feed reads a history of all changes, of every writer. A result is fresh up to a moment ago, and
    /// `Unconfirmed` while the feed cannot read the history.
    ChangeFeed,
    /// The change and its invalidation are one step.
    Exact,
}

impl fmt::Display for Guarantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BestEffort => "best effort",
            Self::Intent => "intent",
            Self::ChangeFeed => "change feed",
            Self::Exact => "exact",
        })
    }
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Severity {
    /// Right, and slower or less durable than it could be.
    Advice,
    /// Right until something else goes wrong.
    Warning,
    /// Not safe.
    Danger,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Advice => "advice",
            Self::Warning => "warning",
            Self::Danger => "danger",
        })
    }
}

/// A weakness that a part of a system was found to have.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The problem, in lower case and without a full stop.
    pub problem: String,
    /// How to mend it.
    pub fix: String,
}

impl Finding {
    /// A finding.
    #[must_use]
    pub fn new(severity: Severity, problem: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { severity, problem: problem.into(), fix: fix.into() }
    }

    /// The finding about a server on another machine ([`is_remote`]) whose connection is not encrypted. It has one
    /// severity for all servers, so that a deploy may be decided by the worst finding.
    #[must_use]
    pub fn in_the_clear(fix: impl Into<String>) -> Self {
        let problem = "the server is on another machine and the connection is not encrypted";
        Self::new(Severity::Danger, problem, fix)
    }

    /// The finding about a server on another machine ([`is_remote`]) whose connection is encrypted, while the server's
    /// certificate is not verified. As bad as [`in_the_clear`](Self::in_the_clear), since any machine on the way can
    /// answer in its place and read along.
    #[must_use]
    pub fn unverified(fix: impl Into<String>) -> Self {
        let problem =
            "the server is on another machine and its certificate is not verified: any machine can answer in its place";
        Self::new(Severity::Danger, problem, fix)
    }
}

/// A backend's report on itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Examination {
    /// Its kind and place, without any secret: `Redis 7.0.15 at localhost:6379`.
    pub what: String,
    /// How surely changes arrive, for a source.
    pub guarantee: Option<Guarantee>,
    /// For a source whose guarantee is [`Guarantee::Exact`]: the incarnation of the store that is in the same database.
    pub beside: Option<Incarnation>,
    /// Its weaknesses.
    pub findings: Vec<Finding>,
}

impl Examination {
    /// A backend without a finding.
    #[must_use]
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), guarantee: None, beside: None, findings: Vec::new() }
    }

    /// Sets the guarantee.
    #[must_use]
    pub fn guarantee(mut self, guarantee: Guarantee) -> Self {
        self.guarantee = Some(guarantee);
        self
    }

    /// Names the store that is in the same database. Without that store, or with another one than the system's, no
    /// writer can change data and report it in one step, and `doctor` lowers the guarantee.
    #[must_use]
    pub fn beside(mut self, store: Incarnation) -> Self {
        self.beside = Some(store);
        self
    }

    /// Adds a finding, if the condition holds.
    #[must_use]
    pub fn finding(mut self, holds: bool, finding: impl FnOnce() -> Finding) -> Self {
        if holds {
            self.findings.push(finding());
        }
        self
    }
}

/// Whether a host is another machine, so that others could read an unencrypted connection to it. A socket or this
/// machine is not.
#[must_use]
pub fn is_remote(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let local = host == "localhost" || host.starts_with('/');
    !local && !host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_not_remote() {
        for local in ["localhost", "127.0.0.1", "127.8.8.8", "::1", "[::1]", "/run/redis.sock"] {
            assert!(!is_remote(local), "{local}");
        }
        for remote in ["redis", "10.0.0.1", "localhost.example.org", "::2"] {
            assert!(is_remote(remote), "{remote}");
        }
    }

    #[test]
    fn guarantees_are_ordered_by_how_much_they_say() {
        assert!(Guarantee::Exact > Guarantee::ChangeFeed && Guarantee::ChangeFeed > Guarantee::Intent);
        assert!(Guarantee::Intent > Guarantee::BestEffort && Severity::Danger > Severity::Warning);
    }
}
