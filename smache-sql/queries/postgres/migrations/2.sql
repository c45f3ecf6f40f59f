-- From version 1: the release that made the tables, which programs they still serve, and which functions are in the
-- database.
ALTER TABLE smache_meta
    ADD COLUMN oldest bigint NOT NULL DEFAULT 1,
    ADD COLUMN made_by text NOT NULL DEFAULT '',
    ADD COLUMN functions text NOT NULL DEFAULT '';

-- Takes the token of a reservation from the worker now.
DROP FUNCTION IF EXISTS smache_reserve(text, bigint, bigint, bigint, bytea);
