//! The seam to a cache store: entries, their dependency edges, and the validity that confirms them.
//!
//! A store is a state machine with one atomic step per transition; `docs/protocol.md` of the repository has the steps.
//! Traits speak bytes and plain ids; types, codecs and the functions themselves live above.

mod attempt;
mod feed;
mod in_transaction;
mod program;
mod record;
mod request;
mod validity;

use std::{fmt::Debug, time::Duration};

use async_trait::async_trait;

pub use self::{
    attempt::InvalidationAttempt,
    feed::{FeedStep, Leadership, Position, Positions},
    in_transaction::{InTransactionOutcome, InvalidateInTransaction, WriterTransaction},
    program::{ProgramStep, Programs, RegisteredProgram, Registration},
    record::{Record, RunFailure, Staleness, StoreStats, StoredEntry},
    request::{
        Abort, Begin, BeginOutcome, Begun, ChangedSince, Commit, CommitOutcome, Dependants, FullRecord, Invalidated,
        Invalidation, JobWrites, Lookup, Maintained, OnConflict, Page, RecordWaits, Scanned, WaitingRun,
    },
    validity::{Epochs, Freshness, SourceValidity, Validity},
};
use crate::{Dependency, EntryId, Epoch, Examination, FeedId, Result, SourceId, Token};

/// For how long a source is confirmed when it is attached, unless [`FeedStore::keep_attached`] says more.
pub const ATTACHED_VALID_FOR: Duration = Duration::from_secs(10);

/// A cache store: the sum of four roles, which every type that has them all is.
///
/// Every method is one atomic step unless it says otherwise: no other caller observes half of it. `now` is always the
/// store's own clock. A store never interprets `value`, `meta` and `call`.
///
/// # Contract
/// The bullets of each method name the case of `smache-testkit` that checks them.
///
/// # Errors
/// Every method: [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) when the store cannot be reached,
/// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) when its own bookkeeping cannot be read.
///
/// # Cancel safety
/// Every method may be dropped at any await point: the step then happened or did not happen as a whole. All steps are
/// idempotent, so the caller may repeat them.
pub trait CacheStore: EntryStore + InvalidationStore + FeedStore + InspectStore {}

impl<S> CacheStore for S where S: EntryStore + InvalidationStore + FeedStore + InspectStore + ?Sized {}

/// The entries: look-ups, and the runs that compute them.
///
/// The steps B, C, A, X and W of the [protocol](crate::protocol).
#[async_trait]
pub trait EntryStore: Debug + Send + Sync + 'static {
    /// Whether [`invalidate`](InvalidationStore::invalidate), [`commit`](Self::commit), [`abort`](Self::abort) and
    /// [`maintain`](InvalidationStore::maintain) write the jobs themselves, in the same step, or report the entries
    /// that need one.
    fn job_writes(&self) -> JobWrites;

    /// Reads entries with their validity. One round trip, no write.
    ///
    /// # Contract
    /// - MUST answer one element per id, in order, `None` where there is no record `lookup_answers_in_order`
    /// - MUST take time, validity and entries so that a validity is never newer than an invalidation that an entry
    ///   misses `lookup_never_mixes_an_old_entry_with_a_new_validity`
    /// - MUST NOT write, and MUST NOT hide stale or expired entries `lookup_shows_stale_and_expired_entries`
    async fn lookup(&self, ids: &[EntryId]) -> Result<Lookup>;

    /// The whole record of an entry with its validity, for a run that reads it as a nested call. One round trip.
    ///
    /// # Contract
    /// - MUST give the answer of [`lookup`](Self::lookup) of the same moment, and the rest of the record
    ///   `full_record_shows_what_an_entry_depends_on`
    async fn read_record(&self, id: &EntryId) -> Result<FullRecord>;

    /// Starts a computation: takes the entry's lease under a new token, and reads the revision *before* any data is
    /// read.
    ///
    /// # Contract
    /// - MUST refuse with `Busy` while another run's lease has not lapsed `begin_is_exclusive_while_the_lease_holds`
    /// - MUST take over a lapsed lease; the earlier token is lost then
    ///   `lapsed_lease_is_taken_over_and_the_zombie_is_refused`
    /// - MUST work for an entry without a record `begin_needs_no_record`
    /// - MUST NOT change the stored value `begin_keeps_the_value_readable`
    /// - MUST say whether an invalidation of one of the recorded dependencies is under way
    ///   `begin_hints_at_an_invalidation_in_progress` (a store whose invalidations are one step never has one)
    async fn begin(&self, begin: Begin) -> Result<BeginOutcome>;

    /// Stores a value, validated against every change since [`begin`](Self::begin).
    ///
    /// # Contract
    /// - MUST store nothing without the token of the present run
    ///   `lapsed_lease_is_taken_over_and_the_zombie_is_refused`, `removed_entry_is_not_resurrected`
    /// - MUST accept a lapsed lease that no other run has taken `lapsed_lease_that_nobody_took_still_commits`
    /// - MUST store as stale, with a job, when a used dependency was invalidated since the revision of begin
    ///   `change_during_the_computation_is_not_lost`, `dynamic_dependency_unknown_when_it_changed`
    /// - MUST compare with [`Commit::version`], which is not before that revision, and store the value under it
    ///   `value_is_compared_and_stored_with_its_version`
    /// - MUST take a dependency for changed while an invalidation of it is under way, and after the death of its author
    ///   until maintenance has done it `change_under_way_is_a_conflict_until_it_is_done`
    /// - MUST take every dependency for changed where it may have forgotten changes after that version
    ///   `version_older_than_what_is_remembered_conflicts`
    /// - MUST change nothing and let the run continue where [`OnConflict::Report`] asks for it and changes of few
    ///   dependencies are the only objection to the value: it names all of them, with the revision
    ///   `overtaken_run_is_told_what_changed_and_goes_on`, `value_that_more_speaks_against_is_stored_as_stale`
    /// - MUST compare the epochs of begin with the present ones `epoch_taken_at_begin_is_compared_at_commit`
    /// - MUST write the edges also of a stale value, and drop edges no longer used
    ///   `edges_are_written_for_stale_values_too`, `edges_no_longer_used_are_dropped`
    /// - MUST store nothing on another incarnation than begin's `commit_on_another_incarnation_stores_nothing`
    /// - MUST take back the job of a value that it stores fresh `fresh_commit_takes_back_the_job`
    /// - MUST store a value with 10,000 dependencies, or change nothing and refuse it with
    ///   [`ErrorKind::TooLarge`](crate::ErrorKind::TooLarge) `ten_thousand_dependencies_fit_or_are_refused`
    async fn commit(&self, commit: Commit) -> Result<CommitOutcome>;

    /// Which of some dependencies were invalidated after a revision, are being invalidated, or may have been: the
    /// conflicts that a [`commit`](Self::commit) with that version would find. A long run asks, to end early.
    ///
    /// # Contract
    /// - MUST name every one that was invalidated after the revision of a run that goes on
    ///   `changes_since_a_revision_are_named`
    /// - MUST name all where it may have forgotten some `changes_that_were_trimmed_are_named`
    /// - MUST answer a revision that is not after the first change that is not named
    ///   `changes_since_a_revision_are_named`
    /// - MUST NOT write `changes_since_a_revision_are_named`
    async fn changed_since(&self, revision: u64, dependencies: &[Dependency]) -> Result<ChangedSince>;

    /// Gives a run up: its lease ends, the stored value stays, and the failure (if any) is recorded on the entry.
    ///
    /// # Contract
    /// - MUST do nothing without the token; says whether it was held `abort_needs_the_token`
    /// - MUST keep the value `failure_keeps_the_stored_value`
    /// - MUST leave a stale entry with a job `aborted_stale_entry_has_a_job`
    async fn abort(&self, abort: Abort) -> Result<bool>;

    /// Extends the leases of runs, from now. Says for each whether the token still holds it.
    ///
    /// # Contract
    /// - MUST NOT extend a lease under another token `extend_needs_the_token`
    async fn extend(&self, runs: &[(EntryId, Token)], lease: Duration) -> Result<Vec<bool>>;

    /// Notes that runs wait for the runs of other entries. Returns the waits that lead on from the run of
    /// [`RecordWaits::child`]: the runs that it waits for, the runs that those wait for, and so on, as pairs of the
    /// waiting entry and the awaited one. A run that finds its own entry in the answer waits for itself. Only a run
    /// that has waited for a while asks.
    ///
    /// A note belongs to the waiting run and to the child's run of that moment. It counts until either of the two runs
    /// or its lease ends.
    ///
    /// # Contract
    /// - MUST answer the waits that lead on from the child's run, each once, with those made in the same step
    ///   `waits_lead_on_from_the_child`
    /// - MUST NOT note a wait under another token, nor one for an entry without a run `wait_needs_the_token`
    /// - MUST NOT answer a wait when one of its two runs has ended, was taken over or removed
    ///   `wait_ends_with_either_run`
    /// - MUST NOT answer a wait that was ended or not made again in time `wait_that_is_over_is_not_answered`
    /// - MUST keep the 64 newest notes of a run, and answer those of the 64 nearest runs that wait; MAY leave out the
    ///   rest `waits_are_bounded`
    async fn record_waits(&self, wait: RecordWaits) -> Result<Vec<(EntryId, EntryId)>>;

    /// Removes an entry with its edges, run and job; with a token only if that run is the present one. Says whether it
    /// removed something.
    ///
    /// # Contract
    /// - MUST leave nothing of the entry `removed_entry_leaves_nothing`
    /// - MUST make the commit of a present run fail `removed_entry_is_not_resurrected`
    async fn remove(&self, id: &EntryId, token: Option<Token>) -> Result<bool>;
}

/// The changes: what makes entries stale, and the maintenance that finishes what a crash left.
///
/// The steps I and M of the [protocol](crate::protocol).
#[async_trait]
pub trait InvalidationStore: Debug + Send + Sync + 'static {
    /// Marks every dependant of a change stale, and raises the revision. When it returns, no reader gets an older
    /// value as `Fresh` any more.
    ///
    /// It may take several steps when there are many dependants; the changes are then announced before the first and
    /// the revision grows after the last, so that a computation that runs meanwhile cannot commit as fresh.
    ///
    /// # Contract
    /// - MUST mark all dependants, direct ones as stale `dependants_go_stale`, `staleness_follows_the_edge`
    /// - MUST NOT skip an entry that is stale already `stale_entry_is_invalidated_again`
    /// - MUST remember the revision of a dependency that no entry has yet `dynamic_dependency_unknown_when_it_changed`
    /// - MUST give every stale entry a job unless it refreshes on read `every_stale_entry_has_a_job`,
    ///   `lazy_entry_gets_no_job`
    /// - MUST save the positions with the last step and not before `position_is_saved_with_the_invalidation`,
    ///   `position_is_saved_with_the_last_step`
    /// - MUST NOT confirm a source whose position it does not take, because the saved one is of another history or a
    ///   later one of the same `position_that_is_not_taken_confirms_nothing`
    /// - MUST let the newest step of the leader overwrite until when they are valid, at most until its deadline
    ///   `newest_step_overwrites_the_validity`, `late_step_confirms_no_longer_than_its_deadline`
    /// - MUST refuse an older fence with [`ErrorKind::Fenced`](crate::ErrorKind::Fenced), in the middle of several
    ///   steps too `older_leader_is_fenced`, `leader_replaced_in_its_walk_saves_nothing`
    /// - MUST drop edges whose entry is gone `edge_without_entry_is_dropped`
    /// - MUST answer for 10,000 dependants, and for a thousand changes and entries
    ///   `many_dependants_go_stale_in_pages`, `many_changes_and_entries_are_one_change`
    /// - MUST keep the marks of one [`InvalidationAttempt`] until that attempt, a later one of the same feed or a whole
    ///   walk of maintenance comes to its end, even if other attempts are given up, redone or in the middle of their
    ///   walk `attempt_that_is_given_up_ends_no_other`
    /// - MUST end, with the last step of a feed, the marks of earlier attempts of that feed on the same dependencies
    ///   `later_attempt_of_a_feed_ends_the_earlier_ones`
    async fn invalidate(&self, invalidation: Invalidation) -> Result<Invalidated>;

    /// Makes every entry stale in one step, by a new epoch. [`maintain`](Self::maintain) then marks the entries, page
    /// by page.
    ///
    /// # Contract
    /// - MUST make every stored value stale `new_epoch_makes_everything_stale`
    async fn new_epoch(&self) -> Result<Epoch>;

    /// One bounded piece of maintenance: removes expired entries with their edges, reaps lapsed runs, trims the
    /// revisions of old invalidations, redoes invalidations whose author died, and marks the entries of old epochs
    /// stale. Idempotent; any number of processes may do it.
    ///
    /// # Contract
    /// - MUST remove expired entries and everything of theirs `expired_entries_leave_nothing`
    /// - MUST give a stale entry whose run lapsed a job `lapsed_run_gets_a_job`
    /// - MUST keep the revisions that a present run compares with `trim_spares_what_a_run_needs`
    /// - MUST mark entries of old epochs and give them jobs `old_epoch_entries_get_jobs`
    /// - MUST redo an unfinished invalidation as a whole when its deadline is past, and end no mark that it has not
    ///   read `unfinished_invalidation_is_redone`, `redo_ends_no_later_attempt`
    async fn maintain(&self, limit: usize) -> Result<Maintained>;
}

/// What confirms the entries: the sources, their positions, the leaders of their feeds; and which programs are alive.
///
/// The steps T, L, R and F of the [protocol](crate::protocol).
#[async_trait]
pub trait FeedStore: Debug + Send + Sync + 'static {
    /// Lets the store confirm sources that only the application itself changes. Called by every process at start.
    ///
    /// # Contract
    /// - MUST start a new epoch for a source that another incarnation confirmed, since invalidations that were
    ///   acknowledged there may be lost `attach_on_a_new_incarnation_starts_an_epoch`
    /// - MUST keep the epoch otherwise `attach_is_idempotent`
    /// - MUST confirm the sources from now on, for [`ATTACHED_VALID_FOR`] at least `attach_is_idempotent`
    async fn attach(&self, sources: &[SourceId]) -> Result<()>;

    /// Confirms all attached sources of the namespace for so long from now, whichever program attached them. The
    /// process that does the maintenance calls it every second. It bounds how long a reader on a superseded store (a
    /// demoted primary, the cut-off side of a partition, a file that was replaced) still gets `Fresh`.
    ///
    /// # Contract
    /// - MUST NOT let an attached source confirm longer `attached_sources_are_confirmed_while_they_are_kept` (a store
    ///   that no other process can reach cannot be superseded, and needs no end)
    /// - MUST NOT mark a source as caught up that another incarnation confirmed
    ///   `attach_on_a_new_incarnation_starts_an_epoch`
    async fn keep_attached(&self, valid_for: Duration) -> Result<()>;

    /// Takes or keeps the leadership of a feed.
    ///
    /// # Contract
    /// - MUST have one leader at a time, by server time `one_leader_at_a_time`
    /// - MUST give every new leader a higher fence, and the same one on renewal `fence_grows_with_every_leader`
    async fn lead(&self, feed: &FeedId, holder: Token, lease: Duration) -> Result<Leadership>;

    /// Gives the leadership up at once, if it is still held under that fence.
    async fn resign(&self, feed: &FeedId, fence: u64) -> Result<()>;

    /// The saved positions of sources, in order, with the incarnation that they were read on.
    async fn positions(&self, sources: &[SourceId]) -> Result<Positions>;

    /// Lost history, or the first start: marks the sources as behind, starts a new epoch for them and saves the
    /// positions. The caller took the positions *before*.
    ///
    /// # Contract
    /// - MUST make every value that depends on the sources stale, and only those `restart_makes_the_source_stale`
    /// - MUST leave the sources unconfirmed until they are caught up `restarted_source_confirms_after_it_has_caught_up`
    /// - MUST raise the revision, since the changes of the lost history never did: a token from now on must not hold for
    ///   the values of before `restart_raises_the_revision`
    async fn restart(&self, step: FeedStep) -> Result<()>;

    /// A step on the register of programs: adds or renews one, removes some that have ended, and returns all the
    /// others. It may take several steps on the store; the answer is read after the writes.
    ///
    /// The register says to workers which jobs other programs run, and to maintenance which entries no program has a
    /// function for. It is no more durable than the entries: every living program registers again with a store that
    /// lost it.
    ///
    /// # Contract
    /// - MUST list a program with its notes until it is removed, also when its lease has ended, and say whether it was
    ///   there before the step `registered_programs_are_listed`
    /// - MUST count the lease from now by its own clock, and let the newest one overwrite, be it shorter
    ///   `newest_lease_of_a_program_counts`
    /// - MUST NOT remove a program whose lease still holds `living_program_is_not_removed`
    /// - MUST lose none of the programs that register at the same time `programs_that_register_at_once_are_all_there`
    async fn programs(&self, step: ProgramStep) -> Result<Programs>;
}

/// The store as the reconciler and people see it. It only reads.
#[async_trait]
pub trait InspectStore: Debug + Send + Sync + 'static {
    /// The stale entries, page by page, for the reconciler. An entry that stays stale appears at least once.
    ///
    /// # Contract
    /// - MUST list the stale entries that do not refresh on read, with the time since when `stale_entries_are_listed`
    async fn stale(&self, page: Page) -> Result<Scanned>;

    /// The whole record of an entry, for people.
    async fn inspect(&self, id: &EntryId) -> Result<Option<Record>>;

    /// The entries that depend on something, page by page. An entry that keeps the dependency appears at least once.
    ///
    /// # Contract
    /// - MUST list every dependant with how it depends `dependants_are_listed`
    async fn dependants(&self, dependency: &Dependency, page: Page) -> Result<Dependants>;

    /// The store's report on itself, for [`Inspector::doctor`](crate::inspect::Inspector::doctor). Empty by default.
    async fn examine(&self) -> Result<Examination> {
        Ok(Examination::new("a custom store"))
    }

    /// Numbers of the namespace.
    async fn stats(&self) -> Result<StoreStats>;
}
