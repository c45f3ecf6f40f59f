//! The guide: a page for each task, with code that compiles.
//!
//! 1. [Getting started](getting_started): a first program, a worker, your databases
//! 2. [Modelling data](modelling), [dependencies] and [hand-written queries](queries)
//! 3. [Freshness and your own writes](freshness), [errors and missing entities](errors)
//! 4. [Workers and sizing](workers), [testing], [backends], [sources], [deploying], [operating]
//! 5. [Write a source](writing_a_source), [write a backend](writing_a_backend), [the protocol](protocol)
//! 6. [FAQ and troubleshooting](faq), [glossary]
//! 7. For contributors: [the map of the code](architecture), [the decisions](design)
//!
//! On a code host the pages are in `docs/guide`.

/// A first program, a worker, your databases.
///
#[doc = include_str!("links.md")]
#[doc = include_str!("../docs/guide/getting-started.md")]
pub mod getting_started {}

/// Entities, ids, keys of several columns, decimals, dates, enums.
///
#[doc = include_str!("links.md")]
#[doc = include_str!("../docs/guide/modelling.md")]
pub mod modelling {}

/// Each kind of dependency, and when to use it.
///
#[doc = include_str!("links.md")]
#[doc = include_str!("../docs/guide/dependencies.md")]
pub mod dependencies {}

/// Results of hand-written SQL and MongoDB queries.
///
#[doc = include_str!("links.md")]
#[doc = include_str!("../docs/guide/queries.md")]
pub mod queries {}

/// How fresh a value is, and reading one's own writes.
///
#[doc = include_str!("links.md")]
#[doc = include_str!("../docs/guide/freshness.md")]
pub mod freshness {}

/// Errors and their meaning, and missing entities.
///
#[doc = include_str!("links.md")]
#[doc = include_str!("../docs/guide/errors.md")]
pub mod errors {}

/// Changes that alter the identity of a function; rolling upgrades and roll-backs.
///
#[doc = include_str!("links.md")]
#[doc = include_str!("../docs/guide/deploying.md")]
pub mod deploying {}

/// Workers, their settings and how many are needed.
///
#[doc = include_str!("links.md")]
#[doc = include_str!("../docs/guide/workers.md")]
pub mod workers {}

/// Tests without servers and sleeps.
///
#[doc = include_str!("links.md")]
#[doc = include_str!("../docs/guide/testing.md")]
pub mod testing {}

/// Every backend: rights, TLS, persistence, eviction, and what `doctor` says.
///
#[doc = include_str!("links.md")]
#[doc = include_str!("../docs/guide/backends.md")]
pub mod backends {}

/// Sources: drivers, guarantees, the length of histories, and what is refused.
///
#[doc = include_str!("links.md")]
#[doc = include_str!("../docs/guide/sources.md")]
pub mod sources {}

/// Watching, explaining, acting, shutting down.
///
#[doc = include_str!("links.md")]
#[doc = include_str!("../docs/guide/operating.md")]
pub mod operating {}

/// How to write a backend.
///
#[doc = include_str!("links.md")]
#[doc = include_str!("../docs/guide/writing-a-backend.md")]
pub mod writing_a_backend {}

/// How to write a source.
///
#[doc = include_str!("links.md")]
#[doc = include_str!("../docs/guide/writing-a-source.md")]
pub mod writing_a_source {}

/// Every word, with the one that other systems have for it.
///
#[doc = include_str!("links.md")]
#[doc = include_str!("../docs/guide/glossary.md")]
pub mod glossary {}

/// From a symptom to its cause and fix.
///
#[doc = include_str!("links.md")]
#[doc = include_str!("../docs/guide/faq.md")]
pub mod faq {}

/// The protocol: how a result stays true, step by step.
///
#[doc = include_str!("links.md")]
#[doc = include_str!("../docs/protocol.md")]
pub mod protocol {}

/// How a backend is compared with the protocol, step by step.
///
#[doc = include_str!("links.md")]
#[doc = include_str!("../docs/comparison.md")]
pub mod comparison {}

/// All orders of the steps of the protocol in small worlds, and each mechanism switched off.
///
#[doc = include_str!("links.md")]
#[doc = include_str!("../docs/model.md")]
pub mod model {}

/// Which of the published suites kills which broken backend.
///
#[doc = include_str!("links.md")]
#[doc = include_str!("../docs/mutants.md")]
pub mod mutants {}

/// What the history checker checks under faults, its figures, and what it does not cover.
///
#[doc = include_str!("links.md")]
#[doc = include_str!("../docs/reliability.md")]
pub mod reliability {}

/// The map of the code, for people who want to change it.
///
#[doc = include_str!("links.md")]
#[doc = include_str!("../ARCHITECTURE.md")]
pub mod architecture {}

/// The decisions, and the options that were rejected.
///
#[doc = include_str!("links.md")]
#[doc = include_str!("../DESIGN.md")]
pub mod design {}
