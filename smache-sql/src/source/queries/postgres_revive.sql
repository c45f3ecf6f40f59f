
BEGIN
    IF NOT EXISTS (SELECT FROM {schema}.smache_alive) THEN
        INSERT INTO {schema}.smache_alive DEFAULT VALUES ON CONFLICT DO NOTHING;
    END IF;
END
