-- The columns of a table in their order: of what kind the table is, what a cast to the column's type is called, its type and
-- that of its elements beneath domains, whether its collation takes different texts for equal, its place in the primary key,
-- and the unique indexes that it is in, with how many columns each has.
SELECT c.relkind::text,
       c.relpersistence = 'p',
       a.attname::text,
       format_type(b.oid, -1),
       CASE WHEN b.typtype = 'e' THEN 'enum' WHEN b.typnamespace = 'pg_catalog'::regnamespace THEN b.typname::text
            ELSE format_type(b.oid, -1) END,
       CASE WHEN e.typtype = 'e' THEN 'enum' WHEN e.typnamespace = 'pg_catalog'::regnamespace THEN e.typname::text
            ELSE format_type(e.oid, -1) END,
       coalesce(l.collisdeterministic, true),
       (SELECT array_position((i.indkey::int2[])[0:i.indnkeyatts - 1], a.attnum)
        FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)::int8,
       ARRAY(
           SELECT i.indexrelid::int8 * 100 + i.indnkeyatts FROM pg_index i
           WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL
             AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])
       ),
       current_setting('server_version_num')::int
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
CROSS JOIN LATERAL (
    WITH RECURSIVE layer AS (
        SELECT t.oid, t.typtype, t.typbasetype FROM pg_type t WHERE t.oid = a.atttypid
        UNION ALL
        SELECT t.oid, t.typtype, t.typbasetype FROM layer d JOIN pg_type t ON t.oid = d.typbasetype WHERE d.typtype = 'd'
    )
    SELECT oid FROM layer WHERE typtype <> 'd'
) base
JOIN pg_type b ON b.oid = base.oid
LEFT JOIN pg_type e ON e.oid = b.typelem AND b.typcategory = 'A'
LEFT JOIN pg_collation l ON l.oid = a.attcollation
WHERE n.nspname = $1 AND c.relname = $2
ORDER BY a.attnum
