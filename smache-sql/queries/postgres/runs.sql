-- Kind 4: busy, for i. Else kinds 0 to 3, with the revision of the run in the head.
CREATE OR REPLACE FUNCTION smache_begin(p_name text, p_id bytea, p_token bytea, p_lease bigint)
RETURNS SETOF smache_row LANGUAGE plpgsql AS $$
DECLARE
    s smache_namespaces := smache_namespace(p_name, 0);
    t bigint := smache_now();
    began bigint;
    ends bigint;
BEGIN
    -- The notes of a run end with it, also where a late request begins it once more.
    IF EXISTS (SELECT FROM smache_waits WHERE ns = s.ns AND id = p_id AND token = p_token)
        AND NOT EXISTS (SELECT FROM smache_runs WHERE ns = s.ns AND id = p_id AND token = p_token)
    THEN
        DELETE FROM smache_waits WHERE ns = s.ns AND id = p_id AND token = p_token;
    END IF;
    -- The revision is the one from before the lock on the run, so from before any data is read. Maintenance that does not see
    -- the run yet may trim above it: the low watermark then makes the commit a conflict.
    INSERT INTO smache_runs AS r (ns, id, token, start_revision, until) VALUES (s.ns, p_id, p_token, s.revision, t + p_lease)
    ON CONFLICT (ns, id) DO UPDATE SET
        token = excluded.token, until = excluded.until,
        start_revision = CASE WHEN r.token = excluded.token THEN r.start_revision ELSE excluded.start_revision END
        WHERE r.token = excluded.token OR r.until <= t
    RETURNING r.start_revision INTO began;
    IF NOT FOUND THEN
        SELECT until INTO ends FROM smache_runs WHERE ns = s.ns AND id = p_id;
        RETURN NEXT (4, NULL, NULL, NULL, NULL, NULL, NULL, greatest(ends - t, 1), NULL, NULL, NULL, NULL)::smache_row;
        RETURN;
    END IF;
    -- One statement, one snapshot: the entry is as old as what confirms it.
    RETURN QUERY
        SELECT 0::bigint, smache_incarnation(), NULL::text, n.epoch, NULL::bytea, NULL::bytea, NULL::bytea,
            t, began, (SELECT f.until FROM smache_feeds f WHERE f.ns = s.ns AND f.name = 'smache:attached'), NULL::bigint,
            NULL::bigint
            FROM smache_namespaces n WHERE n.ns = s.ns
        UNION ALL
        SELECT 1, v.name, v.caught_up_on, v.epoch, NULL, NULL, NULL, v.valid_until, NULL, NULL, NULL, NULL
            FROM smache_sources v WHERE v.ns = s.ns
        UNION ALL
        SELECT 2, NULL, NULL, e.id, e.epochs, e.meta, e.value, e.version, e.staleness, e.since, e.stored_at, e.expires
            FROM smache_entries e WHERE e.ns = s.ns AND e.id = p_id
        UNION ALL
        SELECT 3, NULL, '[]', e.id, e.call, e.used, NULL, e.conflicts, e.failures, NULL, e.lazy::int, NULL
            FROM smache_entries e WHERE e.ns = s.ns AND e.id = p_id;
END $$;

-- Outcome: 0 fresh, 1 stored as stale, 2 lost, 3 another incarnation, 4 conflict reported, at a revision. Vias: 0
-- child, 1 direct, 2 guard.
CREATE OR REPLACE FUNCTION smache_commit(
    p_name text, p_id bytea, p_token bytea, p_start_revision bigint, p_version bigint, p_most_reported bigint,
    p_incarnation text, p_epochs bytea, p_call bytea, p_value bytea,
    p_meta bytea, p_used bytea, p_deps bytea[], p_vias bigint[], p_ttl bigint, p_not_after bigint, p_tainted boolean,
    p_lazy boolean, p_delay bigint, p_jobs boolean,
    OUT outcome bigint, OUT now bigint, OUT revision bigint, OUT conflicts bytea[]
) LANGUAGE plpgsql AS $$
DECLARE
    s smache_namespaces;
    t bigint := smache_now();
    must_run boolean;
    otherwise_right boolean;
    stale bigint;
    old record;
BEGIN
    now := t;
    IF p_incarnation <> smache_incarnation() THEN
        outcome := 3;
        RETURN;
    END IF;
    s := smache_namespace(p_name, 1);
    PERFORM 1 FROM smache_runs WHERE ns = s.ns AND id = p_id AND token = p_token AND start_revision = p_start_revision FOR UPDATE;
    IF NOT FOUND THEN
        outcome := 2;
        RETURN;
    END IF;

    SELECT (array_agg(DISTINCT u.dep))[:p_most_reported + 8], coalesce(bool_or(u.via <> 0), false) INTO conflicts, must_run
        FROM unnest(p_deps, p_vias) AS u (dep, via)
        WHERE p_version < s.low_watermark OR EXISTS (
            SELECT 1 FROM smache_changed c WHERE c.ns = s.ns AND c.dep = u.dep AND c.revision > p_version
        );
    otherwise_right := NOT p_tainted AND smache_present(s.ns, p_epochs);
    IF otherwise_right AND p_version >= s.low_watermark AND cardinality(conflicts) <= p_most_reported THEN
        outcome := 4;
        revision := s.revision;
        RETURN;
    END IF;
    DELETE FROM smache_runs WHERE ns = s.ns AND id = p_id AND token = p_token;
    stale := CASE
        WHEN must_run OR NOT otherwise_right THEN 2
        WHEN conflicts IS NOT NULL THEN 1
        ELSE 0
    END;

    SELECT e.used, e.staleness, e.since, e.causes, e.conflicts INTO old
        FROM smache_entries e WHERE e.ns = s.ns AND e.id = p_id;
    INSERT INTO smache_entries AS e (ns, id, version, staleness, since, stored_at, expires, conflicts, failures,
        failed_at, lazy, epochs, failure, causes, call, used, meta, value)
    VALUES (s.ns, p_id, p_version, stale, CASE WHEN stale > 0 THEN t END, t, least(t + p_ttl, p_not_after),
        CASE WHEN stale > 0 THEN 1 ELSE 0 END, 0, NULL, p_lazy, p_epochs, NULL, '{}', p_call, p_used, p_meta, p_value)
    ON CONFLICT (ns, id) DO UPDATE SET
        version = excluded.version, staleness = excluded.staleness, stored_at = excluded.stored_at,
        since = CASE WHEN stale > 0 AND e.staleness > 0 THEN coalesce(e.since, t) ELSE excluded.since END,
        expires = excluded.expires, failures = 0, failed_at = NULL, failure = NULL, lazy = excluded.lazy,
        -- The causes of a damaged record are dropped.
        conflicts = CASE WHEN stale > 0 THEN least(e.conflicts, 4294967294) + 1 ELSE 0 END,
        causes = CASE WHEN stale > 0 THEN smache_note(e.causes, '{}') ELSE '{}' END,
        epochs = excluded.epochs, call = excluded.call, used = excluded.used, meta = excluded.meta,
        value = excluded.value;

    IF old.used IS DISTINCT FROM p_used THEN
        PERFORM smache_drop_edges(s.ns, p_id, ARRAY(SELECT smache_deps(old.used) EXCEPT SELECT smache_deps(p_used)));
        INSERT INTO smache_edges AS e (ns, dep, id, direct)
            SELECT s.ns, u.dep, p_id, bool_or(u.via = 1) FROM unnest(p_deps, p_vias) AS u (dep, via)
            WHERE u.via < 2 GROUP BY u.dep
        ON CONFLICT (ns, dep, id) DO UPDATE SET direct = excluded.direct WHERE e.direct <> excluded.direct;
    END IF;

    IF p_jobs AND stale = 0 THEN
        PERFORM smache_take_back(s.ns, ARRAY[p_id]);
    ELSIF p_jobs AND NOT p_lazy THEN
        PERFORM smache_need(s.ns, ARRAY[p_id], ARRAY[stale - 1], 4, t + p_delay);
    END IF;
    outcome := least(stale, 1);
END $$;

CREATE OR REPLACE FUNCTION smache_abort(
    p_name text, p_id bytea, p_token bytea, p_failure text, p_delay bigint, p_jobs boolean
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    s smache_namespaces := smache_namespace(p_name, 1);
    t bigint := smache_now();
    lane bigint;
BEGIN
    DELETE FROM smache_runs WHERE ns = s.ns AND id = p_id AND token = p_token;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF p_failure IS NOT NULL THEN
        UPDATE smache_entries SET failures = least(failures, 4294967294) + 1, failure = p_failure, failed_at = t
            WHERE ns = s.ns AND id = p_id;
    END IF;
    IF p_jobs THEN
        lane := smache_lane(s.ns, p_id);
        IF lane IS NOT NULL THEN
            PERFORM smache_ensure(s.ns, p_id, lane, 4, t + p_delay);
        END IF;
    END IF;
    RETURN true;
END $$;

CREATE OR REPLACE FUNCTION smache_extend_runs(p_name text, p_ids bytea[], p_tokens bytea[], p_lease bigint)
RETURNS boolean[] LANGUAGE plpgsql AS $$
DECLARE
    s smache_namespaces := smache_namespace(p_name, 0);
    held bytea[];
BEGIN
    -- In the order of the ids, so that two of these never wait for each other.
    held := ARRAY(
        SELECT r.id FROM smache_runs r JOIN unnest(p_ids, p_tokens) AS u (id, token) USING (id, token)
        WHERE r.ns = s.ns ORDER BY r.id FOR UPDATE OF r
    );
    UPDATE smache_runs SET until = smache_now() + p_lease WHERE ns = s.ns AND id = ANY (held);
    RETURN ARRAY(
        SELECT EXISTS (SELECT 1 FROM smache_runs r WHERE r.ns = s.ns AND r.id = u.id AND r.token = u.token)
        FROM unnest(p_ids, p_tokens) WITH ORDINALITY AS u (id, token, place) ORDER BY u.place
    );
END $$;

CREATE OR REPLACE FUNCTION smache_remove(p_name text, p_id bytea, p_token bytea, p_jobs boolean)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    s smache_namespaces := smache_namespace(p_name, 1);
    run boolean;
BEGIN
    DELETE FROM smache_runs WHERE ns = s.ns AND id = p_id AND (p_token IS NULL OR token = p_token);
    run := FOUND;
    IF p_token IS NOT NULL AND NOT run THEN
        RETURN false;
    END IF;
    RETURN smache_forget(s.ns, ARRAY[p_id], p_jobs) > 0 OR run;
END $$;

-- The notes of the runs that wait, then every note of the namespace that counts, the oldest first.
CREATE OR REPLACE FUNCTION smache_record_waits(
    p_name text, p_ids bytea[], p_tokens bytea[], p_children bytea[], p_lease bigint, p_most bigint,
    OUT ids bytea[], OUT children bytea[]
) LANGUAGE plpgsql AS $$
DECLARE
    s smache_namespaces := smache_namespace(p_name, 0);
    t bigint := smache_now();
BEGIN
    -- Two of these may meet in the notes of one run: one after the other, in any order.
    PERFORM smache_lock('smache waits:' || s.ns, 'SHARE ROW EXCLUSIVE');
    DELETE FROM smache_waits w WHERE w.ns = s.ns AND (w.until <= t OR EXISTS (
        SELECT 1 FROM unnest(p_ids, p_tokens, p_children) AS u (id, token, child)
        WHERE u.id = w.id AND u.token = w.token AND u.child = w.child
    ));
    IF p_lease > 0 THEN
        INSERT INTO smache_waits (ns, id, token, child, awaited, until)
        SELECT s.ns, u.id, u.token, u.child, c.token, t + p_lease
        FROM unnest(p_ids, p_tokens, p_children) WITH ORDINALITY AS u (id, token, child, place)
        JOIN smache_runs r ON r.ns = s.ns AND r.id = u.id AND r.token = u.token
        JOIN smache_runs c ON c.ns = s.ns AND c.id = u.child
        ORDER BY u.place;
        DELETE FROM smache_waits w WHERE w.ns = s.ns AND w.id = ANY (p_ids) AND (
            SELECT count(*) FROM smache_waits n WHERE n.ns = w.ns AND n.id = w.id AND n.number >= w.number
        ) > p_most;
    END IF;
    SELECT array_agg(w.id ORDER BY w.number), array_agg(w.child ORDER BY w.number) INTO ids, children
    FROM smache_waits w
    JOIN smache_runs r ON r.ns = w.ns AND r.id = w.id AND r.token = w.token
    JOIN smache_runs c ON c.ns = w.ns AND c.id = w.child AND c.token = w.awaited
    WHERE w.ns = s.ns;
END $$;
