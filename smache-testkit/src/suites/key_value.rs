//! The cases of key-value stores.

/// Runs every case of the contract of a [`KeyValue`](smache_kv::KeyValue) and its
/// [`Transaction`](smache_kv::Transaction) on the stores of a factory.
///
/// The factory is an `async fn() -> KeyValueHarness`. Run [`store_suite!`](crate::store_suite),
/// [`queue_suite!`](crate::queue_suite) and [`joined_suite!`](crate::joined_suite) on
/// the `KvBackend` of the store as well.
#[macro_export]
macro_rules! key_value_suite {
    ($factory:path) => {
        $crate::__suite! { key_value_suite, $factory,
            key_value::begins: [
                first_keys_are_answered_in_order,
                first_key_that_changes_is_a_conflict,
                first_keys_are_of_the_state_of_the_rest,
            ],
            key_value::commits: [
                batch_is_seen_as_a_whole,
                commit_is_seen_by_every_later_transaction,
                large_batch_is_one_commit,
                batches_up_to_the_limits_are_taken,
                dropped_transaction_leaves_nothing,
                dropped_begin_leaves_no_lock,
                reader_gets_its_turn,
                dropped_commit_happens_as_a_whole,
            ],
            key_value::isolation: [
                changed_key_is_a_conflict,
                new_key_is_a_conflict,
                removed_key_is_a_conflict,
                new_key_in_a_scanned_range_is_a_conflict,
                key_removed_from_a_scanned_range_is_a_conflict,
                value_changed_in_a_scanned_range_is_a_conflict,
                new_key_before_the_limit_of_a_scan_is_a_conflict,
                crossed_reads_and_writes_are_a_conflict,
                key_and_range_crossed_are_a_conflict,
                batches_without_reads_come_one_after_the_other,
                transaction_reads_one_state,
            ],
            key_value::races: [
                counters_lose_nothing,
                one_of_many_finds_the_range_empty,
                sum_of_moving_parts_stays,
                random_batches_agree_with_a_map,
            ],
            key_value::ranges: [
                range_has_its_start_and_not_its_end,
                range_is_in_the_order_of_the_bytes,
                range_is_as_long_as_its_limit,
                range_is_read_page_by_page,
            ],
            key_value::reads: [
                get_answers_in_order,
                keys_and_values_are_kept_as_they_are,
                last_write_of_a_key_counts,
            ],
            key_value::time: [
                readers_and_writers_have_one_clock,
                state_is_as_new_as_its_time,
                incarnation_stays_while_nothing_is_lost,
            ],
        }
    };
}

/// Runs the cases of a [`KeyValue`](smache_kv::KeyValue) that becomes another incarnation.
///
/// The factory is an `async fn() -> KeyValueHarness` that uses
/// [`with_new_incarnation`](crate::Harness::with_new_incarnation).
#[macro_export]
macro_rules! key_value_incarnation_suite {
    ($factory:path) => {
        $crate::__suite! { key_value_incarnation_suite, $factory,
            key_value::lives: [
                later_transactions_name_the_new_incarnation,
                transaction_of_the_incarnation_before_commits_nothing,
            ],
        }
    };
}
