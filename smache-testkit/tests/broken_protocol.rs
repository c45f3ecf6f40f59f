//! The published cases find a protocol without one of its mechanisms: each of them, and a case that fails on the memory
//! backend, which runs the functions of the protocol for all its steps.
//!
//! `MarkIgnored`, `NoMarks` and `EveryMarkWithdrawn` are not here: memory has no marks. `scripts/mutants` has them, on the
//! backends that have marks.

use std::{future::Future, sync::Arc};

use smache_core::{
    ManualClock,
    protocol::{Mutant, with_mutant},
};
use smache_memory::{Loss, Memory};
use smache_testkit::{
    BackendHarness, JoinedHarness, QueueHarness, StoreHarness, incarnation::change::*, joined::jobs::*,
    queue::delivery::*, queue::endings::*, queue::merging::*, store::begin::*, store::changes::*, store::commit::*,
    store::feed::*, store::invalidate::*, store::maintain::*, store::validity::*,
};

fn backend() -> BackendHarness {
    let clock = ManualClock::default();
    let memory = Memory::builder().clock(Arc::new(clock.clone())).build();
    BackendHarness::of(memory.clone()).with_clock(clock).with_new_incarnation(move || {
        memory.simulate_restart(Loss::Nothing);
        std::future::ready(())
    })
}

fn store() -> StoreHarness {
    backend().store()
}

fn queue() -> QueueHarness {
    backend().queue()
}

fn joined() -> JoinedHarness {
    backend().joined()
}

fn fails<C>(case: impl FnOnce() -> C + Send + 'static) -> bool
where
    C: Future<Output = ()>,
{
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.expect("a runtime").block_on(case());
    })
    .join()
    .is_err()
}

/// One test for each mechanism, named after the case that finds it missing.
macro_rules! killed {
    ($($mutant:ident: $case:ident on $role:ident;)*) => {
        $(
            #[test]
            #[expect(non_snake_case, reason = "named after the mutant")]
            fn $mutant() {
                assert!(!with_mutant(None, || fails(|| $case($role()))), "{} fails without a mutant", stringify!($case));
                let killed = with_mutant(Some(Mutant::$mutant), || fails(|| $case($role())));
                assert!(killed, "{:?} passes {}", Mutant::$mutant, stringify!($case));
            }
        )*

        #[test]
        fn every_mechanism_is_in_the_list() {
            let listed = [$(Mutant::$mutant,)* Mutant::MarkIgnored, Mutant::NoMarks, Mutant::EveryMarkWithdrawn];
            for mutant in Mutant::ALL {
                assert!(listed.contains(mutant), "no case is named for {mutant:?}");
            }
        }
    };
}

killed! {
    BusyIgnored: begin_is_exclusive_while_the_lease_holds on store;
    StartTooLate: begin_starts_at_the_clock_of_the_last_change on store;
    TokenIgnored: lapsed_lease_is_taken_over_and_the_zombie_is_refused on store;
    LostRunAccepted: lapsed_lease_is_taken_over_and_the_zombie_is_refused on store;
    CommitOnAnyIncarnation: commit_on_another_incarnation_stores_nothing on store;
    EpochsIgnored: epoch_taken_at_begin_is_compared_at_commit on store;
    TaintIgnored: tainted_value_is_never_fresh on store;
    LastChangeIgnored: change_during_the_computation_is_not_lost on store;
    LowWatermarkIgnored: changes_that_were_trimmed_are_named on store;
    DirectConflictIsMaybe: conflict_is_as_stale_as_its_most_direct_dependency on store;
    StaleWithoutJob: value_stored_as_stale_has_a_job_later on joined;
    NoEdges: dependants_go_stale on store;
    StaleWithoutEdges: edges_are_written_for_stale_values_too on store;
    StaleSkipped: stale_entry_is_invalidated_again on store;
    DirectIsMaybe: staleness_follows_the_edge on store;
    ChangeWithoutJob: every_stale_entry_has_a_job on joined;
    RevisionStays: change_during_the_computation_is_not_lost on store;
    TrimIgnoresRuns: trim_spares_what_a_run_needs on store;
    TrimIgnoresLapsed: trim_spares_what_a_run_needs on store;
    TrimWithoutWatermark: changes_that_were_trimmed_are_named on store;
    FenceIgnored: older_leader_is_fenced on store;
    StepOnAnyIncarnation: feed_confirms_again_after_it_has_caught_up on store;
    UntakenPositionConfirms: position_that_is_not_taken_confirms_nothing on store;
    HistoryIgnored: position_that_is_not_taken_confirms_nothing on store;
    FenceStays: fence_grows_with_every_leader on store;
    LaterValidityWins: newest_step_overwrites_the_validity on store;
    DeadlineIgnored: late_step_confirms_no_longer_than_its_deadline on store;
    RestartStaysConfirmed: restarted_source_confirms_after_it_has_caught_up on store;
    RestartKeepsEpoch: restart_makes_the_source_stale on store;
    AttachKeepsEpoch: attach_on_a_new_incarnation_starts_an_epoch on store;
    NoSweep: old_epoch_entries_are_marked on store;
    RunningJobMerges: running_job_runs_once_more on queue;
    LapsedJobForgotten: lapsed_reservation_is_delivered_again on queue;
    JobTokenIgnored: settle_needs_the_token on queue;
}
