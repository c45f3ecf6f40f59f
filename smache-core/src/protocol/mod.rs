//! The protocol: every step of a store and of a queue as a function without I/O.
//!
//! A step takes a *view*, which is what the backend has read, and answers a *plan*, which is what the backend has to
//! write and to say. The functions neither read a clock nor draw random numbers: the caller passes both in. So one text
//! serves the backends, the comparison of a backend with it (`smache_testkit::reference`), and a model checker, which
//! can run these functions over all orders of steps.
//!
//! The page `docs/protocol.md` tells the steps in prose, under the same letters.
//!
//! | letter | step | file | answers |
//! |---|---|---|---|
//! | B | begin a run | [`begin`] | [`Beginning`] |
//! | C | commit a run | [`commit`] | [`Committing`] |
//! | A | abort, reap or remove a run | [`abort`], [`reap`], [`may_remove`] | [`Aborting`], a [`JobWrite`] |
//! | X | extend a lease | [`extend`] | until when |
//! | I | invalidate: open, walk, finish | [`open`], [`announce`], [`mark`], [`revise`], [`withdraws`] | [`Opening`] |
//! | F | save the progress of a feed | [`save`] | [`FeedWrites`] |
//! | T | attach reported sources | [`attach`] | the new validities |
//! | L | lead a feed, resign | [`lead`], [`resign`] | [`Leading`] |
//! | R | restart a source | [`restart`] | [`FeedWrites`] |
//! | M | maintain: expire, trim, sweep | [`is_removed`], [`trim`], [`sweep`] | |
//! | W | note waiting runs | [`note_wait`] | |
//! | J | merge a request with a job | [`request`], [`ensure`], [`take_back`] | [`Requested`] |
//! | V | reserve a job, put it back | [`reserve`], [`put_back`] | the job |
//! | S | settle a job | [`settle`] | [`Settling`] |
//!
//! # Partitions
//! The revision, the low watermark, the last changes, the marks and the validity are those of a [*partition*](parts): a
//! part of a namespace that one server changes in one step, and loses as a whole. A namespace has one today. No step
//! reads two of them.
//!
//! # What a backend adds
//! It reads the view and writes the plan in one atomic step, and keeps indexes over what it stores: which entries
//! depend on a dependency, which are stale, which expire, which jobs are due.

mod abort;
mod attach;
mod begin;
mod commit;
mod extend;
mod feed;
mod invalidate;
mod jobs;
mod lead;
mod maintain;
mod mutant;
pub mod parts;
mod reserve;
mod restart;
mod settle;
#[cfg(test)]
mod testing;
mod waits;

#[cfg(feature = "mutants")]
pub use self::mutant::{Mutant, with_mutant};
pub use self::{
    abort::{Aborting, Ended, abort, may_remove, reap},
    attach::attach,
    begin::{Beginning, begin, is_pending},
    commit::{CommitView, Committing, Stored, changed_since, commit},
    extend::extend,
    feed::{FeedView, FeedWrites, save},
    invalidate::{Mark, Opening, announce, mark, open, renew_marks, revise, withdraws},
    jobs::{Requested, discard, ensure, job_write, request, requeue, take_back},
    lead::{Leading, lead, resign},
    maintain::{is_removed, raised, sweep, trim},
    parts::{ChangeLog, Changes, Head, JobStage, JobWrite, Leader, Request, Run, StoredJob, Wait},
    reserve::{extend_job, put_back, reserve},
    restart::restart,
    settle::{Settling, settle},
    waits::{counts, note_wait},
};
