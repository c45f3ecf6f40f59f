//! Looking at a running system: why a result is stale, what a change affects, numbers, dead letters, the doctor.

mod audit;
mod doctor;
mod drawing;
mod graph;
mod impact;
mod jobs;
mod programs;
mod verify;
mod why;

use std::{fmt, sync::Arc};

pub use self::{
    audit::{Audit, FunctionAudit},
    doctor::{Diagnosis, DiagnosisPart},
    graph::{EdgeKind, Graph, GraphEdge, GraphNode, NodeKind, NodeState},
    impact::{Impact, ImpactedFunction},
    jobs::{DeadLetter, Stats},
    programs::Program,
    verify::Verified,
    why::{Cause, Why, WhyDependsOn, WhyState, WhyStored},
};
use crate::engine::Engine;
pub use crate::{
    counters::Counters,
    doctor::{Examination, Finding, Guarantee, Severity},
    queue::{FoundJob, JobCounts, JobState, Lane},
    store::{Record, RunFailure, StoreStats},
};

/// A view of a running system, from [`Smache::inspect`](crate::Smache::inspect). Cheap to clone.
///
/// [`why`](Self::why), [`impact`](Self::impact) and [`graph`](Self::graph) explain results; [`stats`](Self::stats),
/// [`dead_letters`](Self::dead_letters), [`parked_jobs`](Self::parked_jobs) and [`programs`](Self::programs) list;
/// [`doctor`](Self::doctor), [`audit`](Self::audit) and [`verify`](Self::verify) check. None of them changes a result
/// or queues a job, except that `verify` runs a function, whose nested calls are stored as usual.
///
/// ```
/// # async fn example(smache: &smache_core::Smache) -> smache_core::Result<()> {
/// let inspector = smache.inspect();
/// println!("{}", inspector.doctor().await);
/// for dead in inspector.dead_letters(20).await? {
///     println!("{}: {}", dead.call, dead.error);
/// }
/// # Ok(())
/// # }
/// ```
///
/// It keeps the store open like a handle, and works after a [`shutdown`](crate::Smache::shutdown).
#[derive(Clone)]
pub struct Inspector {
    engine: Arc<Engine>,
}

impl Inspector {
    pub(crate) fn new(engine: &Arc<Engine>) -> Self {
        Self { engine: Arc::clone(engine) }
    }
}

impl fmt::Debug for Inspector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inspector").field("namespace", &self.engine.namespace).finish_non_exhaustive()
    }
}
