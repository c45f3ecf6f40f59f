-- Only changes that every snapshot since the trimmer's own position sees, so that no feed that keeps up loses anything.
-- The guard of the table notes how far it went.
WITH gone AS (
    DELETE FROM {schema}.smache_changes
    WHERE seq IN (
        SELECT seq FROM {schema}.smache_changes
        WHERE at < clock_timestamp() - $1::float8 * interval '1 second'
          AND xid < pg_snapshot_xmin($2::text::pg_snapshot)
        ORDER BY seq
        LIMIT $3
    )
    RETURNING xid
)
SELECT count(*) FROM gone
