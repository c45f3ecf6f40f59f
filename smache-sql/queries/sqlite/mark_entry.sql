-- Marks one entry as stale, for a reason if there is one. The causes of a damaged record are dropped.
UPDATE smache_entries AS e SET
    staleness = 2, since = coalesce(e.since, $4),
    causes = CASE
        WHEN NOT json_valid(e.causes) THEN iif($3 IS NULL, '[]', json_array($3))
        WHEN json_type(e.causes) <> 'array' THEN iif($3 IS NULL, '[]', json_array($3))
        WHEN $3 IS NULL OR e.causes ->> '$[#-1]' IS $3 THEN e.causes
        WHEN json_array_length(e.causes) < 8 THEN json_insert(e.causes, '$[#]', $3)
        ELSE json_insert(json_remove(e.causes, '$[0]'), '$[#]', $3)
    END
    WHERE e.ns = $1 AND e.id = $2
RETURNING id, staleness, lazy
