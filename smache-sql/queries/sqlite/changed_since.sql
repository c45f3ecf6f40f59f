WITH namespace AS MATERIALIZED (SELECT ns, revision, low_watermark FROM smache_namespaces WHERE name = $1)
SELECT (SELECT incarnation FROM smache_meta WHERE 3 BETWEEN oldest AND version) || $4 AS incarnation, revision, low_watermark, NULL AS dep
    FROM namespace
UNION ALL
SELECT NULL, NULL, NULL, c.dep FROM namespace JOIN smache_changed c USING (ns)
    WHERE c.revision > $3 AND c.dep IN (SELECT unhex(value) FROM json_each($2))
