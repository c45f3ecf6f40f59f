-- From version 2. Takes the deadline of a feed's step now.
DROP FUNCTION IF EXISTS smache_invalidate(
    text, boolean, bytea[], text[], bytea[], text[], text, bigint, bigint, text, text[], bytea[], bytea[], bigint, boolean
);
