//! The traits, the protocol and the engine of SMache.
//!
//! Applications use the `smache` package; backends depend on this one. See the crate `smache` for a guide.

mod backend;
mod backoff;
mod cached;
mod call_key;
pub mod canonical;
mod change_token;
mod codec;
mod computed;
mod counters;
mod dependency;
mod doctor;
mod engine;
mod entity;
mod error;
mod fields;
#[cfg(test)]
mod fuzz;
mod guard;
mod handle;
mod ids;
pub mod inspect;
mod names;
pub mod on;
pub mod protocol;
mod queue;
mod service;
mod settings;
mod shape;
mod source;
mod store;
pub mod support;
mod time;
mod tracking;

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
    counters::Counters,
    dependency::{ChangedDependency, Dependency, DependencyKind, UsedDependency, Via},
    doctor::{Examination, Finding, Guarantee, Severity, is_remote},
    entity::{Entity, EntityType, State},
    error::{BoxError, Error, ErrorKind, Result, Retry},
    fields::{Compare, Comparisons, Condition, Field, FieldValue, Fields, Filter, Index, Predicate},
    guard::guarded,
    handle::{Builder, InTransaction, Smache, Uncommitted},
    ids::{EntryId, Epoch, FunctionKey, Incarnation, Token},
    names::{FeedId, FunctionId, Namespace, SourceId},
    on::tag,
    queue::{
        Enqueued, FoundJob, Job, JobCounts, JobEnd, JobPage, JobQueue, JobState, Lane, ListedJob, NewJob, Notifier,
        NotifierTransport, Notifiers, Reservation, Reserve, Settled, Settlement, Subscriber,
    },
    service::{Intent, IntentBuilder, Worker, WorkerBuilder},
    settings::{StoreFailure, Strictness},
    source::{
        Announced, Batch, Capability, Change, ChangeFeed, ChangeKind, ChangeStream, DataSource, EntityKey, EntityKind,
        Image, Snapshot, Start, Topic,
    },
    store::{
        ATTACHED_VALID_FOR, Abort, Begin, BeginOutcome, Begun, CacheStore, ChangedSince, Commit, CommitOutcome,
        Dependants, EntryStore, Epochs, FeedStep, FeedStore, Freshness, FullRecord, InTransactionOutcome, InspectStore,
        InvalidateInTransaction, Invalidated, Invalidation, InvalidationAttempt, InvalidationStore, JobWrites,
        Leadership, Lookup, Maintained, OnConflict, Page, Position, Positions, ProgramStep, Programs, Record,
        RecordWaits, RegisteredProgram, Registration, RunFailure, Scanned, SourceValidity, Staleness, StoreStats,
        StoredEntry, Validity, WaitingRun, WriterTransaction,
    },
    time::{Clock, ManualClock, SystemClock, Timestamp},
    tracking::{Cx, note_read},
};
