//! The one clock of all processes of a machine.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of the machine's monotonic clock: comparable between processes, and it never steps back.
pub(crate) fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or_default()
}
