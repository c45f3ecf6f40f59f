-- Answers: 0 queued, 1 merged, 2 again, 3 dead letter. In the order of the ids, so that no two of these wait for each other.
CREATE OR REPLACE FUNCTION smache_enqueue(
    p_name text, p_ids bytea[], p_lanes bigint[], p_priorities bigint[], p_delays bigint[], p_revives boolean[]
) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
    s smache_namespaces := smache_namespace(p_name, 0);
    t bigint := smache_now();
    answers bigint[] := array_fill(0::bigint, ARRAY[cardinality(p_ids)]);
    place int;
    before bigint;
    its_lane bigint;
BEGIN
    FOR place IN SELECT u.place FROM unnest(p_ids) WITH ORDINALITY AS u (id, place) ORDER BY u.id, u.place LOOP
        LOOP
            INSERT INTO smache_jobs (ns, id, lane, priority, state, at)
                VALUES (s.ns, p_ids[place], p_lanes[place], p_priorities[place], 0, t + p_delays[place])
                ON CONFLICT DO NOTHING;
            EXIT WHEN FOUND;
            SELECT state, lane INTO before, its_lane FROM smache_jobs
                WHERE ns = s.ns AND id = p_ids[place] FOR UPDATE;
            CONTINUE WHEN NOT FOUND;
            IF before NOT IN (0, 1, 2) OR its_lane NOT IN (0, 1) THEN
                -- No worker would ever find a job whose state or lane does not exist.
                DELETE FROM smache_jobs WHERE ns = s.ns AND id = p_ids[place];
                CONTINUE;
            ELSIF p_revives[place] THEN
                PERFORM smache_need(s.ns, ARRAY[p_ids[place]], ARRAY[p_lanes[place]], p_priorities[place],
                    t + p_delays[place]);
                answers[place] := CASE before WHEN 0 THEN 1 WHEN 1 THEN 2 ELSE 0 END;
            ELSE
                answers[place] := CASE before WHEN 2 THEN 3 ELSE 1 END;
            END IF;
            EXIT;
        END LOOP;
    END LOOP;
    RETURN answers;
END $$;

-- One row a job, in order, and a last one without an id that says in how many milliseconds the next one is due.
CREATE OR REPLACE FUNCTION smache_reserve(p_name text, p_lane bigint, p_max bigint, p_lease bigint, p_token bytea,
    p_again boolean)
RETURNS TABLE (id bytea, errors bigint, crashes bigint, next_due bigint) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    s smache_namespaces := smache_namespace(p_name, 0);
    t bigint := smache_now();
    level bigint := -1;
    taken bytea[] := '{}';
    page bytea[];
    due bigint;
    soonest bigint;
BEGIN
    -- The workers of these have vanished.
    UPDATE smache_jobs SET
        state = 0, at = t, token = NULL, crashes = crashes + 1,
        lane = least(lane, again_lane), priority = least(priority, again_priority),
        again_at = NULL, again_lane = NULL, again_priority = NULL
        WHERE ns = s.ns AND id = ANY (ARRAY(
            SELECT j.id FROM smache_jobs j WHERE j.ns = s.ns AND j.state = 1 AND j.at <= t
            ORDER BY j.at LIMIT 1000 FOR UPDATE SKIP LOCKED
        ));
    -- An answer was lost: the jobs of the token are the answer. A walk over the running jobs, which no other call
    -- needs.
    IF p_again THEN
        taken := ARRAY(
            SELECT j.id FROM smache_jobs j
            WHERE j.ns = s.ns AND j.state = 1 AND j.token = p_token AND j.lane = p_lane ORDER BY j.id FOR UPDATE
        );
        UPDATE smache_jobs SET at = t + p_lease WHERE ns = s.ns AND id = ANY (taken);
        IF cardinality(taken) > 0 THEN
            p_max := 0;
        END IF;
    END IF;
    -- From priority to priority, so that no job that waits for its time is passed on the way to one that is due.
    LOOP
        SELECT min(j.priority) INTO level FROM smache_jobs j
            WHERE j.ns = s.ns AND j.state = 0 AND j.lane = p_lane AND j.priority > level;
        EXIT WHEN level IS NULL;
        IF cardinality(taken) < p_max THEN
            page := ARRAY(
                SELECT j.id FROM smache_jobs j
                WHERE j.ns = s.ns AND j.state = 0 AND j.lane = p_lane AND j.priority = level AND j.at <= t
                ORDER BY j.at LIMIT p_max - cardinality(taken) FOR UPDATE SKIP LOCKED
            );
            UPDATE smache_jobs j SET
                state = 1, at = t + p_lease, token = p_token WHERE j.ns = s.ns AND j.id = ANY (page);
            taken := taken || page;
        END IF;
        SELECT min(j.at) INTO due FROM smache_jobs j
            WHERE j.ns = s.ns AND j.state = 0 AND j.lane = p_lane AND j.priority = level;
        soonest := least(soonest, due);
    END LOOP;
    RETURN QUERY
        SELECT j.id, j.errors, j.crashes, NULL::bigint
        FROM unnest(taken) WITH ORDINALITY AS u (id, place) JOIN smache_jobs j ON j.ns = s.ns AND j.id = u.id
        ORDER BY u.place;
    -- A due job that was not taken although there was room is held by another transaction: not at once again.
    RETURN QUERY SELECT NULL::bytea, NULL::bigint, NULL::bigint,
        CASE WHEN soonest IS NULL THEN NULL WHEN soonest > t THEN soonest - t
            WHEN cardinality(taken) < p_max THEN 50 ELSE 0 END;
END $$;

CREATE OR REPLACE FUNCTION smache_extend_jobs(p_name text, p_ids bytea[], p_tokens bytea[], p_lease bigint)
RETURNS boolean[] LANGUAGE plpgsql AS $$
DECLARE
    s smache_namespaces := smache_namespace(p_name, 0);
    held bytea[];
BEGIN
    held := ARRAY(
        SELECT j.id FROM smache_jobs j JOIN unnest(p_ids, p_tokens) AS u (id, token) USING (id, token)
        WHERE j.ns = s.ns AND j.state = 1 ORDER BY j.id FOR UPDATE OF j
    );
    UPDATE smache_jobs SET at = smache_now() + p_lease WHERE ns = s.ns AND id = ANY (held);
    RETURN ARRAY(
        SELECT EXISTS (
            SELECT 1 FROM smache_jobs j WHERE j.ns = s.ns AND j.id = u.id AND j.state = 1 AND j.token = u.token
        ) FROM unnest(p_ids, p_tokens) WITH ORDINALITY AS u (id, token, place) ORDER BY u.place
    );
END $$;

-- Ends: 0 done, 1 released, 2 retried, 3 dead letter. Answers: 0 settled, 1 again, 2 lost.
CREATE OR REPLACE FUNCTION smache_settle(
    p_name text, p_ids bytea[], p_tokens bytea[], p_ends bigint[], p_delays bigint[], p_errors text[]
) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
    s smache_namespaces := smache_namespace(p_name, 0);
    t bigint := smache_now();
    answers bigint[] := array_fill(0::bigint, ARRAY[cardinality(p_ids)]);
    place int;
    j smache_jobs;
    due bigint;
    again boolean;
BEGIN
    FOR place IN SELECT u.place FROM unnest(p_ids) WITH ORDINALITY AS u (id, place) ORDER BY u.id, u.place LOOP
        SELECT * INTO j FROM smache_jobs
            WHERE ns = s.ns AND id = p_ids[place] AND state = 1 AND token = p_tokens[place] FOR UPDATE;
        IF NOT FOUND THEN
            answers[place] := 2;
            CONTINUE;
        END IF;
        again := j.again_at IS NOT NULL;
        IF NOT again AND p_ends[place] = 0 THEN
            DELETE FROM smache_jobs WHERE ns = s.ns AND id = j.id;
            CONTINUE;
        END IF;
        IF NOT again AND p_ends[place] = 3 THEN
            UPDATE smache_jobs SET state = 2, at = t, token = NULL, error = p_errors[place]
                WHERE ns = s.ns AND id = j.id;
            CONTINUE;
        END IF;
        due := t + p_delays[place];
        due := CASE
            WHEN NOT again THEN due
            -- A change restarts a dead letter.
            WHEN p_ends[place] IN (0, 3) THEN j.again_at
            WHEN p_ends[place] = 1 THEN least(j.again_at, due)
            -- A job that fails backs off although its data changed.
            ELSE greatest(j.again_at, due)
        END;
        UPDATE smache_jobs SET
            state = 0, at = due, token = NULL,
            lane = CASE WHEN p_ends[place] IN (0, 3) THEN j.again_lane ELSE least(j.lane, j.again_lane) END,
            priority = least(j.priority, j.again_priority),
            errors = CASE p_ends[place] WHEN 1 THEN j.errors WHEN 2 THEN j.errors + 1 ELSE 0 END,
            crashes = CASE WHEN p_ends[place] IN (0, 3) THEN 0 ELSE j.crashes END,
            error = CASE p_ends[place] WHEN 1 THEN j.error WHEN 2 THEN p_errors[place] END,
            again_at = NULL, again_lane = NULL, again_priority = NULL
            WHERE ns = s.ns AND id = j.id;
        answers[place] := again::int;
    END LOOP;
    RETURN answers;
END $$;

CREATE OR REPLACE FUNCTION smache_requeue(p_name text, p_ids bytea[]) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    s smache_namespaces := smache_namespace(p_name, 0);
    ids bytea[] := ARRAY(
        SELECT id FROM smache_jobs WHERE ns = s.ns AND id = ANY (p_ids) AND state = 2 ORDER BY id FOR UPDATE
    );
BEGIN
    UPDATE smache_jobs SET state = 0, at = smache_now(), errors = 0, crashes = 0, error = NULL
        WHERE ns = s.ns AND id = ANY (ids);
    RETURN cardinality(ids);
END $$;

CREATE OR REPLACE FUNCTION smache_discard(p_name text, p_ids bytea[]) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    s smache_namespaces := smache_namespace(p_name, 0);
    ids bytea[] := ARRAY(
        SELECT id FROM smache_jobs WHERE ns = s.ns AND id = ANY (p_ids) AND state <> 1 ORDER BY id FOR UPDATE
    );
BEGIN
    DELETE FROM smache_jobs WHERE ns = s.ns AND id = ANY (ids);
    RETURN cardinality(ids);
END $$;
