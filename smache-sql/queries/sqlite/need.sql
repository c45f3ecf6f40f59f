-- A change needs entries to be computed: their jobs come back even if they had become dead letters.
INSERT INTO smache_jobs AS j (ns, id, lane, priority, state, at)
    SELECT $1, unhex(value ->> 0), value ->> 1, $3, 0, $4 FROM json_each($2) WHERE true
ON CONFLICT (ns, id) DO UPDATE SET
    state = CASE j.state WHEN 1 THEN 1 ELSE 0 END,
    lane = CASE j.state WHEN 0 THEN min(j.lane, excluded.lane) WHEN 1 THEN j.lane ELSE excluded.lane END,
    priority = CASE j.state WHEN 0 THEN min(j.priority, excluded.priority) WHEN 1 THEN j.priority
        ELSE excluded.priority END,
    at = CASE j.state WHEN 0 THEN min(j.at, excluded.at) WHEN 1 THEN j.at ELSE excluded.at END,
    errors = CASE j.state WHEN 2 THEN 0 ELSE j.errors END,
    crashes = CASE j.state WHEN 2 THEN 0 ELSE j.crashes END,
    error = CASE j.state WHEN 2 THEN NULL ELSE j.error END,
    again_at = CASE j.state WHEN 1 THEN min(coalesce(j.again_at, excluded.at), excluded.at) END,
    again_lane = CASE j.state WHEN 1 THEN min(coalesce(j.again_lane, excluded.lane), excluded.lane) END,
    again_priority = CASE j.state WHEN 1
        THEN min(coalesce(j.again_priority, excluded.priority), excluded.priority) END
