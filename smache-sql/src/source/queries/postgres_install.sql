CREATE TABLE IF NOT EXISTS {schema}.smache_feed (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    -- Which history this is: a position of another one is not in it.
    id text NOT NULL,
    -- The youngest transaction of the trimmed rows.
    trimmed xid8 NOT NULL DEFAULT '0',
    -- The version of all that `install` makes, and the oldest version of a program that still reads it.
    version bigint NOT NULL DEFAULT 1,
    oldest bigint NOT NULL DEFAULT 1
);
INSERT INTO {schema}.smache_feed (id) VALUES (gen_random_uuid()::text) ON CONFLICT DO NOTHING;

CREATE TABLE IF NOT EXISTS {schema}.smache_tables (
    name text PRIMARY KEY,
    -- Which triggers `install` made. Others, or the same switched off and on again, may have missed changes.
    triggers text NOT NULL
);

CREATE TABLE IF NOT EXISTS {schema}.smache_changes (
    -- In the order of the changes of each row, because its changes wait for one another. Not in the order of commits.
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    source text NOT NULL,
    op text NOT NULL,
    -- Not `jsonb`, which refuses some of what a column of the type `json` can have, and with it the write.
    before text,
    after text,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX IF NOT EXISTS smache_changes_xid ON {schema}.smache_changes (xid);

-- Shows a crash: after one the server empties a table that is not logged. The crash has taken back transactions that
-- were committed, and read, with `synchronous_commit = off`.
CREATE UNLOGGED TABLE IF NOT EXISTS {schema}.smache_alive (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    life text NOT NULL DEFAULT gen_random_uuid()::text
);
INSERT INTO {schema}.smache_alive DEFAULT VALUES ON CONFLICT DO NOTHING;

-- As its owner, so that a writer of the table needs no right on the change table. Values are written in one way,
-- whatever the settings of the writer, and in the way in which the driver's connections read them.
CREATE OR REPLACE FUNCTION {schema}.smache_record() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
    SET datestyle = 'ISO, MDY'
    SET intervalstyle = 'postgres'
    SET bytea_output = 'hex'
    SET extra_float_digits = '1'
    AS {record};
REVOKE ALL ON FUNCTION {schema}.smache_record() FROM PUBLIC;

-- As its owner, so that a role that removes changes needs no right on `smache_feed` and `smache_tables`.
CREATE OR REPLACE FUNCTION {schema}.smache_guard() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS {guard};
REVOKE ALL ON FUNCTION {schema}.smache_guard() FROM PUBLIC;

-- As its owner, so that a feed that may only read can begin a history after a crash. A call without need changes
-- nothing.
CREATE OR REPLACE FUNCTION {schema}.smache_revive() RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS {revive};
