SELECT string_agg(concat_ws(':', t.tgname, t.oid, t.xmin, t.tgenabled), ' ' ORDER BY t.tgname)
FROM pg_trigger t
JOIN pg_class c ON c.oid = t.tgrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = {schema_name} AND c.relname = {table_name} AND t.tgname IN ('smache_row', 'smache_truncate')
