
BEGIN
    INSERT INTO {schema}.smache_changes (source, op, before, after) VALUES (
        TG_ARGV[0],
        TG_OP,
        CASE WHEN TG_OP IN ('UPDATE', 'DELETE') THEN to_jsonb(OLD) END,
        CASE WHEN TG_OP IN ('INSERT', 'UPDATE') THEN to_jsonb(NEW) END
    );
    -- The server sends the same notification once a transaction.
    PERFORM pg_notify('smache_changes', '');
    RETURN NULL;
END
