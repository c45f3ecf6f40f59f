UPDATE smache_feed SET trimmed = c.seq, mark = c.mark
FROM (
    SELECT seq, mark FROM smache_changes
    WHERE at < CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) - ?1 AND seq <= ?2
      AND seq < (SELECT min(seq) FROM smache_changes) + ?3
    ORDER BY seq DESC
    LIMIT 1
) c
WHERE c.seq > smache_feed.trimmed
