-- An invalidation as a part of a writer's transaction: the lock of the namespace is held until that one ends, so that
-- the commit of a run waits for it, and then finds the change, or nothing after a rollback.
-- Outcome: 0 done, 1 another store, 2 the transaction has one snapshot for all of its statements.
CREATE OR REPLACE FUNCTION smache_invalidate_in_transaction(
    p_incarnation text, p_patience bigint, p_name text, p_jobs boolean, p_deps bytea[], p_causes text[], p_ids bytea[],
    p_id_causes text[],
    OUT outcome bigint, OUT revision bigint, OUT marked bigint, OUT needy bytea[]
) LANGUAGE plpgsql AS $$
DECLARE
    bound text := current_setting('lock_timeout');
BEGIN
    -- Such a snapshot would not see the results that were committed since it was taken, and they would stay fresh.
    IF current_setting('transaction_isolation') IN ('repeatable read', 'serializable') THEN
        outcome := 2;
        RETURN;
    END IF;
    -- Others make a missing namespace: they would wait for one that this transaction makes.
    PERFORM 1 FROM smache_namespaces WHERE name = p_name AND p_incarnation = smache_incarnation();
    IF NOT FOUND THEN
        outcome := 1;
        RETURN;
    END IF;
    -- A bound that the application has set stays.
    IF bound = '0' THEN
        PERFORM set_config('lock_timeout', p_patience::text, true);
    END IF;
    SELECT i.outcome, i.revision, i.marked, i.needy INTO outcome, revision, marked, needy
        FROM smache_invalidate(p_name, p_jobs, p_deps, p_causes, p_ids, p_id_causes,
            NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL) AS i;
    PERFORM set_config('lock_timeout', bound, true);
    -- Delivered with the commit, to whichever process waits for jobs.
    IF p_jobs AND needy IS NOT NULL THEN
        PERFORM pg_notify('smache_jobs', 'in_transaction ' || p_name);
    END IF;
END $$;
