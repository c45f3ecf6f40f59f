CREATE TABLE IF NOT EXISTS smache_feed (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    -- Which history this is: a position of another one is not in it.
    id TEXT NOT NULL,
    -- The last of the rows that were trimmed, and its mark.
    trimmed INTEGER NOT NULL DEFAULT 0,
    mark TEXT NOT NULL DEFAULT '',
    -- Of all that `install` makes; and of which version a program may be that still reads it.
    version INTEGER NOT NULL DEFAULT 1,
    oldest INTEGER NOT NULL DEFAULT 1
);
INSERT OR IGNORE INTO smache_feed (one, id) VALUES (1, lower(hex(randomblob(16))));

CREATE TABLE IF NOT EXISTS smache_changes (
    -- In the order of commits: there is one writer at a time, and what is rolled back gives its number back. Never used
    -- again after that, hence AUTOINCREMENT.
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    source TEXT NOT NULL,
    op TEXT NOT NULL,
    before TEXT,
    after TEXT,
    -- Tells the row from one that gets its number after a crash or after an older copy was put in place.
    mark TEXT NOT NULL DEFAULT (lower(hex(randomblob(8)))),
    at INTEGER NOT NULL DEFAULT (CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER))
);

-- Rows that an insert or an update under way may remove; empty between statements, but for what a failed one has left.
CREATE TABLE IF NOT EXISTS smache_replaced (source TEXT NOT NULL, step TEXT NOT NULL, id, before TEXT NOT NULL);
