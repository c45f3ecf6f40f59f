//! The model of the protocol.
//!
//! The checker walks over all orders of steps of a small world: one or two partitions, an entry and one that calls it,
//! rows that are written, and processes that read, compute, report, lead a feed and do maintenance. A partition is
//! [`reference::Partition`](smache_testkit::reference::Partition), whose steps are the functions of
//! [`smache_core::protocol`] themselves. The rules of the processes (which are async code in the engine) are written
//! here once more, as steps.
//!
//! Three promises are checked in every state. *No false fresh*: what a look-up judges fresh equals the function at data
//! that are not older than the last acknowledged change. *No lost work*: if all processes crashed now and others started,
//! every entry would become fresh. *Monotone*: no run replaces the result of one that began later; and the promises of
//! single steps, such as one lease at a time.
//!
//! [`configurations`] are the models, and [`table`] says which of them catches which mutant.

pub mod change;
pub mod check;
pub mod config;
pub mod configurations;
pub mod feed;
pub mod keep;
pub mod model;
pub mod run;
pub mod table;
pub mod world;

use std::time::{Duration, Instant};

use stateright::{Checker, HasDiscoveries, Model};

use crate::config::{Config, Reach};

/// What a walk over a configuration has found.
#[derive(Debug)]
pub struct Report {
    /// The configuration.
    pub name: &'static str,
    /// Different states.
    pub states: usize,
    /// The longest of the shortest ways to a state.
    pub depth: usize,
    /// How long it took.
    pub took: Duration,
    /// The broken promise, with the steps to it.
    pub broken: Option<(&'static str, String)>,
    /// What was expected and not reached.
    pub missing: Vec<Reach>,
}

/// Walks over a configuration, to its end or to the first broken promise.
#[must_use]
pub fn check(config: Config) -> Report {
    let started = Instant::now();
    let name = config.name;
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let checker = config.checker().threads(threads).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let broken = checker.discoveries().into_iter().next().map(|(promise, path)| {
        let steps: Vec<String> = path.into_actions().iter().map(|action| format!("{action:?}")).collect();
        (promise, steps.join(" · "))
    });
    Report {
        name,
        states: checker.unique_state_count(),
        depth: checker.max_depth(),
        took: started.elapsed(),
        broken,
        missing: checker.model().missing(),
    }
}

impl Report {
    /// One line of the table in `docs/model.md`.
    #[must_use]
    pub fn line(&self) -> String {
        let Self { name, states, depth, took, .. } = self;
        format!("| {name} | {states} | {depth} | {:.1} s |", took.as_secs_f64())
    }
}
