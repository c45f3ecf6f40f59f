//! The table of the mutants: which configuration catches which.

use smache_core::protocol::Mutant;

use crate::config::Rule;

/// A mechanism of a step that is switched off, the configuration that catches it, or why none does.
pub const STEPS: &[(Mutant, Result<&str, &str>)] = &[
    (Mutant::BusyIgnored, Ok("one entry")),
    (Mutant::StartTooLate, Ok("one entry")),
    (Mutant::TokenIgnored, Ok("takeover")),
    (Mutant::LostRunAccepted, Ok("takeover")),
    (
        Mutant::CommitOnAnyIncarnation,
        Err(
            "a run that the restored state holds began at a revision of that state; the new epoch of an attached source, or \
             the replay of the feed, makes its value stale",
        ),
    ),
    (Mutant::EpochsIgnored, Ok("epochs")),
    (Mutant::TaintIgnored, Ok("nested")),
    (Mutant::LastChangeIgnored, Ok("one entry")),
    (Mutant::MarkIgnored, Ok("paged")),
    (Mutant::LowWatermarkIgnored, Ok("forgetful")),
    (Mutant::DirectConflictIsMaybe, Ok("cut-off")),
    (Mutant::StaleWithoutJob, Ok("one entry")),
    (Mutant::NoEdges, Ok("one entry")),
    (Mutant::StaleWithoutEdges, Ok("cut-off")),
    (Mutant::StaleSkipped, Ok("cut-off")),
    (Mutant::DirectIsMaybe, Ok("cut-off")),
    (Mutant::ChangeWithoutJob, Ok("one entry")),
    (Mutant::NoMarks, Ok("paged")),
    (Mutant::RevisionStays, Ok("one entry")),
    (Mutant::EveryMarkWithdrawn, Ok("large twice")),
    (Mutant::TrimIgnoresRuns, Ok("trimmed")),
    (Mutant::TrimIgnoresLapsed, Ok("trimmed")),
    (Mutant::TrimWithoutWatermark, Ok("forgetful")),
    (Mutant::FenceIgnored, Ok("feed")),
    (Mutant::StepOnAnyIncarnation, Ok("feed failover")),
    (
        Mutant::UntakenPositionConfirms,
        Err("the deadline of the step bounds it: what it confirms was handed over by then, under a later position"),
    ),
    (Mutant::HistoryIgnored, Ok("feed late history")),
    (Mutant::FenceStays, Ok("feed")),
    (Mutant::LaterValidityWins, Ok("feed clock")),
    (Mutant::DeadlineIgnored, Ok("feed late")),
    (
        Mutant::RestartStaysConfirmed,
        Err(
            "the new epoch makes stale what may have missed a change, and a confirmation ends within its time as before",
        ),
    ),
    (Mutant::RestartKeepsEpoch, Ok("feed history")),
    (Mutant::AttachKeepsEpoch, Ok("reported failover")),
    (Mutant::NoSweep, Ok("epochs")),
    (Mutant::RunningJobMerges, Ok("workers")),
    (Mutant::LapsedJobForgotten, Ok("workers")),
    (Mutant::JobTokenIgnored, Ok("workers")),
];

/// A rule of the engine that is broken, in a sentence, and the configuration that catches it, or why none does.
pub const RULES: &[(Rule, &str, Result<&str, &str>)] = &[
    (Rule::RevisionFirst, "the revision grows before the dependants are marked", Ok("paged")),
    (Rule::NoBarrier, "a partition revises before another one has its marks", Ok("two partitions")),
    (Rule::OneNameForAllAttempts, "a mark is overwritten instead of one of a set", Ok("large twice")),
    (Rule::TokenUsedAgain, "a token is used again after its lease ended", Ok("takeover")),
    (Rule::JobsApart, "a job is written apart from the change, and nothing looks for lost ones", Ok("reconciled")),
    (Rule::ChildNotFlattened, "the caller does not depend on what its child depends on", Ok("nested")),
    (Rule::StaleChild, "a child that is not fresh is accepted", Ok("nested")),
    (Rule::UnconfirmedChild, "a child of a store that has not caught up is accepted", Ok("two partitions failover")),
    (Rule::RevalidatesDirect, "a re-validation ignores that a direct dependency changed", Ok("cut-off")),
    (Rule::RevalidatesWithOldDependencies, "a re-validation keeps the old dependencies", Ok("cut-off dynamic")),
    (Rule::RevalidatesWithoutComparing, "a re-validation does not compare", Ok("cut-off")),
    (Rule::RevalidatesOldEpochs, "a re-validation ignores the epochs", Ok("cut-off epochs")),
    (Rule::RevalidatesWithStaleChild, "a re-validation accepts a stale child", Ok("cut-off")),
    (Rule::PositionFirst, "the position is saved before the change", Ok("feed")),
    (Rule::ResumesFromLatest, "the feed resumes from the latest position", Ok("feed two partitions")),
    (Rule::ResumesFromOwn, "the feed resumes from the leader's own position", Ok("feed failover")),
    (Rule::ReconnectsSilently, "a lost history is passed over", Ok("feed history")),
    (Rule::CaughtUpBeforeReplay, "the feed confirms before the replay", Ok("feed failover")),
    (Rule::PositionAfterEpoch, "the position is taken after the epoch", Ok("feed")),
    (Rule::EpochAtCommit, "the epochs are those of the commit", Ok("feed history")),
    (Rule::IncarnationIgnored, "readers ignore the incarnation", Ok("reported failover")),
    (Rule::ChangesEvicted, "the last invalidations are evicted", Ok("forgetful")),
    (Rule::LaggingReads, "reads of the source lag without a bound", Ok("one entry")),
    (Rule::KeptForever, "attached sources are confirmed without an end", Ok("superseded")),
    (Rule::RereadsNothing, "a run that was overtaken does not read again", Ok("feed")),
    (Rule::LateStepWithoutDeadline, "a step of the feed carries no deadline", Ok("feed late")),
];
