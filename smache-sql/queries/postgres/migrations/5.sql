-- From version 4. Columns, functions and arguments have other names, so no older program goes on with them.
ALTER TABLE smache_namespaces RENAME COLUMN clock TO revision;
ALTER TABLE smache_namespaces RENAME COLUMN floor TO low_watermark;
ALTER TABLE smache_sources RENAME COLUMN armed TO caught_up_on;
ALTER TABLE smache_sources RENAME COLUMN lease TO valid_until;
ALTER TABLE smache_runs RENAME COLUMN started TO start_revision;
ALTER TABLE smache_changed RENAME COLUMN clock TO revision;
ALTER INDEX smache_changed_clock RENAME TO smache_changed_revision;
ALTER INDEX smache_jobs_buried RENAME TO smache_jobs_dead_letters;

-- Made again under a new name, or with new names of their arguments, which PostgreSQL does not change in place.
DO $$
DECLARE
    gone regprocedure;
BEGIN
    FOR gone IN
        SELECT p.oid FROM pg_proc p JOIN pg_class c ON c.relnamespace = p.pronamespace
        WHERE c.oid = 'smache_meta'::regclass AND p.proname IN (
            'smache_life', 'smache_space', 'smache_within', 'smache_wait', 'smache_check_step', 'smache_invalidate', 'smache_restart',
            'smache_commit', 'smache_keep_attached'
        )
    LOOP
        EXECUTE 'DROP FUNCTION ' || gone;
    END LOOP;
END $$;
