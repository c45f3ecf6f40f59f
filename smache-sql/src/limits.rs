//! The statements in files have the limits of `smache_core::support` as numbers, since SQL has no constants.

use smache_core::support::{NEW_EPOCH, limits};

#[test]
fn statements_have_the_limits_of_all_backends() {
    let base = include_str!("../queries/postgres/base.sql");
    let runs = include_str!("../queries/postgres/runs.sql");
    let feeds = include_str!("../queries/postgres/feeds.sql");
    let queue = include_str!("../queries/postgres/queue.sql");
    let invalidate = include_str!("../queries/postgres/invalidate.sql");
    let priority = limits::USUAL_PRIORITY;
    let reap_after = limits::REAP_AFTER.as_millis();
    for (text, fact, times) in [
        (base, format!("causes[greatest(1, cardinality(causes) - {}):]", limits::CAUSES - 1), 1),
        (runs, format!("[:p_most_reported + {}]", limits::NAMED_CONFLICTS), 1),
        (runs, format!(", {priority}, t + p_delay)"), 2),
        (invalidate, format!("needy, lanes, {priority}, t)"), 1),
        (feeds, format!(", {priority}, t)"), 2),
        (feeds, format!("until + {reap_after} < t"), 2),
        (feeds, format!("ARRAY['{NEW_EPOCH}']"), 1),
        (queue, format!("ORDER BY j.at LIMIT {} FOR UPDATE SKIP LOCKED", limits::LAPSED_JOBS), 1),
        (include_str!("../queries/sqlite/mark.sql"), format!("json_array_length(e.causes) < {} ", limits::CAUSES), 1),
        (
            include_str!("../queries/sqlite/mark_entry.sql"),
            format!("json_array_length(e.causes) < {} ", limits::CAUSES),
            1,
        ),
    ] {
        assert_eq!(text.matches(&fact).count(), times, "{fact}");
    }
}
