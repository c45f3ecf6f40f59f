-- Helpers of the steps. A volatile function takes a new snapshot for every statement in it, so that the statements
-- after a lock see everything that was committed before it.

-- The time at which the step was requested, before it waited for a lock: an older time only makes leases shorter, and a
-- value never looks fresh as of a moment at which a change that it misses was acknowledged.
CREATE OR REPLACE FUNCTION smache_now() RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT floor(extract(epoch FROM transaction_timestamp()) * 1000)::bigint
$$;

-- The incarnation of the server and the tables: every start of a server, so every failover, and every restore that
-- makes the tables again is another one, also in a server that goes on, or under another name beside them. A restore
-- into the same tables is not seen.
CREATE OR REPLACE FUNCTION smache_incarnation() RETURNS text LANGUAGE sql STABLE AS $$
    SELECT concat_ws('/', incarnation, current_database(), tableoid,
        (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint) FROM smache_meta
$$;

CREATE OR REPLACE FUNCTION smache_random() RETURNS bytea LANGUAGE sql VOLATILE AS $$
    SELECT uuid_send(gen_random_uuid())
$$;

-- The table that stands for a key among the locks.
CREATE OR REPLACE FUNCTION smache_lock_of(p_key text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT 'smache_lock_' || (hashtextextended(p_key, 0) & 63)
$$;

-- Takes a lock until the end of the transaction. It is in memory: no step writes for a lock's sake. A vacuum and `ROW
-- SHARE` do not wait for each other.
CREATE OR REPLACE FUNCTION smache_lock(p_key text, p_mode text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('LOCK TABLE %s IN %s MODE', smache_lock_of(p_key), p_mode);
END $$;

-- Whether a number counts something. None of them comes near the latest time, so the next one is a number too.
CREATE OR REPLACE FUNCTION smache_is_count(p_number bigint) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT p_number BETWEEN 0 AND (1::bigint << 60) - 1
$$;

-- The row of a namespace, made if missing. Locks, always taken first: 1 shared, for a step on one entry; 2 alone, for a
-- change of the rows that commits compare with. Namespaces of one lock wait for each other, and no step needs two.
-- A step that is alone replaces an epoch that cannot be read. A revision that is damaged, or cannot grow, goes on at the
-- time, in microseconds, which no count of changes reaches, and under another epoch, in which no run compares with an
-- earlier revision. Without a name there is no step: the tables no longer serve the version of the program.
CREATE OR REPLACE FUNCTION smache_namespace(p_name text, p_lock int) RETURNS smache_namespaces LANGUAGE plpgsql AS $$
DECLARE
    s smache_namespaces;
BEGIN
    IF p_name IS NULL THEN
        RAISE EXCEPTION 'the tables smache_* are of a version that this program does not know' USING ERRCODE = 'SM001';
    END IF;
    -- Connections of a pool of the application may have no bound. The program has given up by then, and a step that
    -- waits on keeps the connection. Own connections have a bound, and a bound that the application has set stays.
    IF current_setting('lock_timeout') = '0' THEN
        PERFORM set_config('lock_timeout', '5s', true);
    END IF;
    IF p_lock = 1 THEN
        PERFORM smache_lock('smache:' || p_name, 'ROW SHARE');
    ELSIF p_lock = 2 THEN
        PERFORM smache_lock('smache:' || p_name, 'EXCLUSIVE');
    END IF;
    SELECT * INTO s FROM smache_namespaces WHERE name = p_name;
    IF NOT FOUND THEN
        INSERT INTO smache_namespaces (name, epoch) VALUES (p_name, smache_random()) ON CONFLICT DO NOTHING;
        SELECT * INTO s FROM smache_namespaces WHERE name = p_name;
    END IF;
    IF p_lock = 2 AND (octet_length(s.epoch) <> 16 OR NOT smache_is_count(s.revision)
            OR s.low_watermark NOT BETWEEN 0 AND s.revision) THEN
        s.revision := CASE WHEN smache_is_count(s.revision) THEN s.revision ELSE smache_now() * 1000 END;
        UPDATE smache_namespaces n
            SET epoch = smache_random(), sweep = '', revision = s.revision, low_watermark = s.revision
            WHERE n.ns = s.ns RETURNING n.* INTO s;
        DELETE FROM smache_changed WHERE ns = s.ns;
    END IF;
    RETURN s;
END $$;

-- Whether the epochs of an entry are the present ones: the namespace's, then length, name and epoch of each source. Names
-- are compared as bytes: those of a damaged record need not be text.
CREATE OR REPLACE FUNCTION smache_present(p_ns bigint, p_epochs bytea) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    place int := 17;
    size int;
BEGIN
    PERFORM 1 FROM smache_namespaces WHERE ns = p_ns AND epoch = substring(p_epochs FROM 1 FOR 16);
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    WHILE place <= length(p_epochs) LOOP
        size := get_byte(p_epochs, place - 1);
        PERFORM 1 FROM smache_sources
            WHERE ns = p_ns AND convert_to(name, 'UTF8') = substring(p_epochs FROM place + 1 FOR size)
                AND epoch = substring(p_epochs FROM place + 1 + size FOR 16);
        IF NOT FOUND THEN
            RETURN false;
        END IF;
        place := place + 17 + size;
    END LOOP;
    RETURN true;
END $$;

-- The dependencies in what a record keeps of them.
CREATE OR REPLACE FUNCTION smache_deps(p_used bytea) RETURNS SETOF bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT substring(p_used FROM place FOR 16) FROM generate_series(1, length(p_used), 17) AS place
$$;

-- The last eight causes, none twice in a row. A damaged record has none.
CREATE OR REPLACE FUNCTION smache_note(p_causes text[], p_new text[]) RETURNS text[] LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    causes text[] := CASE WHEN array_ndims(p_causes) = 1 THEN array_remove(p_causes, NULL) ELSE '{}' END;
    cause text;
BEGIN
    FOREACH cause IN ARRAY coalesce(p_new, '{}') LOOP
        IF cause IS DISTINCT FROM causes[cardinality(causes)] THEN
            causes := causes || cause;
        END IF;
    END LOOP;
    RETURN causes[greatest(1, cardinality(causes) - 7):];
END $$;

-- A change needs entries to be computed: their jobs come back even if they had become dead letters. The ids are distinct.
CREATE OR REPLACE FUNCTION smache_need(p_ns bigint, p_ids bytea[], p_lanes bigint[], p_priority bigint, p_due bigint)
RETURNS void LANGUAGE sql VOLATILE AS $$
    INSERT INTO smache_jobs AS j (ns, id, lane, priority, state, at)
        SELECT p_ns, id, lane, p_priority, 0, p_due FROM unnest(p_ids, p_lanes) AS u (id, lane) ORDER BY id
    ON CONFLICT (ns, id) DO UPDATE SET
        state = CASE j.state WHEN 1 THEN 1 ELSE 0 END,
        lane = CASE j.state WHEN 0 THEN least(j.lane, excluded.lane) WHEN 1 THEN j.lane ELSE excluded.lane END,
        priority = CASE j.state WHEN 0 THEN least(j.priority, excluded.priority) WHEN 1 THEN j.priority
            ELSE excluded.priority END,
        at = CASE j.state WHEN 0 THEN least(j.at, excluded.at) WHEN 1 THEN j.at ELSE excluded.at END,
        errors = CASE j.state WHEN 2 THEN 0 ELSE j.errors END,
        crashes = CASE j.state WHEN 2 THEN 0 ELSE j.crashes END,
        error = CASE j.state WHEN 2 THEN NULL ELSE j.error END,
        again_at = CASE j.state WHEN 1 THEN least(j.again_at, excluded.at) END,
        again_lane = CASE j.state WHEN 1 THEN least(j.again_lane, excluded.lane) END,
        again_priority = CASE j.state WHEN 1 THEN least(j.again_priority, excluded.priority) END
$$;

-- A run of a stale entry ended without a value: nothing changed, so that an existing job stays unchanged.
CREATE OR REPLACE FUNCTION smache_ensure(p_ns bigint, p_id bytea, p_lane bigint, p_priority bigint, p_due bigint)
RETURNS void LANGUAGE sql VOLATILE AS $$
    INSERT INTO smache_jobs (ns, id, lane, priority, state, at) VALUES (p_ns, p_id, p_lane, p_priority, 0, p_due)
    ON CONFLICT DO NOTHING
$$;

-- The entries are fresh or gone: what is queued or a dead letter has nothing to do, what runs need not run once more.
CREATE OR REPLACE FUNCTION smache_take_back(p_ns bigint, p_ids bytea[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    -- Locked first: both statements would miss a job whose state changes between them.
    PERFORM 1 FROM smache_jobs WHERE ns = p_ns AND id = ANY (p_ids) ORDER BY id FOR UPDATE;
    IF FOUND THEN
        DELETE FROM smache_jobs WHERE ns = p_ns AND id = ANY (p_ids) AND state <> 1;
        UPDATE smache_jobs SET again_at = NULL, again_lane = NULL, again_priority = NULL
            WHERE ns = p_ns AND id = ANY (p_ids) AND again_at IS NOT NULL;
    END IF;
END $$;

-- Removes the edges from dependencies to an entry, one by one. A plan for all of them may read every edge of the namespace
-- for each, as the planner takes an entry to have few edges.
CREATE OR REPLACE FUNCTION smache_drop_edges(p_ns bigint, p_id bytea, p_deps bytea[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    one bytea;
BEGIN
    FOREACH one IN ARRAY p_deps LOOP
        DELETE FROM smache_edges WHERE ns = p_ns AND dep = one AND id = p_id;
    END LOOP;
END $$;

-- Removes records with their edges and jobs, but not their runs: the run of an entry may still store its result.
CREATE OR REPLACE FUNCTION smache_forget(p_ns bigint, p_ids bytea[], p_jobs boolean) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    gone bigint := 0;
    entry record;
BEGIN
    -- Locked first, in a separate statement: only the next one sees the edges of a commit that it waited for.
    PERFORM 1 FROM smache_entries WHERE ns = p_ns AND id = ANY (p_ids) ORDER BY id FOR UPDATE;
    FOR entry IN DELETE FROM smache_entries WHERE ns = p_ns AND id = ANY (p_ids) RETURNING id, used LOOP
        gone := gone + 1;
        PERFORM smache_drop_edges(p_ns, entry.id, ARRAY(SELECT smache_deps(entry.used)));
    END LOOP;
    IF p_jobs THEN
        PERFORM smache_take_back(p_ns, p_ids);
    END IF;
    RETURN gone;
END $$;

-- The lane in which an entry has to be computed; null if no job has to compute it, also where its readers do.
CREATE OR REPLACE FUNCTION smache_lane(p_ns bigint, p_id bytea) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    e record;
BEGIN
    SELECT staleness, lazy, epochs INTO e FROM smache_entries WHERE ns = p_ns AND id = p_id;
    RETURN CASE
        WHEN NOT FOUND OR e.lazy THEN NULL
        WHEN e.staleness NOT IN (0, 1) OR NOT smache_present(p_ns, e.epochs) THEN 1
        WHEN e.staleness = 1 THEN 0
    END;
END $$;
