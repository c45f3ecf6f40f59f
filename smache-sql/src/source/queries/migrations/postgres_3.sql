-- From version 2: rows as they are written, whatever their columns hold.
ALTER TABLE {schema}.smache_changes
    ALTER COLUMN before TYPE text USING before::text,
    ALTER COLUMN after TYPE text USING after::text;
