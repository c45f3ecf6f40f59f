-- Which history this is. The timeline is another one after a failover and after a recovery to a point in time; the life is
-- another one after a crash, which takes back what was committed without waiting for the log; and the guards are others when
-- they were switched off, so that changes may have been removed without a trace.
concat_ws('/', f.id, f.tableoid, left(pg_walfile_name(pg_current_wal_insert_lsn()), 8),
    coalesce(to_regclass({changes})::oid::text, '-'),
    coalesce((SELECT a.life FROM {schema}.smache_alive a), '-'),
    coalesce((
        SELECT hashtextextended(string_agg(concat_ws(':', t.tgname, t.oid, t.xmin, t.tgenabled), ' ' ORDER BY t.tgname), 0)
        FROM pg_trigger t WHERE t.tgrelid = to_regclass({changes}) AND NOT t.tgisinternal
    ), 0))
