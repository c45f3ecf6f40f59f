-- From version 1: which version the change table is of, and which programs it still serves.
ALTER TABLE smache_feed ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
ALTER TABLE smache_feed ADD COLUMN oldest INTEGER NOT NULL DEFAULT 1;
