-- What a step on the entry $2 reads: its run, its record without the value, which of the dependencies $3 have changed
-- after the revision $4, and its job.
SELECT 0 AS kind, token AS a, NULL AS b, NULL AS t, NULL AS u, start_revision AS i, until AS j, NULL AS k, NULL AS l,
    NULL AS m, NULL AS n, NULL AS o, NULL AS p, NULL AS q
    FROM smache_runs WHERE ns = $1 AND id = $2
UNION ALL
SELECT 1, epochs, used, causes, failure, version, staleness, since, stored_at, expires, conflicts, failures, failed_at,
    lazy
    FROM smache_entries WHERE ns = $1 AND id = $2
UNION ALL
SELECT 2, dep, NULL, NULL, NULL, revision, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
    FROM smache_changed WHERE ns = $1 AND revision > $4 AND dep IN (SELECT unhex(value) FROM json_each($3))
UNION ALL
SELECT 3, token, NULL, NULL, error, lane, priority, state, at, errors, crashes, again_at, again_lane, again_priority
    FROM smache_jobs WHERE ns = $1 AND id = $2
