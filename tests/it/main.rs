//! The engine through the facade, as an application sees it.
//!
//! [`world`] says on which backends the behaviours run; [`probe`] makes the computed functions of [`functions`] log
//! their runs, and fail or wait on demand.

#[macro_use]
mod world;

#[path = "../../examples/course_statistics/school.rs"]
mod school;
#[path = "../shared/tables.rs"]
mod tables;
#[path = "../shared/statistics.rs"]
mod tale;
#[path = "../shared/waits.rs"]
mod waits;

mod audit;
mod barrier;
mod breaker;
mod changes;
mod comparisons;
mod conflicts;
mod connect;
mod corrupt;
mod crashes;
mod cycles;
mod declarations;
mod dependencies;
mod deploys;
mod doctor;
mod domain;
mod expiry;
mod explain;
mod failures;
mod faulty;
mod freshness;
mod functions;
mod glossary;
mod gone;
mod in_transaction;
mod incarnations;
mod intent;
mod keys;
mod lanes;
mod leases;
mod limits;
mod logged;
mod mistakes;
mod nested;
mod outages;
mod outcomes;
mod overtaken;
mod own_writes;
mod pages;
mod panics;
mod parameters;
mod probe;
mod programs;
mod puts;
mod results;
mod retries;
mod shapes;
mod shutdown;
mod single_flight;
mod slow;
mod sources;
mod split;
mod statistics;
mod tasks;
mod tidy;
mod unconfirmed;
mod verbs;
mod widths;
mod workers;
