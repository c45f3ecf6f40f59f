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
};

/// A system as people see it: see [`Smache::inspect`](crate::Smache::inspect). Cheap to clone.
///
/// None of its methods changes anything. It keeps the store open like a handle, and works after a
/// [`shutdown`](crate::Smache::shutdown).
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
