-- Marks the dependants of $2 for the reason $3, which is among the last eight of each, none twice in a row. A damaged
-- record is stale too, with no earlier causes.
UPDATE smache_entries AS e SET
    staleness = CASE WHEN g.direct = 0 AND e.staleness IN (0, 1) THEN 1 ELSE 2 END, since = coalesce(e.since, $4),
    causes = CASE
        WHEN NOT json_valid(e.causes) THEN json_array($3)
        WHEN json_type(e.causes) <> 'array' THEN json_array($3)
        WHEN e.causes ->> '$[#-1]' IS $3 THEN e.causes
        WHEN json_array_length(e.causes) < 8 THEN json_insert(e.causes, '$[#]', $3)
        ELSE json_insert(json_remove(e.causes, '$[0]'), '$[#]', $3)
    END
    FROM smache_edges AS g WHERE g.ns = $1 AND g.dep = $2 AND e.ns = g.ns AND e.id = g.id
RETURNING id, staleness, lazy
