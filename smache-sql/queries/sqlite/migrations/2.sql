-- From version 1: the release that made the tables, and which programs they still serve.
ALTER TABLE smache_meta ADD COLUMN oldest INTEGER NOT NULL DEFAULT 1;
ALTER TABLE smache_meta ADD COLUMN made_by TEXT NOT NULL DEFAULT '';
