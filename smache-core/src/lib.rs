//! The traits, the protocol and the engine of SMache.
//!
//! Applications use the `smache` package; backends depend on this one. See the crate `smache` for a guide.

mod backend;
mod cached;
pub mod canonical;
mod change_token;
mod codec;
mod computed;
mod cx;
mod dependency;
mod doctor;
mod entity;
mod error;
mod fields;
mod graph;
mod guard;
mod ids;
mod names;
pub mod on;
mod queue;
mod shape;
mod source;
mod store;
pub mod support;
mod system;
mod time;
mod worker;

#[doc(hidden)]
pub use self::entity::{Argument, PlainArgument};
pub use self::{
    backend::Backend,
    cached::Cached,
    change_token::ChangeToken,
    codec::Codec,
    computed::{
        Call, Computed, Declaration, Failure, FunctionResult, IntoIds, Refresh, Relation, RelationFuture, Role,
    },
    cx::Cx,
    dependency::{ChangedDependency, Dependency, DependencyKind, UsedDependency, Via},
    doctor::{Examination, Finding, Guarantee, Severity, is_remote},
    entity::{Entity, EntityType, State},
    error::{BoxError, Error, ErrorKind, Result, Retry},
    fields::{Compare, Comparisons, Condition, Field, FieldValue, Fields, Filter, Index, Predicate},
    graph::{EdgeKind, Graph, GraphEdge, GraphNode, NodeKind, NodeState},
    guard::guarded,
    ids::{EntryId, Epoch, FunctionKey, Incarnation, Token},
    names::{FeedId, FunctionId, Namespace, SourceId},
    on::tag,
    queue::{
        Enqueued, FoundJob, Job, JobCounts, JobEnd, JobPage, JobQueue, JobState, Lane, ListedJob, NewJob, Notifier,
        NotifierTransport, Notifiers, Reservation, Reserve, Settled, Settlement, Subscriber,
    },
    source::{
        Announced, Batch, Capability, Change, ChangeFeed, ChangeKind, ChangeStream, DataSource, EntityKey, EntityKind,
        Image, Snapshot, Start, Topic,
    },
    store::{
        ATTACHED_VALID_FOR, Abort, Begin, BeginOutcome, Begun, CacheStore, ChangedSince, Commit, CommitOutcome,
        Dependants, Epochs, FeedStep, Freshness, FullRecord, InTransactionOutcome, InvalidateInTransaction,
        Invalidated, Invalidation, InvalidationAttempt, JobWrites, Leadership, Lookup, Maintained, OnConflict, Page,
        Position, Positions, ProgramStep, Programs, Record, RecordWaits, RegisteredProgram, Registration, RunFailure,
        Scanned, SourceValidity, Staleness, StoreStats, StoredEntry, Validity, WaitingRun, WriterTransaction,
    },
    system::{
        Audit, Builder, Cause, Counters, DeadLetter, Diagnosis, DiagnosisPart, FunctionAudit, Impact, ImpactedFunction,
        InTransaction, Intent, IntentBuilder, Program, Smache, Stats, StoreFailure, Strictness, Uncommitted, Verified,
        Why, WhyDependsOn, WhyState, WhyStored, note_read,
    },
    time::{Clock, ManualClock, SystemClock, Timestamp},
    worker::{Worker, WorkerBuilder},
};
