-- From version 2: `install` makes the guard of the change table, which needs nothing of the tables.
SELECT 1;
