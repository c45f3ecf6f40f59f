//! The Redis backend of SMache: a store, a queue, or both on one server, and tables of entities as sources.
//!
//! ```no_run
//! # async fn example() -> smache_core::Result<()> {
//! use smache_core::{Backend, Namespace};
//! use smache_redis::Redis;
//!
//! let redis = Redis::connect("redis://localhost").await?;
//! let (store, queue) = redis.both(&Namespace::new("shop")?)?;
//! # Ok(())
//! # }
//! ```
//!
//! # Requirements
//! One primary of Redis 6.2 or newer (or a compatible server), without cluster mode, whose eviction policy is
//! `noeviction` or one of `volatile-*`: the edges and revisions of a store must never be evicted alone.
//!
//! A user needs no more than this for the store and the queue of the namespace `shop`:
//!
//! ```text
//! ACL SETUSER app on >secret resetkeys resetchannels -@all ~{shop}:* &{shop}:notifier +@hash +@set +@sortedset +del +exists +eval +evalsha +info +publish +subscribe +time
//! ```
//!
//! and no more than this for the table `users` as a source:
//!
//! ```text
//! ACL SETUSER app on >secret resetkeys resetchannels -@all ~{table:users}:* +@hash +@stream +eval +evalsha +get +info +set +time
//! ```
//!
//! One user for both needs the rights of both; a URL with another database than 0 needs `+select` as well. Without the
//! channel, `+publish` or `+subscribe` workers look for jobs by themselves instead of being woken. Any other missing
//! right is an error that says what to grant.
//!
//! The keys of a store, a queue and a table carry a layout. Keys of another layout are refused: by a store when it
//! attaches its sources, by a queue and a table with every step.
//!
//! `rediss://` trusts what the machine trusts (its certificate store, or the file of `SSL_CERT_FILE`), so
//! administrators add a private authority there.
//!
//! # Guarantees
//! Every step is one script, which Redis runs alone. Only the first write of a script can fail for lack of memory, so
//! no step is half-done. Redis acknowledges before it has written to disk or to a replica: after a crash or a failover
//! the tail may be missing. The store notices (the server has another incarnation, which is its run id with its
//! replication id) and confirms nothing until the feed has replayed from the position beside the entries.
//!
//! A damaged record counts as absent: a warning names its key and its field, the next run replaces it, and other
//! entries go on. A key of another type in its place stays: its readers get
//! [`Corrupt`](smache_core::ErrorKind::Corrupt) until you remove it. Maintenance and later steps replace unreadable
//! epochs, revisions, positions and jobs: the entries concerned are computed again once.
//!
//! The next call reopens a lost connection. The store repeats look-ups then, but not steps, since the lost one may have
//! happened: they fail with [`Unavailable`](smache_core::ErrorKind::Unavailable), and the caller, which knows that
//! steps are idempotent, decides.

mod config;
mod connection;
mod error;
mod examine;
mod handshake;
mod keys;
mod layout;
mod queue;
mod reply;
mod script;
mod source;
mod store;

pub use self::{
    config::{Redis, RedisBuilder, RedisSourceBuilder},
    error::is_outage,
    queue::RedisQueue,
    source::RedisSource,
    store::RedisStore,
};
