CREATE OR REPLACE FUNCTION smache_new_epoch(p_name text) RETURNS bytea LANGUAGE plpgsql AS $$
DECLARE
    s smache_namespaces := smache_namespace(p_name, 2);
    fresh bytea;
BEGIN
    UPDATE smache_namespaces SET epoch = smache_random(), sweep = '' WHERE ns = s.ns RETURNING epoch INTO fresh;
    RETURN fresh;
END $$;

-- Until when sources that the application reports are confirmed, in a row beside the leaders': its writers wait for no
-- transaction that has the namespace.
CREATE OR REPLACE FUNCTION smache_keep_attached(p_name text, p_valid_for bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    s smache_namespaces := smache_namespace(p_name, 0);
BEGIN
    INSERT INTO smache_feeds (ns, name, holder, fence, until)
        VALUES (s.ns, 'smache:attached', '', 0, smache_now() + p_valid_for)
    ON CONFLICT (ns, name) DO UPDATE SET until = excluded.until;
END $$;

CREATE OR REPLACE FUNCTION smache_attach(p_name text, p_sources text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    s smache_namespaces;
BEGIN
    -- A process that starts, and finds its sources attached on this incarnation, does not wait for a writer that has
    -- the namespace.
    IF NOT EXISTS (
        SELECT 1 FROM unnest(p_sources) AS u (name)
            LEFT JOIN smache_namespaces n ON n.name = p_name
            LEFT JOIN smache_sources v ON v.ns = n.ns AND v.name = u.name
        WHERE v.name IS NULL OR v.valid_until IS NOT NULL OR v.caught_up_on IS DISTINCT FROM smache_incarnation()
    ) THEN
        RETURN;
    END IF;
    s := smache_namespace(p_name, 2);
    INSERT INTO smache_sources AS v (ns, name, epoch, caught_up_on)
        SELECT DISTINCT ON (u.name) s.ns, u.name, smache_random(), smache_incarnation() FROM unnest(p_sources) AS u (name)
    ON CONFLICT (ns, name) DO UPDATE SET epoch = excluded.epoch, caught_up_on = excluded.caught_up_on, valid_until = NULL
        WHERE v.valid_until IS NOT NULL OR v.caught_up_on IS DISTINCT FROM excluded.caught_up_on;
    IF FOUND THEN
        UPDATE smache_namespaces SET sweep = '' WHERE ns = s.ns;
    END IF;
END $$;

CREATE OR REPLACE FUNCTION smache_lead(
    p_name text, p_feed text, p_holder bytea, p_lease bigint, OUT fence bigint, OUT retry_after bigint
) LANGUAGE plpgsql AS $$
DECLARE
    s smache_namespaces := smache_namespace(p_name, 0);
    t bigint := smache_now();
BEGIN
    INSERT INTO smache_feeds AS f (ns, name, holder, fence, until) VALUES (s.ns, p_feed, p_holder, 1, t + p_lease)
    ON CONFLICT (ns, name) DO UPDATE SET
        holder = excluded.holder, until = excluded.until,
        -- A damaged fence goes on at the time, which no fence reaches.
        fence = CASE WHEN smache_is_count(f.fence) THEN f.fence ELSE t END
            + CASE WHEN f.holder = excluded.holder THEN 0 ELSE 1 END
        WHERE f.holder = excluded.holder OR f.until <= t
    RETURNING f.fence INTO fence;
    IF NOT FOUND THEN
        SELECT greatest(f.until - t, 1) INTO retry_after FROM smache_feeds f WHERE f.ns = s.ns AND f.name = p_feed;
    END IF;
END $$;

CREATE OR REPLACE FUNCTION smache_resign(p_name text, p_feed text, p_fence bigint) RETURNS void LANGUAGE sql AS $$
    UPDATE smache_feeds f SET until = least(f.until, smache_now())
        FROM smache_namespaces n
        WHERE n.name = p_name AND f.ns = n.ns AND f.name = p_feed AND f.fence = p_fence
$$;

-- The register of programs, in rows beside the leaders'. The first row of the answer has the time, and whether the program
-- was there; each other one a program.
CREATE OR REPLACE FUNCTION smache_programs(
    p_name text, p_program text, p_notes bytea, p_lease bigint, p_remove text[]
) RETURNS TABLE (at bigint, known bigint, program text, ends bigint, notes bytea) LANGUAGE plpgsql AS $$
DECLARE
    s smache_namespaces := smache_namespace(p_name, 0);
    t bigint := smache_now();
    was_there bigint := 0;
BEGIN
    IF p_program IS NOT NULL THEN
        SELECT count(*) INTO was_there FROM smache_feeds f WHERE f.ns = s.ns AND f.name = p_program;
        INSERT INTO smache_feeds (ns, name, holder, fence, until) VALUES (s.ns, p_program, p_notes, 0, t + p_lease)
        ON CONFLICT (ns, name) DO UPDATE SET holder = excluded.holder, until = excluded.until;
    END IF;
    DELETE FROM smache_feeds f WHERE f.ns = s.ns AND f.name = ANY (p_remove) AND f.until <= t;
    RETURN QUERY SELECT t, was_there, NULL::text, NULL::bigint, NULL::bytea
        UNION ALL SELECT NULL::bigint, NULL::bigint, f.name, f.until, f.holder FROM smache_feeds f
        WHERE f.ns = s.ns AND starts_with(f.name, 'smache:program:');
END $$;

-- Outcome as of an invalidation.
CREATE OR REPLACE FUNCTION smache_restart(
    p_name text, p_feed text, p_fence bigint, p_leadership bigint, p_incarnation text, p_sources text[], p_orders bytea[],
    p_tokens bytea[]
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    s smache_namespaces := smache_namespace(p_name, 2);
    outcome bigint := smache_check_step(s.ns, p_feed, p_fence, p_incarnation);
BEGIN
    IF outcome <> 0 THEN
        RETURN outcome;
    END IF;
    UPDATE smache_feeds SET until = smache_now() + p_leadership WHERE ns = s.ns AND name = p_feed;
    INSERT INTO smache_sources (ns, name, epoch, caught_up_on, valid_until, position_order, position_token)
        SELECT s.ns, u.name, smache_random(), NULL, 0, u.position_order, u.position_token
        FROM unnest(p_sources, p_orders, p_tokens) AS u (name, position_order, position_token)
    ON CONFLICT (ns, name) DO UPDATE SET
        epoch = excluded.epoch, caught_up_on = NULL, valid_until = 0, position_order = excluded.position_order,
        position_token = excluded.position_token;
    UPDATE smache_namespaces SET sweep = '', revision = revision + 1 WHERE ns = s.ns;
    RETURN 0;
END $$;

-- One bounded piece of maintenance.
CREATE OR REPLACE FUNCTION smache_maintain(
    p_name text, p_limit bigint, p_jobs boolean,
    OUT expired bigint, OUT reaped bigint, OUT trimmed bigint, OUT marked bigint, OUT more boolean, OUT needy bytea[]
) LANGUAGE plpgsql AS $$
DECLARE
    s smache_namespaces := smache_namespace(p_name, 2);
    t bigint := smache_now();
    ids bytea[];
    one bytea;
    its_lane bigint;
    needed bigint;
    highest bigint;
    entry record;
    seen bigint := 0;
    last bytea;
BEGIN
    more := false;
    needy := '{}';

    -- Removes sources that cannot be read. One gets a new epoch when a process attaches or leads it.
    DELETE FROM smache_sources WHERE ns = s.ns
        AND (octet_length(epoch) <> 16 OR octet_length(name) NOT BETWEEN 1 AND 128);
    IF FOUND THEN
        UPDATE smache_namespaces SET sweep = '' WHERE ns = s.ns;
        s.sweep := '';
    END IF;

    -- A run keeps its record: its value is being replaced, and is shown until then.
    ids := ARRAY(
        SELECT e.id FROM smache_entries e
        WHERE e.ns = s.ns AND e.expires <= t
            AND NOT EXISTS (SELECT 1 FROM smache_runs r WHERE r.ns = s.ns AND r.id = e.id AND r.until > t)
        ORDER BY e.expires LIMIT p_limit + 1
    );
    more := more OR cardinality(ids) > p_limit;
    expired := smache_forget(s.ns, ids[:p_limit::int], p_jobs);

    -- A run may be lapsed for a second before it is reaped: its owner may be late and not dead.
    ids := ARRAY(SELECT id FROM smache_runs WHERE ns = s.ns AND until + 1000 < t ORDER BY id LIMIT p_limit + 1);
    more := more OR cardinality(ids) > p_limit;
    reaped := 0;
    FOREACH one IN ARRAY ids[:p_limit::int] LOOP
        DELETE FROM smache_runs WHERE ns = s.ns AND id = one AND until + 1000 < t;
        IF FOUND THEN
            reaped := reaped + 1;
            its_lane := smache_lane(s.ns, one);
            IF its_lane IS NOT NULL THEN
                needy := needy || one;
                IF p_jobs THEN
                    PERFORM smache_ensure(s.ns, one, its_lane, 4, t);
                END IF;
            END IF;
        END IF;
    END LOOP;

    -- The invalidations that no present run compares with, the oldest first.
    SELECT coalesce(min(start_revision), s.revision) INTO needed FROM smache_runs WHERE ns = s.ns;
    WITH old AS (
        SELECT dep FROM smache_changed WHERE ns = s.ns AND revision <= needed ORDER BY revision LIMIT p_limit * 10
    ), gone AS (
        DELETE FROM smache_changed c USING old WHERE c.ns = s.ns AND c.dep = old.dep RETURNING c.revision
    )
    SELECT count(*), max(revision) INTO trimmed, highest FROM gone;
    IF trimmed < p_limit * 10 THEN
        highest := needed;
    ELSE
        more := true;
    END IF;
    IF highest > s.low_watermark THEN
        UPDATE smache_namespaces SET low_watermark = highest WHERE ns = s.ns;
    END IF;

    -- Entries of old epochs. Records stored behind the walk have the present epochs, or were stored as stale.
    marked := 0;
    IF s.sweep IS NOT NULL THEN
        FOR entry IN
            SELECT id, epochs, lazy FROM smache_entries WHERE ns = s.ns AND id > s.sweep ORDER BY id LIMIT p_limit
        LOOP
            seen := seen + 1;
            last := entry.id;
            CONTINUE WHEN smache_present(s.ns, entry.epochs);
            UPDATE smache_entries x SET staleness = 2, since = coalesce(x.since, t),
                causes = smache_note(x.causes, ARRAY['new epoch'])
                WHERE x.ns = s.ns AND x.id = entry.id;
            marked := marked + 1;
            IF NOT entry.lazy THEN
                needy := needy || entry.id;
                IF p_jobs THEN
                    PERFORM smache_need(s.ns, ARRAY[entry.id], ARRAY[1::bigint], 4, t);
                END IF;
            END IF;
        END LOOP;
        UPDATE smache_namespaces SET sweep = CASE WHEN seen < p_limit THEN NULL ELSE last END WHERE ns = s.ns;
        more := more OR seen >= p_limit;
    END IF;
END $$;
