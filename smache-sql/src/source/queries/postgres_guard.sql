
BEGIN
    IF TG_OP = 'DELETE' THEN
        -- Whoever removes changes, a position before them is lost.
        UPDATE {schema}.smache_feed f SET trimmed = last.xid
        FROM (SELECT xid FROM gone ORDER BY xid DESC LIMIT 1) last
        WHERE f.trimmed < last.xid;
    ELSE
        UPDATE {schema}.smache_feed SET id = gen_random_uuid()::text;
    END IF;
    RETURN NULL;
END
