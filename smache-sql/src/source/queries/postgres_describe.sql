-- The columns of a table in their order: of what kind the table is, what a cast to the column's type is called, whether it
-- is in the primary key, and whether a unique index is on it alone.
SELECT c.relkind::text,
       c.relpersistence = 'p',
       a.attname::text,
       format_type(a.atttypid, -1),
       EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])),
       EXISTS (
           SELECT FROM pg_index i
           WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL
             AND i.indnkeyatts = 1 AND i.indkey[0] = a.attnum
       ),
       current_setting('server_version_num')::int
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE n.nspname = $1 AND c.relname = $2
ORDER BY a.attnum
