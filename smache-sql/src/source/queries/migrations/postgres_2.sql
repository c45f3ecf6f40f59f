-- From version 1: which version the change table and the function are of, and which programs they still serve.
ALTER TABLE {schema}.smache_feed
    ADD COLUMN version bigint NOT NULL DEFAULT 1,
    ADD COLUMN oldest bigint NOT NULL DEFAULT 1;
