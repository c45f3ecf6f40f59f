-- One statement, so that all of it has the same snapshot: the changes that this snapshot (or the one of the read that
-- goes on) sees and the last position does not.
WITH target AS MATERIALIZED (
    SELECT coalesce($2::text::pg_snapshot, pg_current_snapshot()) AS snapshot
), found AS (
    SELECT c.seq, c.source, c.before::text AS before, c.after::text AS after
    FROM {schema}.smache_changes c, target
    WHERE c.source = ANY ($4::text[])
      -- Not visible in the last position: of later transactions, and of those that ran then. Not from its `xmin` on, which a
      -- transaction that runs for long keeps back. As an argument, so that the planner knows how few they are.
      AND (c.xid >= pg_snapshot_xmax($1::text::pg_snapshot) OR c.xid = ANY ($6::text[]::xid8[]))
      AND pg_visible_in_snapshot(c.xid, target.snapshot)
      AND c.seq + 0 > $3
    -- Not by the primary key, which leads through all that is kept.
    ORDER BY c.seq + 0
    LIMIT $5
)
SELECT target.snapshot::text AS target,
       {history} AS history,
       f.trimmed >= pg_snapshot_xmin($1::text::pg_snapshot)
           OR pg_snapshot_xmax($1::text::pg_snapshot) > pg_snapshot_xmax(pg_current_snapshot()) AS lost,
       -- A number that no transaction of this server has had yet.
       f.trimmed >= pg_snapshot_xmax(pg_current_snapshot()) AS elsewhere,
       pg_current_wal_insert_lsn() <= pg_current_wal_flush_lsn() AS flushed,
       nullif(concat_ws('`, `', CASE WHEN NOT {guarded} THEN 'smache_changes' END, (
           SELECT string_agg(w.name, '`, `' ORDER BY w.name)
           FROM unnest($4::text[]) AS w (name)
           LEFT JOIN {schema}.smache_tables s USING (name)
           WHERE s.triggers IS NULL OR s.triggers IS DISTINCT FROM ({triggers})
       )), '') AS broken,
       {columns} AS columns,
       -- Below zero for tables that are older than this program, above for those that no longer serve it.
       CASE WHEN coalesce((to_jsonb(f) ->> 'version')::bigint, 1) < 3 THEN -1::bigint
            WHEN coalesce((to_jsonb(f) ->> 'oldest')::bigint, 1) > 3 THEN 1 ELSE 0 END AS fits,
       found.seq, found.source, found.before, found.after
FROM target
CROSS JOIN {schema}.smache_feed f
LEFT JOIN found ON true
ORDER BY found.seq
