-- One statement, so that all of it is of one snapshot.
SELECT f.id, f.trimmed,
       CASE WHEN ?1 = f.trimmed THEN f.mark ELSE (SELECT c.mark FROM smache_changes c WHERE c.seq = ?1) END,
       v.schema_version, r.seq, r.source, r.before, r.after, r.mark
FROM smache_feed f
JOIN pragma_schema_version v
LEFT JOIN (SELECT * FROM smache_changes c WHERE c.seq > ?1 ORDER BY c.seq LIMIT ?2) r ON true
ORDER BY r.seq
