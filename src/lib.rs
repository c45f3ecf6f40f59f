#![doc = include_str!("links.md")]
#![doc = include_str!("picture.md")]
#![doc = include_str!("../README.md")]

mod connect;
pub mod guide;

pub use self::connect::{Connect, connect};
pub use smache_core::{
    Announced, Backend, Builder, Cached, Call, Capability, ChangeKind, ChangeToken, Codec, Computed, Cx, Declaration,
    DependencyKind, Entity, EntityType, EntryId, Error, ErrorKind, Failure, Field, Fields, Freshness, InTransaction,
    Index, Intent, IntentBuilder, IntoIds, Predicate, Refresh, Relation, RelationFuture, Result, Retry, Role, Smache,
    SourceId, State, StoreFailure, Strictness, Timestamp, Uncommitted, Worker, WorkerBuilder, note_read, on, tag,
};
#[cfg(feature = "macros")]
pub use smache_macros::{Entity, computed};

/// The seams to backends: the traits of a store, a queue and a source.
pub mod backend {
    pub use smache_core::*;
}

/// The view of a running system: why a result is stale, what a change affects, numbers, dead letters, the doctor.
pub mod inspect {
    pub use smache_core::inspect::{
        Audit, Cause, Counters, DeadLetter, Diagnosis, DiagnosisPart, EdgeKind, Examination, Finding, FoundJob,
        FunctionAudit, Graph, GraphEdge, GraphNode, Guarantee, Impact, ImpactedFunction, Inspector, JobCounts,
        JobState, Lane, NodeKind, NodeState, Program, Record, RunFailure, Severity, Stats, StoreStats, Verified, Why,
        WhyDependsOn, WhyState, WhyStored,
    };
}

/// The in-process backend, for programs without a server and for the unit tests of applications.
#[cfg(feature = "memory")]
pub mod memory {
    pub use smache_memory::*;
}

/// A whole backend on any key-value store.
#[cfg(feature = "kv")]
pub mod kv {
    pub use smache_kv::*;
}

/// MongoDB as a store, a queue and a source (change streams).
#[cfg(feature = "mongo")]
pub mod mongo {
    pub use smache_mongo::{
        Mongo, MongoBuilder, MongoQueue, MongoSource, MongoSourceBuilder, MongoStore, guide, is_outage, mongodb,
        note_reads,
    };
}

/// PostgreSQL as a store, a queue and a source.
#[cfg(feature = "postgres")]
pub mod postgres {
    pub use smache_sql::{
        Postgres, PostgresBuilder, PostgresQueue, PostgresSource, PostgresSourceBuilder, PostgresStore,
        PostgresTransaction, TableSource, TableSourceBuilder, guide, is_outage, sqlx,
    };
}

/// Redis as a store, a queue and a source.
#[cfg(feature = "redis")]
pub mod redis {
    pub use smache_redis::*;
}

/// SQLite as a store, a queue and a source: one file, no server.
#[cfg(feature = "sqlite")]
pub mod sqlite {
    pub use smache_sql::{
        Sqlite, SqliteBuilder, SqliteQueue, SqliteSource, SqliteSourceBuilder, SqliteStore, SqliteTransaction,
        TableSource, TableSourceBuilder, guide, is_outage, sqlx,
    };
}

/// The items that the macros name; not part of the public interface.
#[doc(hidden)]
pub mod __private {
    pub use smache_core::*;
}
