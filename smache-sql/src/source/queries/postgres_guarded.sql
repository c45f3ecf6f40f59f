-- Whether the guards of the change table are there and always fire.
(
    SELECT count(*) = 2 FROM pg_trigger t
    WHERE t.tgrelid = to_regclass({changes}) AND t.tgname IN ('smache_removed', 'smache_emptied') AND t.tgenabled = 'A'
)
