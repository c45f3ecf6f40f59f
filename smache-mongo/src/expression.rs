//! Server expressions for updates.
//!
//! An update is a pipeline, so that its effect follows from the document at that moment, and from the server's time.
//! Every value from outside is a literal: a text that begins with a dollar sign is no field.

use std::time::Duration;

use mongodb::bson::{Bson, Document, doc};
use smache_core::support::limits::CAUSES;
pub(crate) use smache_core::support::{millis, number, time};

/// The last time that every driver and tool can show as a date: the end of the year 9999.
const LAST_DATE: i64 = 253_402_300_799_000;

/// How long after its end maintenance may remove an entry, before the server does.
const GRACE: i64 = 3_600_000;

/// The server's time, in milliseconds.
pub(crate) fn now() -> Bson {
    doc! { "$toLong": "$$NOW" }.into()
}

/// The server's time plus a duration.
pub(crate) fn after(duration: Duration) -> Bson {
    doc! { "$add": [now(), millis(duration)] }.into()
}

pub(crate) fn literal(value: impl Into<Bson>) -> Bson {
    doc! { "$literal": value.into() }.into()
}

pub(crate) fn cond(holds: impl Into<Bson>, then: impl Into<Bson>, otherwise: impl Into<Bson>) -> Bson {
    doc! { "$cond": [holds.into(), then.into(), otherwise.into()] }.into()
}

/// `then` where the condition holds, else the present value of the field.
pub(crate) fn when(holds: impl Into<Bson>, field: &str, then: impl Into<Bson>) -> Bson {
    cond(holds, then, keep(field))
}

/// The present value of the field, if it has one.
pub(crate) fn keep(field: &str) -> Bson {
    doc! { "$ifNull": [field, "$$REMOVE"] }.into()
}

pub(crate) fn gone() -> Bson {
    "$$REMOVE".into()
}

pub(crate) fn is_missing(field: &str) -> Bson {
    doc! { "$eq": [{ "$type": field }, "missing"] }.into()
}

pub(crate) fn is_there(field: &str) -> Bson {
    doc! { "$ne": [{ "$type": field }, "missing"] }.into()
}

pub(crate) fn all<const N: usize>(conditions: [Bson; N]) -> Bson {
    doc! { "$and": Vec::from(conditions) }.into()
}

/// Whether the document has a value, and is not only a job or a run.
pub(crate) fn has_record() -> Bson {
    is_there("$n")
}

/// The last stages of every update of an entry: they derive the fields for the indexes.
pub(crate) fn tidy(namespace: i64) -> [Document; 2] {
    let nothing = all([is_missing("$n"), is_missing("$run"), is_missing("$job")]);
    let idle = all([is_missing("$run"), is_missing("$job")]);
    let purge = doc! { "$switch": {
        "branches": [
            { "case": is_missing("$n"), "then": "$$NOW" },
            { "case": { "$lt": [{ "$ifNull": ["$expires", i64::MAX] }, LAST_DATE - GRACE] },
              "then": { "$toDate": { "$add": ["$expires", GRACE] } } },
        ],
        "default": gone(),
    } };
    [
        doc! { "$set": {
            // A run that ended without storing its value leaves no edges.
            "deps": when(all([is_missing("$n"), is_missing("$next")]), "$deps", gone()),
            "is_stale": cond(all([has_record(), doc! { "$gt": ["$stale", 0] }.into()]), true, gone()),
            "purge_at": cond(idle, purge, gone()),
        } },
        doc! { "$set": { "end": cond(
            nothing,
            doc! { "n": namespace, "at": 0_i64 },
            cond(all([has_record(), is_there("$expires")]), doc! { "n": namespace, "at": "$expires" }, gone()),
        ) } },
    ]
}

/// Appends causes to those of a record, as [`note_cause`](smache_core::support::note_cause) does.
pub(crate) fn noted(before: &str, new: impl Into<Bson>) -> Bson {
    let joined = doc! { "$concatArrays": ["$$value", ["$$this"]] };
    doc! { "$slice": [{ "$reduce": {
        "input": new.into(),
        "initialValue": { "$ifNull": [before, []] },
        "in": { "$cond": [{ "$eq": [{ "$last": "$$value" }, "$$this"] }, "$$value", joined] },
    } }, -(CAUSES as i64)] }
    .into()
}
