use std::time::Duration;

use mongodb::bson::Timestamp;

use super::*;

fn at(time: u32) -> ClusterTime {
    Timestamp { time, increment: 1 }.into()
}

fn empty(asked: Instant, covers: Covers) -> Seen {
    Seen { asked, last_change: None, covers, unmoved: false }
}

fn changes(asked: Instant, last: u32) -> Seen {
    Seen { last_change: Some(at(last)), ..empty(asked, Covers::UpTo(at(last))) }
}

/// A start, and a way to name instants after it.
fn clock() -> impl Fn(u64) -> Instant {
    let start = Instant::now();
    move |seconds| start + Duration::from_secs(seconds)
}

#[test]
fn an_empty_reply_alone_proves_nothing() {
    let t = clock();
    let mut progress = Progress::default();
    progress.mark(t(1), at(50));
    // The server has read as far as 40, and found changes of other collections only.
    assert_eq!(progress.see(empty(t(1), Covers::UpTo(at(40)))), None);
    assert_eq!(progress.see(empty(t(2), Covers::UpTo(at(50)))), Some(t(1)));
}

#[test]
fn a_mongodb_that_repeats_its_token_is_believed_only_by_the_clock() {
    let t = clock();
    let mut progress = Progress::default();
    progress.mark(t(1), at(50));
    let stuck = Seen { unmoved: true, ..empty(t(1), Covers::UpTo(at(40))) };
    assert_eq!(progress.see(stuck), None);
}

#[test]
fn a_change_at_the_very_time_of_a_mark_may_be_one_of_several() {
    let t = clock();
    let mut progress = Progress::default();
    progress.mark(t(1), at(50));
    assert_eq!(progress.see(changes(t(1), 50)), None, "the rest of the transaction may be in the next reply");
    assert_eq!(progress.see(changes(t(2), 51)), Some(t(1)));
}

#[test]
fn under_load_the_last_mark_that_was_passed_counts() {
    let t = clock();
    let mut progress = Progress::default();
    for second in 1..=3 {
        progress.mark(t(second), at(10 * u32::try_from(second).expect("small")));
    }
    assert_eq!(progress.see(changes(t(4), 25)), Some(t(2)));
    assert_eq!(progress.see(changes(t(5), 29)), None, "nothing more is proven");
    assert_eq!(progress.see(changes(t(6), 31)), Some(t(3)));
}

#[test]
fn a_feed_that_falls_far_behind_keeps_its_oldest_marks() {
    let t = clock();
    let mut progress = Progress::default();
    let mut second = 0;
    while progress.wants_mark() {
        second += 1;
        progress.mark(t(second), at(u32::try_from(second).expect("small")));
    }
    assert!((10..1_000).contains(&second), "bounded: {second}");
    assert_eq!(progress.see(changes(t(1_001), 5)), Some(t(4)));
    assert!(progress.wants_mark());
    assert_eq!(progress.see(changes(t(1_002), 2_000)), Some(t(second)), "too old rather than too young");
}

#[test]
fn tokens_without_the_clock_prove_it_by_standing_still() {
    let t = clock();
    for covers in [Covers::Unknown, Covers::AtLeast(at(7))] {
        let mut progress = Progress::default();
        progress.mark(t(1), at(50));
        assert_eq!(progress.see(empty(t(2), covers)), None);
        assert_eq!(progress.see(Seen { unmoved: true, ..empty(t(3), covers) }), Some(t(3)));
    }
}
