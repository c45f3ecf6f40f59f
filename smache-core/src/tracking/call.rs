//! Nested calls as the tracking context sees them.

use crate::{EntryId, Token};

/// The place of a call in a stack of nested calls.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallFrame {
    pub(crate) parent: EntryId,
    /// The token of the parent's run, if the store knows the run.
    pub(crate) token: Option<Token>,
    /// The revision at which that run began, if the store knows the run.
    pub(crate) start_revision: Option<u64>,
    pub(crate) depth: u32,
}

/// A child as its parent's notes keep it, for re-validation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChildCall {
    pub(crate) id: EntryId,
    /// The hash of the value that the parent used.
    pub(crate) hash: [u8; 16],
}
