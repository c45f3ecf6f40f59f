//! The cases of a [`CacheStore`](smache_core::CacheStore), by theme.

pub mod begin;
pub mod changes;
pub mod commit;
pub mod ends;
pub mod feed;
pub mod graph;
pub mod invalidate;
pub mod lookup;
pub mod maintain;
pub mod paging;
pub mod programs;
pub mod races;
pub mod removal;
pub mod retries;
pub mod validity;
pub mod waits;
