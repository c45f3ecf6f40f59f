-- Outcome: 0 done, 1 fenced, 2 another incarnation.
CREATE OR REPLACE FUNCTION smache_check_step(p_ns bigint, p_feed text, p_fence bigint, p_incarnation text)
RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    -- Locked, so that no other leader comes in before this step is over.
    PERFORM 1 FROM smache_feeds WHERE ns = p_ns AND name = p_feed AND fence = p_fence FOR UPDATE;
    RETURN CASE WHEN NOT FOUND THEN 1 WHEN p_incarnation <> smache_incarnation() THEN 2 ELSE 0 END;
END $$;

-- Marks the dependants of dependencies and the entries themselves, remembers the revision, saves the progress of a
-- feed: one transaction, alone in its namespace, so that no reader sees a half of it.
CREATE OR REPLACE FUNCTION smache_invalidate(
    p_name text, p_jobs boolean, p_deps bytea[], p_causes text[], p_ids bytea[], p_id_causes text[],
    p_feed text, p_fence bigint, p_leadership bigint, p_incarnation text, p_sources text[], p_orders bytea[],
    p_tokens bytea[], p_valid_for bigint, p_deadline bigint, p_caught_up boolean,
    OUT outcome bigint, OUT revision bigint, OUT marked bigint, OUT needy bytea[]
) LANGUAGE plpgsql AS $$
DECLARE
    s smache_namespaces := smache_namespace(p_name, 2);
    t bigint := smache_now();
    step_valid_until bigint := least(t + p_valid_for, CASE WHEN p_valid_for IS NOT NULL THEN p_deadline END);
    lanes bigint[];
BEGIN
    outcome := 0;
    revision := s.revision;
    marked := 0;
    IF p_feed IS NOT NULL THEN
        outcome := smache_check_step(s.ns, p_feed, p_fence, p_incarnation);
        IF outcome <> 0 THEN
            RETURN;
        END IF;
    END IF;

    IF cardinality(p_deps) + cardinality(p_ids) > 0 THEN
        WITH affected AS (
            SELECT e.id, CASE WHEN e.direct THEN 2 ELSE 1 END AS level, u.cause, u.place
                FROM unnest(p_deps, p_causes) WITH ORDINALITY AS u (dep, cause, place)
                JOIN smache_edges e ON e.ns = s.ns AND e.dep = u.dep
            UNION ALL
            SELECT u.id, 2, u.cause, cardinality(p_deps) + u.place
                FROM unnest(p_ids, p_id_causes) WITH ORDINALITY AS u (id, cause, place)
        ), entry AS (
            SELECT id, max(level) AS level, array_agg(cause ORDER BY place) FILTER (WHERE cause IS NOT NULL) AS causes
                FROM affected GROUP BY id
        ), done AS (
            UPDATE smache_entries e SET
                -- The staleness of a damaged record may be any number.
                staleness = CASE WHEN e.staleness IN (0, 1) THEN greatest(e.staleness, entry.level) ELSE 2 END,
                since = coalesce(e.since, t),
                causes = smache_note(e.causes, entry.causes)
            FROM entry WHERE e.ns = s.ns AND e.id = entry.id
            RETURNING e.id, e.staleness, e.lazy
        )
        SELECT count(*), array_agg(id) FILTER (WHERE NOT lazy), array_agg(staleness - 1) FILTER (WHERE NOT lazy)
            INTO marked, needy, lanes FROM done;

        UPDATE smache_namespaces n SET revision = n.revision + 1 WHERE n.ns = s.ns RETURNING n.revision INTO revision;
        INSERT INTO smache_changed AS c (ns, dep, revision)
            SELECT DISTINCT s.ns, u.dep, smache_invalidate.revision FROM unnest(p_deps) AS u (dep)
        ON CONFLICT (ns, dep) DO UPDATE SET revision = excluded.revision;
        IF p_jobs AND needy IS NOT NULL THEN
            PERFORM smache_need(s.ns, needy, lanes, 4, t);
        END IF;
    END IF;

    IF p_feed IS NOT NULL THEN
        UPDATE smache_feeds SET until = t + p_leadership WHERE ns = s.ns AND name = p_feed;
        INSERT INTO smache_sources AS v (ns, name, epoch, caught_up_on, valid_until, position_order, position_token)
            SELECT s.ns, u.name, smache_random(), CASE WHEN p_caught_up THEN p_incarnation END, coalesce(step_valid_until, 0),
                u.position_order, u.position_token
            FROM unnest(p_sources, p_orders, p_tokens) AS u (name, position_order, position_token) ORDER BY u.name
        ON CONFLICT (ns, name) DO UPDATE SET
            caught_up_on = CASE WHEN p_caught_up THEN p_incarnation ELSE v.caught_up_on END,
            -- A null stays null: the source is the application's.
            valid_until = CASE WHEN v.valid_until IS NULL THEN NULL ELSE coalesce(step_valid_until, v.valid_until) END,
            position_order = excluded.position_order, position_token = excluded.position_token
            -- A position of another history, or an earlier one, is not taken, and the step confirms nothing by it.
            WHERE v.position_order IS NULL
                OR substring(v.position_order FOR 16) = substring(excluded.position_order FOR 16)
                    AND v.position_order <= excluded.position_order;
    END IF;
END $$;
