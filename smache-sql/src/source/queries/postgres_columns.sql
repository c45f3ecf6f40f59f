-- Of each table what its columns are, and which transactions have last changed them: one that gives the rows other values
-- as it changes a column fires no trigger.
ARRAY(
    SELECT coalesce((
        SELECT hashtextextended(
            string_agg(concat_ws(':', a.attnum, a.attname, a.atttypid, a.atttypmod, a.xmin), ' ' ORDER BY a.attnum), 0
        )
        FROM pg_attribute a
        JOIN pg_class c ON c.oid = a.attrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = {schema_name} AND c.relname = w.name AND a.attnum > 0
    ), 0)
    FROM unnest({names}::text[]) WITH ORDINALITY AS w (name, place)
    ORDER BY w.place
)
