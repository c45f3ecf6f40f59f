//! The engine through the facade: what an application sees.
//!
//! [`world`] says on which backends the behaviours run; [`probe`] makes the computed functions of [`functions`] tell
//! what they did, and fail or wait when a test wants them to.

#[macro_use]
mod world;

mod changes;
mod conflicts;
mod corrupt;
//crashes
mod declarations;
//expiry
mod failures;
mod faulty;
mod flights;
mod freshness;
mod functions;
mod gone;
mod incarnations;
mod keys;
//lanes
mod leases;
//mistakes
mod outages;
mod parameters;
mod probe;
mod results;
//retries
//shutdown
//split
mod verbs;
mod workers;
