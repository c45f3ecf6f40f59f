//! The published cases find a store that breaks a promise: each way to break one, and a case that fails.

use std::{future::Future, sync::Arc};

use smache_core::{Backend, ManualClock};
use smache_kv::KvBackend;
use smache_testkit::{
    Harness, KeyValueHarness, StoreHarness,
    key_value::{begins::*, commits::*, isolation::*, lives::*, ranges::*, reads::*, time::*},
    random_namespace, store,
    yielding::Yielding,
};

use crate::mvcc::{Broken, Mvcc};

fn harness<R>(broken: Broken, role: impl FnOnce(Mvcc) -> R) -> Harness<R> {
    let clock = ManualClock::default();
    let store = Mvcc::broken(clock.clone(), broken);
    let replaced = store.clone();
    Harness::new(role(store))
        .with_advance(move |by| {
            clock.advance(by);
            std::future::ready(())
        })
        .with_new_incarnation(move || {
            replaced.become_another();
            std::future::ready(())
        })
}

fn key_value(broken: Broken) -> KeyValueHarness {
    harness(broken, |store| Arc::new(store) as _)
}

/// Of a backend on the store whose tasks take turns at every call.
fn a_store(broken: Broken) -> StoreHarness {
    harness(broken, |store| KvBackend::new(Yielding::new(store)).store(&random_namespace()).expect("it has stores"))
}

async fn fails(case: impl Future<Output = ()> + Send + 'static) -> bool {
    tokio::spawn(case).await.is_err()
}

/// One test for each promise, named after the case that finds it broken.
macro_rules! killed {
    ($($test:ident: $broken:ident on $harness:ident by $case:path;)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                assert!(fails($case($harness(Broken::$broken))).await, "{:?} passes", Broken::$broken);
            }
        )*
    };
}

killed! {
    unchecked_ranges: RangesUnchecked on key_value by new_key_in_a_scanned_range_is_a_conflict;
    unchecked_ranges_of_an_entry: RangesUnchecked on key_value by key_and_range_crossed_are_a_conflict;
    unchecked_new_keys: NewKeysUnchecked on key_value by new_key_in_a_scanned_range_is_a_conflict;
    unchecked_gaps: NewKeysUnchecked on key_value by new_key_before_the_limit_of_a_scan_is_a_conflict;
    unchecked_ends: EndsUnchecked on key_value by new_key_before_the_limit_of_a_scan_is_a_conflict;
    unchecked_removals: RemovalsUnchecked on key_value by key_removed_from_a_scanned_range_is_a_conflict;
    unchecked_values: RangesUnchecked on key_value by value_changed_in_a_scanned_range_is_a_conflict;
    unchecked_absent_keys: AbsentUnchecked on key_value by new_key_is_a_conflict;
    unchecked_reads: ReadsUnchecked on key_value by crossed_reads_and_writes_are_a_conflict;
    unchecked_reads_of_a_removed_key: ReadsUnchecked on key_value by removed_key_is_a_conflict;
    reads_of_the_present: ReadsOfThePresent on key_value by transaction_reads_one_state;
    included_end: EndIncluded on key_value by range_has_its_start_and_not_its_end;
    excluded_start: StartExcluded on key_value by range_has_its_start_and_not_its_end;
    short_scans: ShortScans on key_value by range_is_as_long_as_its_limit;
    signed_order: SignedOrder on key_value by range_is_in_the_order_of_the_bytes;
    duplicates_answered_once: DuplicatesAnsweredOnce on key_value by get_answers_in_order;
    keys_cut_off: KeysCutOff on key_value by keys_and_values_are_kept_as_they_are;
    empty_values_that_are_absent: EmptyIsAbsent on key_value by keys_and_values_are_kept_as_they_are;
    values_cut_off: ValuesCutOff on key_value by keys_and_values_are_kept_as_they_are;
    ignored_removals: RemovalsIgnored on key_value by last_write_of_a_key_counts;
    half_batches: HalfBatches on key_value by batch_is_seen_as_a_whole;
    half_batches_of_dropped_commits: HalfBatches on key_value by dropped_commit_happens_as_a_whole;
    late_commits: CommitsLate on key_value by commit_is_seen_by_every_later_transaction;
    commits_in_another_life: CommitsInAnotherLife on key_value by transaction_of_the_incarnation_before_commits_nothing;
    one_life: OneLife on key_value by later_transactions_name_the_new_incarnation;
    readers_ahead: ReadersAhead on key_value by readers_and_writers_have_one_clock;
    readers_ahead_of_the_state: ReadersAhead on key_value by state_is_as_new_as_its_time;
    time_after_state: TimeAfterState on key_value by state_is_as_new_as_its_time;
    first_keys_unchecked: FirstKeysApart on key_value by first_key_that_changes_is_a_conflict;
    first_keys_of_an_earlier_state: FirstKeysEarlier on key_value by first_keys_are_of_the_state_of_the_rest;
    later_keys_of_the_present: ReadsOfThePresent on key_value by first_keys_are_of_the_state_of_the_rest;
    first_keys_in_another_order: FirstKeysSorted on key_value by first_keys_are_answered_in_order;
    large_batches_refused: LargeBatchesRefused on key_value by batches_up_to_the_limits_are_taken;

    unchecked_ranges_of_a_store: RangesUnchecked on a_store by store::races::first_commit_races_with_the_first_change;
    readers_ahead_in_a_store: ReadersAhead on a_store by store::lookup::readers_and_runs_have_one_clock;
}
