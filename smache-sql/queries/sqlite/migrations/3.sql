-- From version 2. Columns have other names, so no older program goes on with them.
ALTER TABLE smache_namespaces RENAME COLUMN clock TO revision;
ALTER TABLE smache_namespaces RENAME COLUMN floor TO low_watermark;
ALTER TABLE smache_sources RENAME COLUMN armed TO caught_up_on;
ALTER TABLE smache_sources RENAME COLUMN lease TO valid_until;
ALTER TABLE smache_runs RENAME COLUMN started TO start_revision;
ALTER TABLE smache_changed RENAME COLUMN clock TO revision;
DROP INDEX smache_changed_clock;
CREATE INDEX smache_changed_revision ON smache_changed (ns, revision);
DROP INDEX smache_jobs_buried;
CREATE INDEX smache_jobs_dead_letters ON smache_jobs (ns, id) WHERE state = 2;
