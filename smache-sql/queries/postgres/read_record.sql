WITH namespace AS MATERIALIZED (
    SELECT ns, epoch, revision FROM smache_namespaces
    WHERE name = (SELECT $1::text FROM smache_meta WHERE 5 BETWEEN oldest AND version)
)
SELECT 0::bigint AS kind, smache_incarnation() AS t, NULL::text AS u, epoch AS a, NULL::bytea AS b, NULL::bytea AS c,
    NULL::bytea AS d, smache_now() AS i, revision AS j,
    (SELECT until FROM smache_feeds f WHERE f.ns = namespace.ns AND f.name = 'smache:attached') AS k, NULL::bigint AS l, NULL::bigint AS m
    FROM namespace
UNION ALL
SELECT 1, v.name, v.caught_up_on, v.epoch, NULL, NULL, NULL, v.valid_until, NULL, NULL, NULL, NULL
    FROM namespace JOIN smache_sources v USING (ns)
UNION ALL
SELECT 2, NULL, NULL, e.id, e.epochs, e.meta, e.value, e.version, e.staleness, e.since, e.stored_at, e.expires
    FROM namespace JOIN smache_entries e USING (ns) WHERE e.id = ANY ($2)
UNION ALL
SELECT 3, e.failure, array_to_json(e.causes)::text, e.id, e.call, e.used, NULL, e.conflicts, e.failures, e.failed_at,
    e.lazy::int, NULL
    FROM namespace JOIN smache_entries e USING (ns) WHERE e.id = ANY ($2)
