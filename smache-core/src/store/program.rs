//! The register of programs: which are alive, and their notes.

use bytes::Bytes;

use crate::{Timestamp, Token};

/// A step on the register of programs. Every part is optional; without any, the step only reads.
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
    /// Its name: one for each life of a process.
    pub id: Token,
    /// Its notes, for the engine alone.
    pub notes: Bytes,
    /// How long it counts as alive, from now. With zero it has ended, and stays in the register as such.
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
    /// Its name.
    pub id: Token,
    /// Until when it counts as alive.
    pub until: Timestamp,
    /// Its notes.
    pub notes: Bytes,
}
