//! The clocks of the stores that are open in this process. A transaction of the application comes on its own
//! connection, which knows only the file; its jobs are due by the time of the store in that file.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use smache_core::{Clock, Incarnation, SystemClock};

/// Each for as long as a program has it open; the last one that was opened comes last.
static CLOCKS: Mutex<Vec<(Incarnation, Weak<dyn Clock>)>> = Mutex::new(Vec::new());

/// A store was opened.
pub(super) fn note(store: Incarnation, clock: &Arc<dyn Clock>) {
    let mut clocks = CLOCKS.lock().unwrap_or_else(PoisonError::into_inner);
    clocks.retain(|(_, clock)| clock.strong_count() > 0);
    clocks.push((store, Arc::downgrade(clock)));
}

/// The clock of a store; this machine's where the store is open in other processes alone.
pub(super) fn clock_of(store: &Incarnation) -> Arc<dyn Clock> {
    let clocks = CLOCKS.lock().unwrap_or_else(PoisonError::into_inner);
    let mut known = clocks.iter().rev().filter(|(known, _)| known == store);
    known.find_map(|(_, clock)| clock.upgrade()).unwrap_or_else(|| Arc::new(SystemClock))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use smache_core::{ManualClock, Timestamp};

    use super::*;

    #[test]
    fn a_store_has_its_clock_until_it_is_closed() {
        let store = Incarnation::new("clocks/1");
        let one = ManualClock::default();
        let two = ManualClock::new(Timestamp::from_millis(5));
        let first: Arc<dyn Clock> = Arc::new(one.clone());
        let second: Arc<dyn Clock> = Arc::new(two);
        note(store.clone(), &first);
        note(Incarnation::new("clocks/2"), &second);
        one.advance(Duration::from_secs(1));
        assert_eq!(clock_of(&store).now(), one.now());
        note(store.clone(), &second);
        drop(second);
        assert_eq!(clock_of(&store).now(), one.now(), "another one is still open");
        drop(first);
        assert!(clock_of(&store).now() > one.now(), "the one of this machine");
    }
}
