-- Whether a number is there that no transaction of this server has had yet.
f.trimmed >= pg_snapshot_xmax(pg_current_snapshot())
    OR EXISTS (SELECT FROM {schema}.smache_changes c WHERE c.xid >= pg_snapshot_xmax(pg_current_snapshot()))
