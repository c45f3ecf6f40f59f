-- Times are milliseconds of this machine's clock.

-- oldest: of which version a program may be that still runs.
CREATE TABLE smache_meta (
    version INTEGER NOT NULL,
    incarnation TEXT NOT NULL,
    oldest INTEGER NOT NULL DEFAULT 1,
    made_by TEXT NOT NULL DEFAULT ''
) STRICT;

-- sweep: where the walk over entries of old epochs goes on; null when there are none. added: counts the steps that added jobs.
CREATE TABLE smache_namespaces (
    ns INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    epoch BLOB NOT NULL,
    revision INTEGER NOT NULL DEFAULT 0,
    low_watermark INTEGER NOT NULL DEFAULT 0,
    added INTEGER NOT NULL DEFAULT 0,
    sweep BLOB
) STRICT;

-- valid_until: null for a source that only the application changes.
CREATE TABLE smache_sources (
    ns INTEGER NOT NULL,
    name TEXT NOT NULL,
    epoch BLOB NOT NULL,
    caught_up_on TEXT,
    valid_until INTEGER,
    position_order BLOB,
    position_token BLOB,
    PRIMARY KEY (ns, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE smache_feeds (
    ns INTEGER NOT NULL,
    name TEXT NOT NULL,
    holder BLOB NOT NULL,
    fence INTEGER NOT NULL,
    until INTEGER NOT NULL,
    PRIMARY KEY (ns, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE smache_runs (
    ns INTEGER NOT NULL,
    id BLOB NOT NULL,
    token BLOB NOT NULL,
    start_revision INTEGER NOT NULL,
    until INTEGER NOT NULL,
    PRIMARY KEY (ns, id)
) STRICT, WITHOUT ROWID;

-- Which run waits for the run of which other entry, for cycles across processes. A note counts until its time is over, and
-- while both runs are the ones that they were.
CREATE TABLE smache_waits (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    ns INTEGER NOT NULL,
    id BLOB NOT NULL,
    token BLOB NOT NULL,
    child BLOB NOT NULL,
    awaited BLOB NOT NULL,
    until INTEGER NOT NULL
) STRICT;
CREATE INDEX smache_waits_of ON smache_waits (ns, id);

-- staleness: 0 fresh, 1 maybe stale, 2 stale. used: sixteen bytes and `1` direct or `0` through a child, each.
-- causes: an array of JSON. The columns that change often come before the large ones.
CREATE TABLE smache_entries (
    ns INTEGER NOT NULL,
    id BLOB NOT NULL,
    version INTEGER NOT NULL,
    staleness INTEGER NOT NULL,
    since INTEGER,
    stored_at INTEGER NOT NULL,
    expires INTEGER,
    conflicts INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    failed_at INTEGER,
    lazy INTEGER NOT NULL,
    epochs BLOB NOT NULL,
    failure TEXT,
    causes TEXT NOT NULL,
    call BLOB NOT NULL,
    used BLOB NOT NULL,
    meta BLOB NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (ns, id)
) STRICT;
CREATE INDEX smache_entries_stale ON smache_entries (ns, id) WHERE staleness > 0;
CREATE INDEX smache_entries_expires ON smache_entries (ns, expires) WHERE expires IS NOT NULL;

CREATE TABLE smache_edges (
    ns INTEGER NOT NULL,
    dep BLOB NOT NULL,
    id BLOB NOT NULL,
    direct INTEGER NOT NULL,
    PRIMARY KEY (ns, dep, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE smache_changed (
    ns INTEGER NOT NULL,
    dep BLOB NOT NULL,
    revision INTEGER NOT NULL,
    PRIMARY KEY (ns, dep)
) STRICT, WITHOUT ROWID;
CREATE INDEX smache_changed_revision ON smache_changed (ns, revision);

-- state: 0 queued, 1 running, 2 dead letter. at: when the job is due, when its lease ends, or since when it is a dead
-- letter. again_*: a request that came while it ran.
CREATE TABLE smache_jobs (
    ns INTEGER NOT NULL,
    id BLOB NOT NULL,
    lane INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    state INTEGER NOT NULL,
    at INTEGER NOT NULL,
    token BLOB,
    errors INTEGER NOT NULL DEFAULT 0,
    crashes INTEGER NOT NULL DEFAULT 0,
    error TEXT,
    again_at INTEGER,
    again_lane INTEGER,
    again_priority INTEGER,
    PRIMARY KEY (ns, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX smache_jobs_queued ON smache_jobs (ns, lane, priority, at) WHERE state = 0;
CREATE INDEX smache_jobs_running ON smache_jobs (ns, at) WHERE state = 1;
CREATE INDEX smache_jobs_dead_letters ON smache_jobs (ns, id) WHERE state = 2;
