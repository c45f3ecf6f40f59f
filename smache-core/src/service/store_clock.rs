//! The store's time, estimated by a process between two answers.

use std::time::Instant;

use crate::Timestamp;

/// The store's clock at its last answer. The answer came at that instant, so the clock shows no less.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StoreClock {
    told: Timestamp,
    at: Instant,
}

impl StoreClock {
    /// The time of an answer that has just come.
    pub(crate) fn told(told: Timestamp) -> Self {
        Self { told, at: Instant::now() }
    }

    /// The time of the clock at an instant, or a little less.
    pub(crate) fn at(self, instant: Instant) -> Timestamp {
        match instant.checked_duration_since(self.at) {
            Some(later) => self.told.after(later),
            None => self.told.before(self.at.duration_since(instant)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_stores_time_of_an_instant_is_never_later_than_it_was() {
        let at = Instant::now() + Duration::from_secs(60);
        let clock = StoreClock { told: Timestamp::from_millis(10_000), at };
        assert_eq!(clock.at(at), Timestamp::from_millis(10_000));
        assert_eq!(clock.at(at + Duration::from_micros(2_900)), Timestamp::from_millis(10_002));
        assert_eq!(clock.at(at - Duration::from_micros(2_100)), Timestamp::from_millis(9_997));
        assert_eq!(clock.at(at - Duration::from_secs(30)), Timestamp::from_millis(0));
    }
}
