-- From version 2: until when sources that the application reports are vouched for, which maintenance renews.
ALTER TABLE smache_namespaces ADD COLUMN attached_until INTEGER NOT NULL DEFAULT 0;
