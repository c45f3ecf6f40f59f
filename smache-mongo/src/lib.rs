//! The MongoDB backend of SMache: a database as a store and a queue, a collection as a source of entities, and the
//! change stream of its database as the feed. The [`guide`] has the rights that it needs, its promises and its limits.

mod audit;
mod backend;
mod config;
mod damage;
mod document;
mod error;
mod events;
mod examine;
mod expression;
mod feed;
#[cfg(test)]
mod fuzz;
mod history;
mod job;
mod keys;
mod link;
mod namespace;
mod notifier;
mod position;
mod primary;
mod progress;
mod queue;
mod record;
mod schema;
mod source;
mod store;
mod stream;

#[doc = include_str!("docs/guide.md")]
pub mod guide {}

pub use self::{
    audit::note_reads,
    backend::{Mongo, MongoBuilder},
    config::MongoSourceBuilder,
    error::is_outage,
    queue::MongoQueue,
    source::MongoSource,
    store::MongoStore,
};

/// The driver, in the version whose types this crate takes.
pub use mongodb;
