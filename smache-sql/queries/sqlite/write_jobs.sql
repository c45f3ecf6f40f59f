-- Puts jobs in the place of those of the same entries.
INSERT INTO smache_jobs
    (ns, id, token, error, lane, priority, state, at, errors, crashes, again_at, again_lane, again_priority)
    SELECT $1, unhex(value ->> 0), unhex(value ->> 1), value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
        value ->> 7, value ->> 8, value ->> 9, value ->> 10, value ->> 11
    FROM json_each($2) WHERE true
ON CONFLICT (ns, id) DO UPDATE SET
    token = excluded.token, error = excluded.error, lane = excluded.lane, priority = excluded.priority,
    state = excluded.state, at = excluded.at, errors = excluded.errors, crashes = excluded.crashes,
    again_at = excluded.again_at, again_lane = excluded.again_lane, again_priority = excluded.again_priority
