//! The SQL backends of SMache: SQLite and PostgreSQL as store, queue and source.
//!
//! ```no_run
//! # async fn example() -> smache_core::Result<()> {
//! use smache_core::{Backend, Namespace};
//! use smache_sql::{Postgres, Sqlite};
//!
//! let postgres = Postgres::connect("postgres://localhost/shop").await?;
//! let (store, queue) = postgres.both(&Namespace::new("shop")?)?;
//! // The same in a file, for programs of one machine.
//! let sqlite = Sqlite::open("/var/lib/shop/cache.db").await?;
//! let (store, queue) = sqlite.both(&Namespace::new("shop")?)?;
//! # Ok(())
//! # }
//! ```
//!
//! [`guide`] is the guide to tables as sources.
//!
//! # What they promise
//! Every step is one transaction, however much it does: no reader sees a half of an invalidation, and the jobs that it
//! needs are written with it. An acknowledged step is on the disk. Every namespace has separate rows in the tables
//! `smache_*`. A record with unreadable bookkeeping, because another program wrote to its row, is named in the log and
//! counts as absent: nothing about other entries fails, and the next run stores it again. An epoch that cannot be
//! read, and a revision that is no count or cannot grow, are replaced by the next step that has the namespace alone, such
//! as an invalidation or maintenance: every result of the namespace is computed again once.
//!
//! # Releases
//! The first program that connects makes the tables, which carry a version. A newer release migrates them when it
//! connects: in one transaction, which happens as a whole or not at all, and once however many programs start side by
//! side. In PostgreSQL the version counts the functions too, and every migration makes all of them again; it waits for
//! the steps that are under way, and needs the owner of the tables. A program refuses tables of a newer release and
//! changes nothing in them.
//!
//! A program that is running while a newer one migrates goes on if the migration says that it may. Otherwise each of
//! its steps and look-ups is refused with [`WrongServer`](smache_core::ErrorKind::WrongServer), and nothing is changed:
//! every statement names the version that it was written for. The tables and triggers that `install` of a source makes
//! follow the same rules, with a separate version; `install` migrates them.
//!
//! # PostgreSQL
//! Version 13 or newer, a primary. The tables and functions live in the first schema of the `search_path`; the role
//! needs `USAGE` and `CREATE` on it once, and then the rights on the tables and functions. Each step is one call of a
//! function, so one round trip, and a look-up is one statement. Steps on one entry share a lock of their namespace, and
//! steps that change the data that commits compare (an invalidation, a new epoch, maintenance) take it exclusively: a
//! lock on one of the empty tables `smache_lock_…`, by the hash of the name, which costs no write and needs a right on
//! them. Steps that lose a deadlock are begun again. Workers are woken by `NOTIFY`, on one connection more; a pooler
//! between has to keep a client on one connection of the server. Steps run with the isolation `read committed`,
//! whatever the default is: this crate sets it on the connections that it opens, and requires it of a pool of the
//! application.
//!
//! An incarnation is one run of one server on one set of tables: a restart or a failover is another one, on which
//! nothing is confirmed until the feeds have replayed. So are tables that were dropped and made again, as by
//! `pg_restore --clean`. The store cannot see that an earlier state is put back into the same tables while the server
//! runs, as by `pg_restore --data-only`: call [`Smache::invalidate_all`](smache_core::Smache::invalidate_all) after
//! that, in every namespace. The store overrides `synchronous_commit = off`, and refuses a pool of the application that
//! sets it.
//!
//! # Reports within the writer's transaction
//! Where the application's tables are in the database of the store, a transaction takes its invalidation along:
//! [`Smache::in_transaction`](smache_core::Smache::in_transaction) with a `PostgresTransaction` or a
//! `SqliteTransaction`. With its commit every result that depends on the change is stale for every process, jobs
//! included, and workers wake; with its rollback nothing has happened. A source whose every writer does so is built
//! `transactional`: it has no feed, and `doctor` calls it *exact*.
//!
//! In PostgreSQL the tables `smache_*` are found by the transaction's `search_path`, and its role needs rights on them;
//! it is `READ COMMITTED`, and holds the lock of the namespace from the report to its end. Until then runs of the
//! namespace cannot be stored, and other reporters, feeds and maintenance wait, up to their timeouts: so report last,
//! right before the commit, and open no dialogue with a user in between. Jobs that are queued already for the same
//! entries cannot end meanwhile either. Look-ups never wait. In SQLite such a transaction is the one writer of the file
//! that it is anyway, from its first change on.
//!
//! After a restart of the server everything of such sources is computed again, as for any source that the application
//! reports.
//!
//! # SQLite
//! One file in WAL mode with `synchronous = FULL`, shared by any number of processes of one machine. The writers of a
//! process stand in line for one connection; readers never wait. The time is this machine's clock. An incarnation is a
//! name in the file together with the number of the file (its inode), so that a copy that was restored is another one;
//! a copy over the same inode cannot be seen: call [`Smache::invalidate_all`](smache_core::Smache::invalidate_all)
//! after that, in every namespace. Waiting workers are woken at once by their own process and look every 50
//! milliseconds for the jobs of others. `Sqlite::builder(path).max_bytes(n)` bounds the file: one that is full refuses
//! steps, can be read, and takes steps again when something was removed or has expired.

mod cells;
mod changed;
mod contract;
mod error;
mod examine;
#[cfg(test)]
mod fuzz;
mod job;
#[cfg(test)]
mod limits;
mod page;
#[cfg(feature = "postgres")]
mod postgres;
mod programs;
mod record;
mod source;
#[cfg(feature = "sqlite")]
mod sqlite;
mod step;
mod version;
mod waits;

#[doc = include_str!("source/guide.md")]
pub mod guide {}

#[cfg(feature = "postgres")]
pub use self::{
    postgres::{Postgres, PostgresBuilder, PostgresQueue, PostgresStore, PostgresTransaction},
    source::{PostgresSource, PostgresSourceBuilder},
};
#[cfg(feature = "sqlite")]
pub use self::{
    source::{SqliteSource, SqliteSourceBuilder},
    sqlite::{Sqlite, SqliteBuilder, SqliteQueue, SqliteStore, SqliteTransaction},
};

pub use self::{
    error::is_outage,
    source::{TableSource, TableSourceBuilder},
};
/// The SQL toolkit, in the version whose pools this crate takes.
pub use sqlx;
