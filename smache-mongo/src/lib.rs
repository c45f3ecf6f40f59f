#![doc = include_str!("docs/guide.md")]

mod audit;
mod config;
mod document;
mod error;
mod events;
mod examine;
mod feed;
mod position;
mod primary;
mod progress;
mod source;
mod stream;

pub use self::{audit::note_reads, config::MongoSourceBuilder, source::MongoSource};

/// The driver, in the version whose types this crate takes.
pub use mongodb;
