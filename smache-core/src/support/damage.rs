//! Warnings about stored bytes that cannot be read: the same words on every backend, under one target of the log.
//!
//! Damage stops nothing else (see the invariants in `ARCHITECTURE.md`), so an operator sees nothing of it but a
//! warning. Each warning names the place: a key, a table or a document.

use std::fmt::Display;

/// A record, or a part of it, cannot be read: it counts as absent, and the next run writes it again.
pub fn log_damaged_record(place: impl Display, why: impl Display) {
    tracing::warn!(%place, %why, "a record that cannot be read counts as absent");
}

/// An epoch, of the namespace or of one source, cannot be read: maintenance replaces it, and its dependants are stale
/// once.
pub fn log_damaged_epoch(place: impl Display) {
    tracing::warn!(%place, "an epoch that cannot be read is replaced by a new one");
}

/// The saved position of a source cannot be read: its feed starts from the beginning.
pub fn log_damaged_position(place: impl Display, source: impl Display) {
    tracing::warn!(%place, %source, "a saved position that cannot be read counts as none");
}

/// A mark of an invalidation cannot be read: its dependency is unknown, so everything becomes stale instead.
pub fn log_damaged_mark(place: impl Display) {
    tracing::warn!(%place, "a mark that cannot be read is ended by a new epoch");
}

/// Jobs cannot be read: maintenance or the next reservation replaces or removes them, and no work is lost.
pub fn log_damaged_job(place: impl Display, jobs: u64) {
    tracing::warn!(%place, jobs, "jobs that cannot be read are replaced or removed");
}

/// Other state cannot be read: a job, a run, what a namespace keeps of itself. It starts again, with a new epoch where
/// something could be missed.
pub fn log_damaged_state(place: impl Display, what: impl Display) {
    tracing::warn!(%place, %what, "state that cannot be read is replaced");
}

/// The entity in a change cannot be read: the change counts without that image, so that it affects more and not less.
pub fn log_damaged_change(source: impl Display, entity: impl Display, why: impl Display) {
    tracing::warn!(%source, %entity, %why, "a changed entity cannot be read");
}
