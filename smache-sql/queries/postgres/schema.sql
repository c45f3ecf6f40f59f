-- Numbers are bigint throughout, times are milliseconds of the server's clock.

-- oldest: the oldest version of a program that these tables serve. functions: a fingerprint of the files of the
-- functions.
CREATE TABLE smache_meta (
    version bigint NOT NULL,
    incarnation text NOT NULL,
    oldest bigint NOT NULL DEFAULT 1,
    made_by text NOT NULL DEFAULT '',
    functions text NOT NULL DEFAULT ''
);

CREATE TABLE smache_namespaces (
    ns bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    epoch bytea NOT NULL,
    revision bigint NOT NULL DEFAULT 0,
    low_watermark bigint NOT NULL DEFAULT 0,
    -- Where the walk over entries of old epochs goes on; null when there are none.
    sweep bytea
);

-- valid_until: null for a source that only the application changes.
CREATE TABLE smache_sources (
    ns bigint NOT NULL,
    name text NOT NULL,
    epoch bytea NOT NULL,
    caught_up_on text,
    valid_until bigint,
    position_order bytea,
    position_token bytea,
    PRIMARY KEY (ns, name)
);

CREATE TABLE smache_feeds (
    ns bigint NOT NULL,
    name text NOT NULL,
    holder bytea NOT NULL,
    fence bigint NOT NULL,
    until bigint NOT NULL,
    PRIMARY KEY (ns, name)
);

CREATE TABLE smache_runs (
    ns bigint NOT NULL,
    id bytea NOT NULL,
    token bytea NOT NULL,
    start_revision bigint NOT NULL,
    until bigint NOT NULL,
    PRIMARY KEY (ns, id)
);

-- Which run waits for the run of which other entry, for cycles across processes. A note counts until its time is over, and
-- while both runs are the ones that they were.
CREATE TABLE smache_waits (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ns bigint NOT NULL,
    id bytea NOT NULL,
    token bytea NOT NULL,
    child bytea NOT NULL,
    awaited bytea NOT NULL,
    until bigint NOT NULL
);
CREATE INDEX smache_waits_of ON smache_waits (ns, id);

-- staleness: 0 fresh, 1 maybe stale, 2 stale. used: sixteen bytes and `1` direct or `0` through a child, each.
CREATE TABLE smache_entries (
    ns bigint NOT NULL,
    id bytea NOT NULL,
    version bigint NOT NULL,
    staleness bigint NOT NULL,
    since bigint,
    stored_at bigint NOT NULL,
    expires bigint,
    conflicts bigint NOT NULL,
    failures bigint NOT NULL,
    failed_at bigint,
    lazy boolean NOT NULL,
    epochs bytea NOT NULL,
    failure text,
    causes text[] NOT NULL,
    call bytea NOT NULL,
    used bytea NOT NULL,
    meta bytea NOT NULL,
    value bytea NOT NULL,
    PRIMARY KEY (ns, id)
);
CREATE INDEX smache_entries_stale ON smache_entries (ns, id) WHERE staleness > 0;
CREATE INDEX smache_entries_expires ON smache_entries (ns, expires) WHERE expires IS NOT NULL;

CREATE TABLE smache_edges (
    ns bigint NOT NULL,
    dep bytea NOT NULL,
    id bytea NOT NULL,
    direct boolean NOT NULL,
    PRIMARY KEY (ns, dep, id)
);

CREATE TABLE smache_changed (
    ns bigint NOT NULL,
    dep bytea NOT NULL,
    revision bigint NOT NULL,
    PRIMARY KEY (ns, dep)
);
CREATE INDEX smache_changed_revision ON smache_changed (ns, revision);

-- state: 0 queued, 1 running, 2 dead letter. at: when the job is due, when its lease ends, or since when it is a dead
-- letter. again_*: a request that came while it ran.
CREATE TABLE smache_jobs (
    ns bigint NOT NULL,
    id bytea NOT NULL,
    lane bigint NOT NULL,
    priority bigint NOT NULL,
    state bigint NOT NULL,
    at bigint NOT NULL,
    token bytea,
    errors bigint NOT NULL DEFAULT 0,
    crashes bigint NOT NULL DEFAULT 0,
    error text,
    again_at bigint,
    again_lane bigint,
    again_priority bigint,
    PRIMARY KEY (ns, id)
);
CREATE INDEX smache_jobs_queued ON smache_jobs (ns, lane, priority, at) WHERE state = 0;
CREATE INDEX smache_jobs_running ON smache_jobs (ns, at) WHERE state = 1;
CREATE INDEX smache_jobs_dead_letters ON smache_jobs (ns, id) WHERE state = 2;

-- The rows that `record.rs` reads: what confirms, then entries, then what else is known of them.
CREATE TYPE smache_row AS (
    kind bigint, t text, u text, a bytea, b bytea, c bytea, d bytea, i bigint, j bigint, k bigint, l bigint, m bigint
);

-- The locks, which steps take first: the hash of a namespace's name chooses one. They stay empty. An advisory lock
-- would need no table, and no right.
DO $$
BEGIN
    FOR number IN 0 .. 63 LOOP
        EXECUTE format('CREATE TABLE smache_lock_%s ()', number);
    END LOOP;
END $$;
