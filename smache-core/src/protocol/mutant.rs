//! Mechanisms that the model and the tests of the published suites switch off, one at a time, to see that they find the harm.
//!
//! Without the feature `mutants`, which is for them alone, each mechanism is its expression and nothing else.

/// Evaluates a mechanism, or `false` (or another value) in its place while its mutant is active.
#[cfg(feature = "mutants")]
macro_rules! off {
    ($mutant:ident, $mechanism:expr) => {
        off!($mutant, $mechanism, false)
    };
    ($mutant:ident, $mechanism:expr, $instead:expr) => {
        if crate::protocol::Mutant::$mutant.is_active() { $instead } else { $mechanism }
    };
}

#[cfg(not(feature = "mutants"))]
macro_rules! off {
    ($mutant:ident, $mechanism:expr) => {
        $mechanism
    };
    ($mutant:ident, $mechanism:expr, $instead:expr) => {
        if false { $instead } else { $mechanism }
    };
}

pub(super) use off;

#[cfg(feature = "mutants")]
mod switch {
    use std::sync::{
        Mutex, PoisonError,
        atomic::{AtomicU8, Ordering},
    };

    /// The active mutant, and one more than its number; zero for none.
    static ACTIVE: AtomicU8 = AtomicU8::new(0);

    /// Held while a mutant is active.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

    macro_rules! mutants {
        ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
            /// A mechanism of the protocol that is switched off.
            #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
            pub enum Mutant {
                $($(#[$doc])* $name,)*
            }

            impl Mutant {
                /// All of them.
                pub const ALL: &[Self] = &[$(Self::$name),*];
            }
        };
    }

    mutants! {
        /// `begin` does not refuse while another run's lease holds.
        BusyIgnored,
        /// `begin` gives a run a revision that is one too high, as if it were taken after the reads.
        StartTooLate,
        /// `commit` does not compare the token of the run.
        TokenIgnored,
        /// `commit` accepts a run that is not there.
        LostRunAccepted,
        /// `commit` does not compare the incarnation.
        CommitOnAnyIncarnation,
        /// `commit` does not compare the epochs of begin.
        EpochsIgnored,
        /// `commit` stores a tainted value as fresh.
        TaintIgnored,
        /// `commit` does not compare with the last invalidations.
        LastChangeIgnored,
        /// `commit` ignores the marks of invalidations under way.
        MarkIgnored,
        /// `commit` ignores the low watermark.
        LowWatermarkIgnored,
        /// `commit` stores a value with a conflict on a direct dependency as `MaybeStale`.
        DirectConflictIsMaybe,
        /// `commit` writes no job of a stale value.
        StaleWithoutJob,
        /// `commit` writes no edges.
        NoEdges,
        /// `commit` writes no edges of a stale value.
        StaleWithoutEdges,
        /// An invalidation skips entries that are stale already.
        StaleSkipped,
        /// An invalidation marks direct dependants as `MaybeStale`.
        DirectIsMaybe,
        /// An invalidation writes no jobs.
        ChangeWithoutJob,
        /// An invalidation of several steps writes no marks.
        NoMarks,
        /// The revision does not grow.
        RevisionStays,
        /// The end of an attempt withdraws the marks of every other one.
        EveryMarkWithdrawn,
        /// Trimming ignores the runs under way.
        TrimIgnoresRuns,
        /// Trimming ignores the runs whose lease has lapsed.
        TrimIgnoresLapsed,
        /// Trimming does not raise the low watermark.
        TrimWithoutWatermark,
        /// A step of an older leader is accepted.
        FenceIgnored,
        /// A step on another incarnation than the leader knows is accepted.
        StepOnAnyIncarnation,
        /// A source is confirmed although its position was not taken.
        UntakenPositionConfirms,
        /// Positions of two histories compare by their order.
        HistoryIgnored,
        /// A new leader has the fence of the one before.
        FenceStays,
        /// The later end of a validity wins, instead of the newest.
        LaterValidityWins,
        /// A step ignores its deadline.
        DeadlineIgnored,
        /// A restart keeps its source confirmed.
        RestartStaysConfirmed,
        /// A restart keeps the epoch.
        RestartKeepsEpoch,
        /// Attaching on another incarnation keeps the epoch.
        AttachKeepsEpoch,
        /// A new epoch starts no sweep.
        NoSweep,
        /// A request merges with a running job as if it were queued.
        RunningJobMerges,
        /// A reservation that lapsed forgets the job.
        LapsedJobForgotten,
        /// A reservation is settled under any token.
        JobTokenIgnored,
    }

    impl Mutant {
        pub(in crate::protocol) fn is_active(self) -> bool {
            ACTIVE.load(Ordering::Relaxed) == self as u8 + 1
        }
    }

    /// Runs something while a mechanism is switched off, in the whole process. Others wait.
    pub fn with_mutant<T>(mutant: Option<Mutant>, run: impl FnOnce() -> T) -> T {
        struct Restored;
        impl Drop for Restored {
            fn drop(&mut self) {
                ACTIVE.store(0, Ordering::SeqCst);
            }
        }
        let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let _restored = Restored;
        ACTIVE.store(mutant.map_or(0, |mutant| mutant as u8 + 1), Ordering::SeqCst);
        run()
    }
}

#[cfg(feature = "mutants")]
pub use self::switch::{Mutant, with_mutant};
