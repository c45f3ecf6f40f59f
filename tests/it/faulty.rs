//! A backend in memory that fails on demand, in the time of the runtime.

use smache::memory::Memory;
pub(crate) use smache_testkit::faults::{Fault, Faults, Faulty};

use crate::world;

/// Memory in the time of the runtime.
pub(crate) fn memory() -> (Faulty<Memory>, Faults) {
    Faulty::of(world::memory())
}
