//! Jobs as a part of the document of their entry.
//!
//! `s` is the state (0 queued, 1 running, 2 dead letter), `l` the lane (the urgent one sorts first), `p` the priority.
//! `at` is when the job is due, when its lease ends, or when it became a dead letter. `token` is the reservation's,
//! `errors` and `crashes` are the counters, `error` is the last error, and `again` holds the requests during its run.
//! `n` is the namespace, for the index.

use mongodb::bson::{Bson, Document, doc};
use smache_core::{
    EntryId, FoundJob, JobState, Lane, ListedJob, Result, Timestamp,
    support::{few, limits::USUAL_PRIORITY},
};

use crate::{
    error::corrupt,
    expression::{cond, gone, is_missing, keep},
    keys::entry_of,
    record::Fields,
};

pub(crate) const UNREADABLE: &str = "a job cannot be read: unset `job` in its document of `smache_entries`";

/// The priority of the jobs that the store writes.
pub(crate) const USUAL: i64 = USUAL_PRIORITY as i64;

pub(crate) const QUEUED: i64 = 0;
pub(crate) const RUNNING: i64 = 1;
pub(crate) const DEAD_LETTER: i64 = 2;

pub(crate) fn lane_number(lane: Lane) -> i64 {
    match lane {
        Lane::Propagation => 0,
        Lane::Recompute => 1,
    }
}

pub(crate) fn state_number(state: JobState) -> i64 {
    match state {
        JobState::Queued => QUEUED,
        JobState::Running => RUNNING,
        JobState::DeadLetter => DEAD_LETTER,
    }
}

/// A new job.
pub(crate) fn new(namespace: i64, lane: &Bson, priority: i64, due: &Bson) -> Bson {
    let fields = doc! { "n": namespace, "s": QUEUED, "l": lane, "p": priority, "at": due };
    doc! { "$mergeObjects": [fields, { "errors": 0_i64, "crashes": 0_i64 }] }.into()
}

/// Selects unreadable jobs among the documents that a filter of ids matches.
pub(crate) fn damaged(namespace: i64, ids: Bson) -> Document {
    let no_number = |field: &str| doc! { field: { "$not": { "$type": ["int", "long"] } } };
    doc! { "_id": ids, "job": { "$ne": Bson::Null }, "$or": [
        { "job.n": { "$ne": namespace } },
        { "job.s": { "$nin": [QUEUED, RUNNING, DEAD_LETTER] } },
        { "job.l": { "$nin": [0_i64, 1_i64] } },
        no_number("job.p"), no_number("job.at"), no_number("job.errors"), no_number("job.crashes"),
        { "job.s": RUNNING, "job.token": { "$not": { "$type": "binData" } } },
    ] }
}

/// A change needs the entry to be computed: a queued job becomes as urgent as this one, a running one runs once more, a
/// dead letter comes back.
pub(crate) fn needed(namespace: i64, lane: &Bson, priority: i64, due: &Bson) -> Bson {
    // A missing field must not count as the smallest number.
    let sooner = |of: &str| {
        let field = |name: &str| format!("$job.{of}{name}");
        doc! {
            "l": { "$min": [field("l"), lane] }, "p": { "$min": [field("p"), priority] },
            "at": { "$min": [field("at"), due] },
        }
    };
    doc! { "$switch": {
        "branches": [
            { "case": { "$eq": ["$job.s", QUEUED] }, "then": { "$mergeObjects": ["$job", sooner("")] } },
            { "case": { "$eq": ["$job.s", RUNNING] }, "then": { "$mergeObjects": ["$job", { "again": sooner("again.") }] } },
        ],
        "default": new(namespace, lane, priority, due),
    } }
    .into()
}

/// A run of a stale entry ended without a value. No data changed, so an existing job stays unchanged.
pub(crate) fn ensured(namespace: i64, lane: &Bson, due: &Bson) -> Bson {
    cond(is_missing("$job"), new(namespace, lane, USUAL, due), "$job")
}

/// The entry is fresh or gone: a queued job and a dead letter go, a running job does not run again.
pub(crate) fn taken_back() -> Bson {
    cond(doc! { "$eq": ["$job.s", RUNNING] }, without(&["again"]), gone())
}

/// The job without some of its fields.
pub(crate) fn without(fields: &[&str]) -> Bson {
    let named: Vec<&str> = fields.to_vec();
    doc! { "$arrayToObject": { "$filter": {
        "input": { "$objectToArray": "$job" },
        "cond": { "$not": [{ "$in": ["$$this.k", named] }] },
    } } }
    .into()
}

/// A running job goes back to the queue, as urgent as the requests during its run.
pub(crate) fn queued_again(due: &Bson, more: Document) -> Bson {
    let merged = doc! {
        "s": QUEUED, "at": due, "l": { "$min": ["$job.l", "$job.again.l"] }, "p": { "$min": ["$job.p", "$job.again.p"] },
    };
    doc! { "$mergeObjects": [without(&["again", "token"]), merged, more] }.into()
}

/// A job without its last error.
pub(crate) fn without_error(job: &Bson) -> Bson {
    doc! { "$arrayToObject": { "$filter": {
        "input": { "$objectToArray": job },
        "cond": { "$ne": ["$$this.k", "error"] },
    } } }
    .into()
}

/// The job of a document, unchanged.
pub(crate) fn kept() -> Bson {
    keep("$job")
}

/// The job of a document for an inspection.
pub(crate) fn found(job: &Document) -> Result<FoundJob> {
    let job = Fields::new(job, UNREADABLE);
    let lane = match job.int("l")? {
        0 => Lane::Propagation,
        1 => Lane::Recompute,
        _ => return Err(corrupt(UNREADABLE)),
    };
    let state = match job.int("s")? {
        QUEUED => JobState::Queued,
        RUNNING => JobState::Running,
        DEAD_LETTER => JobState::DeadLetter,
        _ => return Err(corrupt(UNREADABLE)),
    };
    let mut found = FoundJob::new(lane, state, Timestamp::from_millis(job.count("at")?));
    (found.errors, found.crashes) = (few(job.int("errors")?), few(job.int("crashes")?));
    found.error = job.text("error").map(str::to_owned);
    Ok(found)
}

/// A job in a listing, from its document.
pub(crate) fn listed(entry: &Document) -> Result<ListedJob> {
    let job = entry.get_document("job").map_err(|_| corrupt(UNREADABLE))?;
    let id = id_of(entry)?;
    let job = Fields::new(job, UNREADABLE);
    Ok(ListedJob { id, at: Timestamp::from_millis(job.count("at")?), error: job.text("error").map(str::to_owned) })
}

/// The entry of a document.
pub(crate) fn id_of(entry: &Document) -> Result<EntryId> {
    let key = entry
        .get_binary_generic("_id")
        .map_err(|_| corrupt("a document of `smache_entries` has no id of ours: remove it"))?;
    entry_of(key)
}
