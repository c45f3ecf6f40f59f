WITH namespace AS MATERIALIZED (SELECT ns, epoch, revision FROM smache_namespaces WHERE name = $1)
SELECT 0 AS kind, (SELECT incarnation FROM smache_meta WHERE 3 BETWEEN oldest AND version) || $4 AS t, NULL AS u,
    epoch AS a, NULL AS b, NULL AS c, NULL AS d, $3 AS i, revision AS j,
    (SELECT until FROM smache_feeds f WHERE f.ns = namespace.ns AND f.name = 'smache:attached') AS k, NULL AS l, NULL AS m
    FROM namespace
UNION ALL
SELECT 1, v.name, v.caught_up_on, v.epoch, NULL, NULL, NULL, v.valid_until, NULL, NULL, NULL, NULL
    FROM namespace JOIN smache_sources v USING (ns)
UNION ALL
SELECT 2, NULL, NULL, e.id, e.epochs, e.meta, e.value, e.version, e.staleness, e.since, e.stored_at, e.expires
    FROM namespace CROSS JOIN json_each($2) AS asked CROSS JOIN smache_entries e
    ON e.ns = namespace.ns AND e.id = unhex(asked.value)
