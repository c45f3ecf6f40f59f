//! A call: a computed function with arguments, and the freshness that its reader demands.

use std::{fmt, time::Duration};

use super::Computed;
use crate::ChangeToken;

/// A computed function applied to arguments; nothing runs until a verb of the system takes it.
#[must_use = "a call does nothing until it is passed to a verb such as `get`"]
pub struct Call<F: Computed> {
    pub(crate) args: F::Args,
    pub(crate) want: Want,
}

/// The freshness that a reader demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Want {
    pub(crate) fresh: bool,
    pub(crate) max_stale: Option<Duration>,
    pub(crate) at_least: Option<ChangeToken>,
}

impl<F: Computed> Call<F> {
    /// A call of the function that takes any stored value.
    pub fn new(args: F::Args) -> Self {
        Self { args, want: Want::default() }
    }

    /// Accepts only a value that reflects every change that was acknowledged before the read: a stale or unconfirmed
    /// one is computed again, and the reader waits. While the feed of a source is down and cannot confirm, a run that
    /// began after the read did is as good: its value is returned as [`Unconfirmed`](crate::Freshness::Unconfirmed).
    pub fn fresh(mut self) -> Self {
        self.want.fresh = true;
        self
    }

    /// Accepts a value that has been stale or unconfirmed for at most that long; an older one is computed again, and
    /// the reader waits. A value that a change overtook while it was computed is stale since its run began.
    pub fn max_stale(mut self, at_most: Duration) -> Self {
        self.want.max_stale = Some(at_most);
        self
    }

    /// Accepts only a value that reflects the reader's own change, by the token that `changed` or
    /// [`caught_up`](crate::Smache::caught_up) returned. With several tokens, one that reflects every change.
    ///
    /// A token of another namespace is refused with [`ErrorKind::Argument`](crate::ErrorKind::Argument).
    pub fn at_least(mut self, token: ChangeToken) -> Self {
        match self.want.at_least.map(|other| other.and(token)) {
            None => self.want.at_least = Some(token),
            Some(Some(both)) => self.want.at_least = Some(both),
            // Of two generations of the store: only a fresh value reflects both.
            Some(None) => {
                self.want.at_least = Some(token);
                self.want.fresh = true;
            }
        }
        self
    }
}

impl<F: Computed<Args: Clone>> Clone for Call<F> {
    fn clone(&self) -> Self {
        Self { args: self.args.clone(), want: self.want }
    }
}

impl<F: Computed<Args: fmt::Debug>> fmt::Debug for Call<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("args", &self.args).field("want", &self.want).finish()
    }
}
