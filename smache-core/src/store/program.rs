//! The register of programs: which are alive, and what they say of themselves.

use bytes::Bytes;

use crate::{Timestamp, Token};

/// A step on the register of programs: everything of it is optional, and without any of it the step only reads.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProgramStep {
    /// A program to add or to renew.
    pub register: Option<Registration>,
    /// The programs to remove. One whose lease still holds stays.
    pub remove: Vec<Token>,
}

/// A program that registers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// Which program it is: one life of one process.
    pub id: Token,
    /// What it says of itself, for the engine alone.
    pub notes: Bytes,
    /// How long it is taken to be alive, from now. With nothing it has ended, and stays in the register as that.
    pub lease: std::time::Duration,
}

/// The register after a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    /// The store's time.
    pub now: Timestamp,
    /// Whether the program of the step was in the register before.
    pub known: bool,
    /// Every program that was registered and not removed, in any order.
    pub programs: Vec<RegisteredProgram>,
}

/// A program in the register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisteredProgram {
    /// Which program it is.
    pub id: Token,
    /// Until when it is taken to be alive.
    pub until: Timestamp,
    /// What it says of itself.
    pub notes: Bytes,
}
