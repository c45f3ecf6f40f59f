WITH space AS MATERIALIZED (SELECT ns, clock, floor FROM smache_namespaces WHERE name = $1)
SELECT (SELECT incarnation FROM smache_meta WHERE 2 BETWEEN oldest AND version) || $4 AS life, clock, floor, NULL AS dep
    FROM space
UNION ALL
SELECT NULL, NULL, NULL, c.dep FROM space JOIN smache_changed c USING (ns)
    WHERE c.clock > $3 AND c.dep IN (SELECT unhex(value) FROM json_each($2))
