SELECT 0 AS kind, (SELECT incarnation FROM smache_meta WHERE 3 BETWEEN oldest AND version) || $3 AS t, NULL AS u,
    n.epoch AS a, n.sweep AS b, NULL AS c, NULL AS d, $2 AS i, n.revision AS j,
    (SELECT until FROM smache_feeds f WHERE f.ns = n.ns AND f.name = 'smache:attached') AS k, n.low_watermark AS l,
    n.added AS m, n.ns AS ns
    FROM (SELECT $1 AS name) AS asked LEFT JOIN smache_namespaces n ON n.name = asked.name
UNION ALL
SELECT 1, v.name, v.caught_up_on, v.epoch, NULL, NULL, NULL, v.valid_until, NULL, NULL, NULL, NULL, NULL
    FROM smache_namespaces n JOIN smache_sources v USING (ns) WHERE n.name = $1
