//! Pauses: jitter, and the delays of runs that changes overtake.

use std::time::Duration;

/// The longest delay of an entry's job after a conflict, or after a run that could not read everything.
const MAX_CONFLICT_DELAY: Duration = Duration::from_secs(60);

/// Between half and all of a duration.
pub(crate) fn jittered(duration: Duration) -> Duration {
    let [random] = crate::ids::random();
    let half = duration / 2;
    half + half.mul_f64(f64::from(random) / 255.0)
}

/// The pause before the next run of a hot entry: twice its cost, so that it takes at most a third of a place, and is
/// fresh soon after the last change.
pub(crate) fn conflict_delay(cost: Duration) -> Duration {
    cost.saturating_mul(2).clamp(Duration::from_millis(10), MAX_CONFLICT_DELAY)
}

/// The pause after a run that could not read everything: it doubles each time in a row, since the next run may fail the
/// same way.
pub(crate) fn taint_delay(cost: Duration, before: u32) -> Duration {
    conflict_delay(cost).saturating_mul(1 << before.min(10)).min(MAX_CONFLICT_DELAY)
}
