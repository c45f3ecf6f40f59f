-- One statement, so that all of it is of one snapshot.
SELECT f.id, f.trimmed,
       CASE WHEN ?1 = f.trimmed THEN f.mark ELSE (SELECT c.mark FROM smache_changes c WHERE c.seq = ?1) END,
       -- Below zero for tables that are older than this program, above for those that no longer serve it.
       CASE WHEN f.version < 3 THEN -1 WHEN f.oldest > 3 THEN 1 ELSE 0 END,
       v.schema_version,
       -- The last number: of a row that is there or was trimmed.
       coalesce((SELECT s.seq FROM sqlite_sequence s WHERE s.name = 'smache_changes'), 0),
       r.seq, r.source, r.before, r.after, r.mark
FROM smache_feed f
JOIN pragma_schema_version v
LEFT JOIN (SELECT * FROM smache_changes c WHERE c.seq > ?1 ORDER BY c.seq LIMIT ?2) r ON true
ORDER BY r.seq
