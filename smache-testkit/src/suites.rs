//! The one list of the cases; `suites/key_value.rs` has those of key-value stores.

mod key_value;

/// Runs all suites of stores and queues on the backends of a factory: its store and its queue, alone and joined.
///
/// The factory is an `async fn() -> BackendHarness`. `backend_suite!(factory, incarnation)` runs
/// [`incarnation_suite!`](crate::incarnation_suite) on both stores as well, and needs
/// [`with_new_incarnation`](crate::Harness::with_new_incarnation). A backend without one of the roles runs the suites of
/// the others one by one.
#[macro_export]
macro_rules! backend_suite {
    ($factory:path) => {
        mod backend_suite {
            use super::*;

            mod alone {
                use super::*;

                async fn __store() -> $crate::StoreHarness {
                    $factory().await.store()
                }

                async fn __queue() -> $crate::QueueHarness {
                    $factory().await.queue()
                }

                $crate::store_suite!(__store);
                $crate::queue_suite!(__queue);
            }

            mod joined {
                use super::*;

                async fn __store() -> $crate::StoreHarness {
                    $factory().await.joined().map(|both| both.store)
                }

                async fn __queue() -> $crate::QueueHarness {
                    $factory().await.joined().map(|both| both.queue)
                }

                async fn __both() -> $crate::JoinedHarness {
                    $factory().await.joined()
                }

                $crate::store_suite!(__store);
                $crate::queue_suite!(__queue);
                $crate::joined_suite!(__both);
            }
        }
    };
    ($factory:path, incarnation) => {
        $crate::backend_suite!($factory);

        mod backend_incarnation_suite {
            use super::*;

            mod alone {
                use super::*;

                async fn __store() -> $crate::StoreHarness {
                    $factory().await.store()
                }

                $crate::incarnation_suite!(__store);
            }

            mod joined {
                use super::*;

                async fn __store() -> $crate::StoreHarness {
                    $factory().await.joined().map(|both| both.store)
                }

                $crate::incarnation_suite!(__store);
            }
        }
    };
}

/// Runs every case of the contract of a [`CacheStore`](smache_core::CacheStore) on the stores of a factory.
///
/// The factory is an `async fn() -> StoreHarness`.
#[macro_export]
macro_rules! store_suite {
    ($factory:path) => {
        $crate::__suite! { store_suite, $factory,
            store::begin: [
                begin_is_exclusive_while_the_lease_holds,
                lapsed_lease_is_taken_over_and_the_zombie_is_refused,
                begin_needs_no_record,
                begin_keeps_the_value_readable,
                begin_starts_at_the_clock_of_the_last_change,
                begin_hints_at_an_invalidation_in_progress,
            ],
            store::changes: [
                changes_since_a_revision_are_named,
                changes_that_were_trimmed_are_named,
                version_older_than_what_is_remembered_conflicts,
                change_before_very_many_others_is_not_lost,
            ],
            store::commit: [
                lapsed_lease_that_nobody_took_still_commits,
                change_during_the_computation_is_not_lost,
                dynamic_dependency_unknown_when_it_changed,
                conflict_is_as_stale_as_its_most_direct_dependency,
                epoch_taken_at_begin_is_compared_at_commit,
                edges_are_written_for_stale_values_too,
                overtaken_run_is_told_what_changed_and_goes_on,
                value_that_more_speaks_against_is_stored_as_stale,
                value_is_compared_and_stored_with_its_version,
                edges_no_longer_used_are_dropped,
                dependency_used_in_both_ways_is_direct,
                guard_is_compared_but_never_indexed,
                commit_on_another_incarnation_stores_nothing,
                tainted_value_is_never_fresh,
                sooner_end_counts,
                stale_since_is_the_first_change,
                ten_thousand_dependencies_fit_or_are_refused,
            ],
            store::ends: [
                abort_needs_the_token,
                failure_keeps_the_stored_value,
                failure_is_bounded,
                extend_needs_the_token,
            ],
            store::feed: [
                position_is_saved_with_the_invalidation,
                older_leader_is_fenced,
                one_leader_at_a_time,
                fence_grows_with_every_leader,
                step_renews_the_leadership,
            ],
            store::invalidate: [
                dependants_go_stale,
                staleness_follows_the_edge,
                stale_entry_is_invalidated_again,
                causes_are_bounded,
                named_entry_goes_stale,
                nothing_changes_nothing,
                entries_that_need_a_job_are_reported,
                many_dependants_go_stale_in_pages,
                attempt_that_is_given_up_ends_no_other,
            ],
            store::graph: [
                full_record_shows_what_an_entry_depends_on,
                dependants_are_listed,
            ],
            store::lookup: [
                lookup_answers_in_order,
                value_and_notes_are_kept_as_they_are,
                lookup_shows_stale_and_expired_entries,
                lookup_writes_nothing,
                readers_and_runs_have_one_clock,
                lookup_never_mixes_an_old_entry_with_a_new_validity,
            ],
            store::maintain: [
                expired_entries_leave_nothing,
                run_keeps_its_expired_entry,
                late_run_outlives_its_expired_entry,
                trim_spares_what_a_run_needs,
                run_that_lapsed_long_ago_is_reaped,
                old_epoch_entries_are_marked,
                every_new_epoch_is_followed_by_marks,
                epoch_that_begins_amid_the_marks_is_marked_too,
                stale_entries_are_listed,
            ],
            store::paging: [
                position_is_saved_with_the_last_step,
                change_under_way_is_a_conflict_until_it_is_done,
                unfinished_invalidation_is_redone,
                later_attempt_of_a_feed_ends_the_earlier_ones,
                redo_ends_no_later_attempt,
                leader_replaced_in_its_walk_saves_nothing,
                many_changes_and_entries_are_one_change,
            ],
            store::programs: [
                registered_programs_are_listed,
                newest_lease_of_a_program_counts,
                living_program_is_not_removed,
                programs_that_register_at_once_are_all_there,
            ],
            store::races: [
                one_of_many_runs_begins,
                one_of_many_takes_a_lapsed_lease,
                revision_counts_every_invalidation,
                fresh_value_reflects_every_acknowledged_change,
                first_commit_races_with_the_first_change,
                maintenance_never_removes_an_edge_of_a_new_entry,
                removal_races_with_commits,
                dropped_steps_happen_as_a_whole,
            ],
            store::removal: [
                removed_entry_leaves_nothing,
                removed_entry_is_not_resurrected,
                run_removes_its_own_entry_only,
                run_of_before_a_removal_stays_lost,
                edge_without_entry_is_dropped,
                parent_is_found_though_its_child_is_gone,
            ],
            store::retries: [
                begin_again_is_the_same_run,
                commit_again_is_lost_and_the_value_is_there,
                commit_of_another_begin_is_lost,
                everything_else_again_is_harmless,
            ],
            store::validity: [
                new_epoch_makes_everything_stale,
                attach_is_idempotent,
                attaching_at_once_starts_one_epoch,
                restart_makes_the_source_stale,
                restarted_source_confirms_after_it_has_caught_up,
                restart_raises_the_revision,
                attached_sources_are_confirmed_while_they_are_kept,
                newest_step_overwrites_the_validity,
                late_step_confirms_no_longer_than_its_deadline,
                position_that_is_not_taken_confirms_nothing,
                valid_until_alone_does_not_confirm,
                source_changes_hands_with_a_new_epoch,
            ],
            store::waits: [
                waits_lead_on_from_the_child,
                wait_needs_the_token,
                wait_ends_with_either_run,
                wait_that_is_over_is_not_answered,
                waits_are_bounded,
                begin_again_keeps_the_waits,
                notes_end_with_their_run,
                waits_change_nothing_else,
            ],
        }
    };
}

/// Runs every case of the contract of a [`JobQueue`](smache_core::JobQueue) on the queues of a factory.
///
/// The factory is an `async fn() -> QueueHarness`.
#[macro_export]
macro_rules! queue_suite {
    ($factory:path) => {
        $crate::__suite! { queue_suite, $factory,
            queue::delivery: [
                no_job_is_delivered_twice_while_reserved,
                lapsed_reservation_is_delivered_again,
                reserve_again_gives_the_same_jobs,
                lapsed_job_goes_back_to_its_lane,
                lapsed_reservation_that_nobody_took_still_counts,
                urgent_job_comes_first,
                lanes_are_reserved_apart,
                next_due_is_reported,
                extend_needs_the_token,
                jobs_of_one_reservation_are_kept_and_ended_one_by_one,
                enqueue_wakes_a_waiting_worker,
                delayed_job_wakes_a_waiting_worker,
                incarnation_stays_while_jobs_come_and_go,
                wait_is_bounded,
                jobs_are_listed,
                unknown_jobs_are_lost,
            ],
            queue::endings: [
                settle_needs_the_token,
                errors_are_counted_until_done,
                settled_job_waits_as_long_as_its_worker_says,
                dead_letter_keeps_its_error,
                error_is_bounded,
                running_job_is_not_discarded,
            ],
            queue::found: [
                found_job_says_where_it_is,
                found_job_says_how_it_went,
                found_job_runs_before_it_runs_once_more,
                job_that_is_over_is_not_found,
            ],
            queue::merging: [
                queued_job_is_merged,
                merged_job_is_as_urgent_as_its_most_urgent_request,
                running_job_runs_once_more,
                once_more_is_as_it_was_requested,
                request_before_a_crash_is_kept,
                dead_letter_is_revived_only_on_request,
                safety_net_changes_nothing_where_a_job_is,
                delayed_job_waits,
            ],
            queue::races: [
                every_job_is_done_once,
                one_of_many_requests_queues_the_job,
                last_request_is_always_followed_by_a_run,
                dropped_steps_lose_no_job,
            ],
        }
    };
}

/// Runs the cases of a store and a queue of one backend that share their steps.
///
/// The factory is an `async fn() -> JoinedHarness`. Run [`store_suite!`] and [`queue_suite!`] on the two as well.
#[macro_export]
macro_rules! joined_suite {
    ($factory:path) => {
        $crate::__suite! { joined_suite, $factory,
            joined::jobs: [
                every_stale_entry_has_a_job,
                job_follows_the_staleness,
                job_follows_the_more_direct_of_two_changes,
                value_stored_as_stale_has_a_job_later,
                value_stored_as_stale_wakes_a_waiting_worker,
                lazy_entry_gets_no_job,
                fresh_commit_takes_back_the_job,
                removed_entry_takes_its_job_along,
                change_revives_a_dead_letter,
                job_of_the_store_is_a_job_like_others,
                many_dependants_have_jobs,
            ],
            joined::running: [
                change_while_the_job_runs_is_not_lost,
                aborted_stale_entry_has_a_job,
                run_that_failed_for_the_last_time_stays_a_dead_letter,
                workers_make_everything_fresh,
            ],
            joined::maintenance: [
                lapsed_run_gets_a_job,
                lapsed_run_revives_no_dead_letter,
                old_epoch_entries_get_jobs,
                every_new_epoch_is_followed_by_jobs,
                redone_invalidation_writes_jobs,
                aborted_entry_of_an_old_epoch_has_a_job,
            ],
        }
    };
}

/// Compares a backend with the pure protocol, step by step: see [`comparison`](crate::comparison).
///
/// The factory is an `async fn() -> BackendHarness`. A role that the backend answers `ErrorKind::Unsupported` for is
/// left out.
#[macro_export]
macro_rules! comparison_suite {
    ($factory:path) => {
        $crate::__suite! { comparison_suite, $factory,
            comparison::cases: [
                store_and_queue_agree_with_the_protocol,
                store_alone_agrees_with_the_protocol,
                queue_alone_agrees_with_the_protocol,
            ],
        }
    };
}

/// Runs the cases of a store that becomes another incarnation.
///
/// The factory is an `async fn() -> StoreHarness` that uses
/// [`with_new_incarnation`](crate::Harness::with_new_incarnation).
#[macro_export]
macro_rules! incarnation_suite {
    ($factory:path) => {
        $crate::__suite! { incarnation_suite, $factory,
            incarnation::change: [
                attach_on_a_new_incarnation_starts_an_epoch,
                entries_of_the_incarnation_before_are_marked,
                new_incarnation_is_named,
                run_of_the_incarnation_before_stores_nothing,
                feed_confirms_again_after_it_has_caught_up,
            ],
        }
    };
}

/// Runs the cases of a store that removes values above its capacity.
///
/// The factory is an `async fn() -> StoreHarness` that uses [`with_capacity`](crate::Harness::with_capacity).
#[macro_export]
macro_rules! eviction_suite {
    ($factory:path) => {
        $crate::__suite! { eviction_suite, $factory,
            eviction::values: [
                value_stored_least_recently_goes_first,
                value_that_went_leaves_nothing,
                changes_outlive_values,
                announced_change_outlives_values,
            ],
        }
    };
}

/// Runs every case of the contracts of a [`DataSource`](smache_core::DataSource) and its
/// [`ChangeFeed`](smache_core::ChangeFeed) on the sources of a factory.
///
/// The factory is an `async fn() -> SourceHarness`.
#[macro_export]
macro_rules! source_suite {
    ($factory:path) => {
        $crate::attached_source_suite!($factory);
        $crate::__suite! { feed_suite, $factory,
            source::batches: [
                backlog_larger_than_a_batch_is_delivered,
                positions_sort_like_the_history,
                batch_has_every_write_before_its_instant,
            ],
            source::feed: [
                load_sees_delivered_changes,
                feed_resumes_after_a_position,
                lost_history_is_an_error,
                changes_say_what_happened,
                streams_reach_the_present,
                quiet_feed_answers_an_empty_batch,
                no_change_of_many_writers_is_lost,
                readers_do_not_take_from_each_other,
                head_is_reached,
            ],
        }
    };
}

/// Runs the cases of a [`DataSource`](smache_core::DataSource) that has no feed.
///
/// The factory is an `async fn() -> SourceHarness`.
#[macro_export]
macro_rules! attached_source_suite {
    ($factory:path) => {
        $crate::__suite! { source_suite, $factory,
            source::load: [
                load_answers_in_order,
                load_sees_acknowledged_changes,
                list_has_every_entity,
                find_answers_what_matches,
                find_sees_acknowledged_changes,
                many_entities_are_loaded,
            ],
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __suite {
    ($suite:ident, $factory:path, $($area:ident::$file:ident: [$($case:ident),* $(,)?]),* $(,)?) => {
        mod $suite {
            use super::*;

            $($(
                #[::core::prelude::v1::test]
                fn $case() {
                    $crate::run_case(::core::stringify!($case), $factory, $crate::$area::$file::$case);
                }
            )*)*
        }
    };
}
