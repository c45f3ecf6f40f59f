//! The register of programs: which programs are alive and which functions they have.
//!
//! Every program keeps its functions in the store's register, with the time until which it counts as alive. A worker
//! leaves a job of an unknown function to a living program, and if that program has workers, gives it a head start on
//! the next jobs. A job whose function no living program has is parked. A decision by an old view of the register is
//! undone later: parked jobs return when a program with their function works, and the next reader computes a removed
//! entry.

mod collect;
mod forget;
mod keep;
mod parked;

use std::time::Duration;

pub(crate) use self::{collect::Collection, keep::keep, parked::Unknown};

/// How long a program counts as alive after its last registration, and how often it registers.
const LEASE: Duration = Duration::from_secs(30);
const PERIOD: Duration = Duration::from_secs(10);
