-- From version 3. Locks are tables now: every role of the database could hold the advisory locks. A role that may write
-- to the other tables may lock these.
DO $$
DECLARE
    grantee text;
BEGIN
    FOR number IN 0 .. 63 LOOP
        EXECUTE format('CREATE TABLE IF NOT EXISTS smache_lock_%s ()', number);
        FOR grantee IN
            SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END
            FROM pg_class c, aclexplode(c.relacl) a
            WHERE c.oid = 'smache_namespaces'::regclass AND a.privilege_type = 'UPDATE' AND a.grantee <> c.relowner
        LOOP
            EXECUTE format('GRANT UPDATE ON smache_lock_%s TO %s', number, grantee);
        END LOOP;
    END LOOP;
END $$;

-- Now has the version of a value and the most changes to report as arguments.
DROP FUNCTION IF EXISTS smache_commit(
    text, bytea, bytea, bigint, text, bytea, bytea, bytea, bytea, bytea, bytea[], bigint[], bigint, bigint, boolean, boolean,
    bigint, boolean
);
