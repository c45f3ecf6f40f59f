-- From version 2: until when sources that the application reports are vouched for, which maintenance renews.
ALTER TABLE smache_namespaces ADD COLUMN attached_until bigint NOT NULL DEFAULT 0;

-- Takes the deadline of a feed's step now.
DROP FUNCTION IF EXISTS smache_invalidate(
    text, boolean, bytea[], text[], bytea[], text[], text, bigint, bigint, text, text[], bytea[], bytea[], bigint, boolean
);
