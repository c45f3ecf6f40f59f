
BEGIN
    INSERT INTO {schema}.smache_changes (source, op, before, after) VALUES (
        TG_ARGV[0],
        TG_OP,
        CASE WHEN TG_OP IN ('UPDATE', 'DELETE') THEN row_to_json(OLD)::text END,
        CASE WHEN TG_OP IN ('INSERT', 'UPDATE') THEN row_to_json(NEW)::text END
    );
    -- The server sends the same notification once a transaction, and prepares none that has sent one. A server that can prepare
    -- transactions is not asked to, unless the setting `smache.notify` is on; the feed then looks as often as it polls.
    IF coalesce(
        nullif(current_setting('smache.notify', true), ''),
        CASE current_setting('max_prepared_transactions') WHEN '0' THEN 'on' ELSE 'off' END
    ) = 'on' THEN
        PERFORM pg_notify('smache_changes', '');
    END IF;
    RETURN NULL;
END
