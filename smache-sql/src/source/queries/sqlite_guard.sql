CREATE TRIGGER smache_guard AFTER DELETE ON smache_changes
FOR EACH ROW WHEN OLD.seq > (SELECT trimmed FROM smache_feed) BEGIN
UPDATE smache_feed SET id = lower(hex(randomblob(16))), trimmed = OLD.seq, mark = OLD.mark;
END
