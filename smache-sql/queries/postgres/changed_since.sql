WITH space AS MATERIALIZED (
    SELECT ns, clock, floor FROM smache_namespaces
    WHERE name = (SELECT $1::text FROM smache_meta WHERE 4 BETWEEN oldest AND version)
)
SELECT smache_life() AS life, clock, floor, NULL::bytea AS dep FROM space
UNION ALL
SELECT NULL, NULL, NULL, c.dep FROM space JOIN smache_changed c USING (ns) WHERE c.clock > $3 AND c.dep = ANY ($2)
