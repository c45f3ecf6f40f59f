-- Marks the dependants of $2 for the reason $3, which is among the last eight of each, none twice in a row.
UPDATE smache_entries AS e SET
    staleness = max(e.staleness, 1 + g.direct), since = coalesce(e.since, $4),
    causes = CASE
        WHEN e.causes ->> '$[#-1]' IS $3 THEN e.causes
        WHEN json_array_length(e.causes) < 8 THEN json_insert(e.causes, '$[#]', $3)
        ELSE json_insert(json_remove(e.causes, '$[0]'), '$[#]', $3)
    END
    FROM smache_edges AS g WHERE g.ns = $1 AND g.dep = $2 AND e.ns = g.ns AND e.id = g.id
RETURNING id, staleness, lazy
