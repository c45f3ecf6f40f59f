-- From version 2. Takes the deadline of a feed's step now.
DROP FUNCTION IF EXISTS smache_invalidate(
    text, boolean, bytea[], text[], bytea[], text[], text, bigint, bigint, text, text[], bytea[], bytea[], bigint, boolean
);

-- Takes the version of a value and how many changes are told.
DROP FUNCTION IF EXISTS smache_commit(
    text, bytea, bytea, bigint, text, bytea, bytea, bytea, bytea, bytea, bytea[], bigint[], bigint, bigint, boolean, boolean,
    bigint, boolean
);
