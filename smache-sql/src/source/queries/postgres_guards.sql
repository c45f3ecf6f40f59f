DROP TRIGGER IF EXISTS smache_removed ON {schema}.smache_changes;
DROP TRIGGER IF EXISTS smache_emptied ON {schema}.smache_changes;
CREATE TRIGGER smache_removed AFTER DELETE ON {schema}.smache_changes
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION {schema}.smache_guard();
CREATE TRIGGER smache_emptied AFTER TRUNCATE ON {schema}.smache_changes
    FOR EACH STATEMENT EXECUTE FUNCTION {schema}.smache_guard();
ALTER TABLE {schema}.smache_changes ENABLE ALWAYS TRIGGER smache_removed;
ALTER TABLE {schema}.smache_changes ENABLE ALWAYS TRIGGER smache_emptied;
