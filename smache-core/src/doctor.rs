//! What the parts of a system say about themselves when they are examined.

use std::fmt;

use crate::Incarnation;

/// How surely a change reaches the results that depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Guarantee {
    /// Only what the application reports is known. A program that ends between its commit and its report loses the report.
    BestEffort,
    /// The application marks before it commits what it is about to change: one that ends in between is noticed by the
    /// deadline of its mark.
    Intent,
    /// A history of all changes is read, whoever made them. A result is fresh up to a moment ago, and while the history
    /// cannot be read, nobody says that anything is.
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

/// Something that a part of a system is found to lack.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What is the matter, in lower case and without a full stop.
    pub problem: String,
    /// What to do about it.
    pub fix: String,
}

impl Finding {
    /// A finding.
    #[must_use]
    pub fn new(severity: Severity, problem: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { severity, problem: problem.into(), fix: fix.into() }
    }

    /// What is said of a server that is asked in the clear from another machine ([`is_remote`]), as bad whichever it is: who
    /// deploys by the worst finding can rely on it.
    #[must_use]
    pub fn in_the_clear(fix: impl Into<String>) -> Self {
        let problem = "the server is on another machine and the connection is not encrypted";
        Self::new(Severity::Danger, problem, fix)
    }

    /// What is said of a server on another machine ([`is_remote`]) whose connection is encrypted, while the server's
    /// certificate is not verified: as bad as [`in_the_clear`](Self::in_the_clear), since anybody on the way can answer in
    /// its place and read along.
    #[must_use]
    pub fn unverified(fix: impl Into<String>) -> Self {
        let problem =
            "the server is on another machine and its certificate is not verified: another one can answer in its place";
        Self::new(Severity::Danger, problem, fix)
    }
}

/// What a backend says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Examination {
    /// What it is and where, without any secret: `Redis 7.0.15 at localhost:6379`.
    pub what: String,
    /// How surely changes arrive, for a source.
    pub guarantee: Option<Guarantee>,
    /// For a source whose guarantee is [`Guarantee::Exact`]: the incarnation of the store that is in the same database.
    pub beside: Option<Incarnation>,
    /// What it is found to lack.
    pub findings: Vec<Finding>,
}

impl Examination {
    /// A backend with nothing to say against it.
    #[must_use]
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), guarantee: None, beside: None, findings: Vec::new() }
    }

    /// With a guarantee.
    #[must_use]
    pub fn guarantee(mut self, guarantee: Guarantee) -> Self {
        self.guarantee = Some(guarantee);
        self
    }

    /// With the store that is in the same database. Without it, or with another one than the system's, nobody can change
    /// data and report it in one step: the guarantee is taken back.
    #[must_use]
    pub fn beside(mut self, store: Incarnation) -> Self {
        self.beside = Some(store);
        self
    }

    /// With a finding, if the condition holds.
    #[must_use]
    pub fn finding(mut self, holds: bool, finding: impl FnOnce() -> Finding) -> Self {
        if holds {
            self.findings.push(finding());
        }
        self
    }
}

/// Whether a server at a host is asked in the clear from another machine: nothing on the way to a socket or this machine.
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
