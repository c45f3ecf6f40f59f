INSERT INTO smache_entries (ns, id, version, staleness, since, stored_at, expires, conflicts, failures, failed_at, lazy,
    epochs, failure, causes, call, used, meta, value)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, NULL, $9, $10, NULL, $11, $12, $13, $14, $15)
ON CONFLICT (ns, id) DO UPDATE SET
    version = excluded.version, staleness = excluded.staleness, since = excluded.since,
    stored_at = excluded.stored_at, expires = excluded.expires, conflicts = excluded.conflicts, failures = 0,
    failed_at = NULL, lazy = excluded.lazy, epochs = excluded.epochs, failure = NULL, causes = excluded.causes,
    call = excluded.call, used = excluded.used, meta = excluded.meta, value = excluded.value
