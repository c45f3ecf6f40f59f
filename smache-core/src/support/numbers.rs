//! Numbers in a store that keeps signed ones of 64 bits.

use std::time::Duration;

use crate::Timestamp;

/// Later times and longer durations count as endless; the sum of several still is a number.
pub const LATEST: u64 = 1 << 60;

/// A number as such a store keeps it, at most [`LATEST`].
#[must_use]
pub fn number(number: u64) -> i64 {
    number.min(LATEST).cast_signed()
}

/// The milliseconds of a duration.
#[must_use]
pub fn millis(duration: Duration) -> i64 {
    number(u64::try_from(duration.as_millis()).unwrap_or(LATEST))
}

/// The milliseconds of a point in time.
#[must_use]
pub fn time(time: Timestamp) -> i64 {
    number(time.as_millis())
}

/// A stored number that is never negative; a damaged one counts as zero.
#[must_use]
pub fn count(stored: i64) -> u64 {
    u64::try_from(stored).unwrap_or(0)
}

/// The same for a number of 32 bits.
#[must_use]
pub fn few(stored: i64) -> u32 {
    u32::try_from(stored.max(0)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_endless_times_are_numbers() {
        let endless = millis(Duration::MAX);
        assert_eq!(endless, time(Timestamp::from_millis(u64::MAX)));
        assert!(endless.checked_add(endless).and_then(|sum| sum.checked_add(endless)).is_some());
        assert_eq!((count(-1), few(-1), few(i64::MAX)), (0, 0, u32::MAX));
    }
}
