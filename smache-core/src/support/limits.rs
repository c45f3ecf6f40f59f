//! The bounds that are the same on every backend.

use std::time::Duration;

/// The most causes that a record names, the newest last: enough to see a pattern, in a record that is marked again and
/// again.
pub const CAUSES: usize = 8;

/// The most bytes of a cause: it names one entity or tag, and a record keeps [`CAUSES`] of them.
pub const CAUSE_BYTES: usize = 200;

/// The most bytes of an error that a record or a job keeps: a chain of causes fits, a dump of a page does not.
pub const ERROR_BYTES: usize = 2_000;

/// The most dependencies that [`CommitOutcome::Conflicted`](crate::CommitOutcome::Conflicted) names: people read them.
pub const NAMED_CONFLICTS: usize = 8;

/// The most notes of a waiting run, and the most runs whose notes an answer of
/// [`record_waits`](crate::EntryStore::record_waits) has: nested calls are at most as deep.
pub const WAITS: usize = 64;

/// The priority of the jobs that a store writes, from 0 (the most urgent) to 255: there is room on both sides.
pub const USUAL_PRIORITY: u8 = 4;

/// How long after the end of its lease maintenance reaps a run: its owner may be late and not dead.
pub const REAP_AFTER: Duration = Duration::from_secs(1);

/// How long the marks of an invalidation of several steps hold unless they are renewed; then maintenance redoes the
/// invalidation.
///
/// An author that is late and not dead renews them, however long its walk takes, unless one step of it waits too long
/// for a loaded server. Marks that lapse in the middle of a walk cost a second walk over all dependants. While the marks
/// of a dead author hold, commits on its dependencies conflict, and the dependants behind its last page are not marked
/// yet; but the author died before its change was acknowledged. So a longer life costs only time after a crash.
pub const MARK_LIFETIME: Duration = Duration::from_secs(30);

/// After how long a walk renews its marks: a third of their life, so that one renewal may fail.
pub const MARK_RENEWAL: Duration = Duration::from_secs(10);

/// The most jobs of vanished workers that one reservation returns to the queue, on servers that other steps wait for.
pub const LAPSED_JOBS: usize = 1_000;

/// The most jobs of a reservation and rows of a page of a listing, whatever the caller asks for.
pub const PAGE: usize = 10_000;

/// How many remembered changes a store may keep between two pieces of maintenance before a change trims them itself.
pub const REMEMBERED_CHANGES: usize = 10_000;

/// How long a backend waits for a connection, unless its builder says otherwise.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a source waits for an answer, unless its builder says otherwise: shorter than the 30 s for which drivers
/// look for a server, so that a reader learns of a dead server while it still waits.
pub const SOURCE_TIMEOUT: Duration = Duration::from_secs(10);

/// The most changes in one batch of a feed that reads them from a table. A stream of a server, whose answers have both
/// images of each change, takes half as many.
pub const CHANGES_A_BATCH: usize = 1_000;

/// The longest that a change stream waits for a change before it answers without any: each answer renews a validity,
/// which is 2 s by default.
pub const FEED_PATIENCE: Duration = Duration::from_millis(500);

/// The share of its bound from which `doctor` calls a store almost full.
pub const ALMOST_FULL: f64 = 0.8;
