//! The run of the current task, for reads that the framework does not do itself.

use super::Cx;

tokio::task_local! {
    pub(crate) static RUN: Cx;
}

/// Notes that the computed function of the current task read a source by its own client. For hooks in database clients.
/// Returns whether there is such a function and a source of that name.
///
/// The result does not depend on the source by this: it is for [strict mode](crate::Builder::strict) and the
/// [auditor](crate::inspect::Inspector::audit).
pub fn note_read(source: &str) -> bool {
    RUN.try_with(|cx| cx.note_read(source)).unwrap_or(false)
}
