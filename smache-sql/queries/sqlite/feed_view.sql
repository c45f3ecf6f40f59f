-- What a step of the feed $2 reads: its leader, and what is saved of the sources $3.
SELECT 0 AS kind, holder AS a, NULL AS b, NULL AS t, fence AS i, until AS j
    FROM smache_feeds WHERE ns = $1 AND name = $2
UNION ALL
SELECT 1, position_order, position_token, name, NULL, NULL
    FROM smache_sources WHERE ns = $1 AND name IN (SELECT value FROM json_each($3))
