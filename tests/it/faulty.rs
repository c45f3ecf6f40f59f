//! A backend in memory that fails on demand, in the time of the runtime.

use std::sync::Arc;

use smache::memory::Memory;
pub(crate) use smache_testkit::faults::{Fault, Faults, Faulty};

use crate::world::RuntimeClock;

/// Memory in the time of the runtime.
pub(crate) fn memory() -> (Faulty<Memory>, Faults) {
    Faulty::of(Memory::builder().clock(Arc::new(RuntimeClock::new())).build())
}
