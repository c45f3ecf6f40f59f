WITH namespace AS MATERIALIZED (
    SELECT ns, revision, low_watermark FROM smache_namespaces
    WHERE name = (SELECT $1::text FROM smache_meta WHERE 5 BETWEEN oldest AND version)
)
SELECT smache_incarnation() AS incarnation, revision, low_watermark, NULL::bytea AS dep FROM namespace
UNION ALL
SELECT NULL, NULL, NULL, c.dep FROM namespace JOIN smache_changed c USING (ns) WHERE c.revision > $3 AND c.dep = ANY ($2)
