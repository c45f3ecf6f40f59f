//! The configurations by name. A small one ends in seconds; the large ones are for `cargo run --release`.

use crate::config::{Budget, Config, Functions, Reach, Source};

/// The small configurations, which `cargo test` walks over.
pub const SMALL: &[&str] = &[
    "one entry",
    "trimmed",
    "dynamic",
    "nested",
    "cut-off dynamic",
    "paged",
    "workers",
    "takeover",
    "failing",
    "forgetful",
    "epochs",
    "reported failover",
    "superseded",
    "feed",
    "feed failover",
    "feed history",
    "feed clock",
    "reconciled",
    "two partitions",
];

/// Those in which `cargo test` looks only for mutants.
pub const MIDDLE: &[&str] =
    &["cut-off", "cut-off epochs", "feed late", "feed late history", "two partitions failover", "feed two partitions"];

/// The large ones.
pub const LARGE: &[&str] = &["large cut-off", "large paged", "large twice", "large two partitions"];

/// All of them.
pub fn all() -> impl Iterator<Item = &'static str> {
    SMALL.iter().chain(MIDDLE).chain(LARGE).copied()
}

fn base(name: &'static str) -> Config {
    Config {
        name,
        parts: 1,
        source: Source::Reported,
        functions: Functions::Alone,
        rows: 1,
        page: usize::MAX,
        limits: Budget::default(),
        actors: 2,
        leaders: 0,
        workers: false,
        maintained: false,
        rereads: false,
        reconciled: false,
        superseded: false,
        fails: None,
        prepared: false,
        rule: None,
        expected: &[Reach::FreshHit],
        reached: 0.into(),
        converged: crate::check::Seen::default(),
    }
}

fn fed(name: &'static str) -> Config {
    Config { source: Source::Feed, leaders: 1, ..base(name) }
}

/// A configuration by its name.
#[must_use]
pub fn named(name: &str) -> Option<Config> {
    let known = all().find(|known| *known == name)?;
    small(known).or_else(|| large(known))
}

fn small(name: &'static str) -> Option<Config> {
    let budget = |writes, reads, ticks| Budget { writes, reads, ticks, ..Budget::default() };
    Some(match name {
        "one entry" => Config {
            limits: budget(2, 2, 1),
            maintained: true,
            expected: &[Reach::FreshHit, Reach::Conflict, Reach::Lost, Reach::Reap],
            ..base(name)
        },
        "trimmed" => Config { rows: 2, limits: budget(1, 1, 1), maintained: true, ..base(name) },
        "dynamic" => Config { functions: Functions::Dynamic, rows: 2, limits: budget(3, 2, 0), ..base(name) },
        "nested" => Config {
            functions: Functions::Nested,
            limits: Budget { taints: 1, evictions: 1, ..budget(2, 2, 0) },
            expected: &[Reach::FreshHit, Reach::Conflict, Reach::Tainted],
            ..base(name)
        },
        "cut-off" => Config {
            functions: Functions::CutOff,
            rows: 2,
            limits: budget(2, 2, 0),
            workers: true,
            expected: &[Reach::FreshHit, Reach::CutOff, Reach::Conflict],
            ..base(name)
        },
        "cut-off dynamic" => Config {
            functions: Functions::Switch,
            rows: 2,
            limits: budget(2, 1, 0),
            workers: true,
            expected: &[Reach::FreshHit, Reach::CutOff],
            ..base(name)
        },
        "cut-off epochs" => Config {
            functions: Functions::CutOff,
            rows: 2,
            limits: Budget { snapshots: 1, failovers: 1, ..budget(1, 1, 0) },
            workers: true,
            maintained: true,
            expected: &[Reach::FreshHit, Reach::Sweep],
            ..base(name)
        },
        "paged" => Config {
            functions: Functions::Nested,
            page: 1,
            limits: budget(2, 2, 0),
            expected: &[Reach::FreshHit, Reach::Walk, Reach::ConflictOfMark],
            ..base(name)
        },
        "workers" => Config {
            limits: budget(2, 1, 1),
            workers: true,
            expected: &[Reach::FreshHit, Reach::JobAgain, Reach::PutBack, Reach::Conflict],
            ..base(name)
        },
        "takeover" => Config { limits: budget(2, 3, 1), actors: 3, expected: &[Reach::Lost], ..base(name) },
        "failing" => Config {
            limits: Budget { aborts: 1, ..budget(2, 1, 0) },
            workers: true,
            expected: &[Reach::FreshHit, Reach::Conflict],
            ..base(name)
        },
        "forgetful" => Config {
            limits: Budget { forgets: 1, ..budget(2, 2, 0) },
            expected: &[Reach::FreshHit, Reach::Conflict],
            ..base(name)
        },
        "epochs" => Config {
            limits: Budget { epochs: 1, ..budget(1, 2, 0) },
            maintained: true,
            expected: &[Reach::FreshHit, Reach::Sweep, Reach::Conflict],
            ..base(name)
        },
        "reported failover" => Config {
            limits: Budget { snapshots: 1, failovers: 1, ..budget(2, 2, 0) },
            expected: &[Reach::FreshHit, Reach::OtherIncarnation],
            ..base(name)
        },
        "superseded" => {
            Config { limits: Budget { snapshots: 1, failovers: 1, ..budget(1, 1, 2) }, superseded: true, ..base(name) }
        }
        "feed" => Config {
            leaders: 2,
            rereads: true,
            limits: budget(1, 1, 1),
            expected: &[Reach::FreshHit, Reach::Reread, Reach::Restart],
            ..fed(name)
        },
        "feed failover" => Config {
            rows: 2,
            limits: Budget { snapshots: 1, failovers: 1, ..budget(2, 1, 0) },
            expected: &[Reach::FreshHit],
            ..fed(name)
        },
        "feed history" => Config {
            limits: Budget { histories: 1, ..budget(1, 1, 1) },
            expected: &[Reach::FreshHit, Reach::Restart],
            ..fed(name)
        },
        "feed clock" => Config { limits: Budget { backs: 1, ..budget(1, 1, 3) }, ..fed(name) },
        "feed late" => {
            Config { limits: Budget { late: 1, ..budget(1, 1, 3) }, expected: &[Reach::FreshHit], ..fed(name) }
        }
        "feed late history" => Config {
            limits: Budget { late: 1, histories: 1, ..budget(1, 1, 1) },
            expected: &[Reach::FreshHit, Reach::NotTaken],
            ..fed(name)
        },
        "reconciled" => Config { limits: budget(2, 2, 0), reconciled: true, ..base(name) },
        "two partitions" => Config {
            parts: 2,
            functions: Functions::Nested,
            limits: budget(1, 3, 0),
            expected: &[Reach::FreshHit, Reach::Walk, Reach::ConflictOfMark],
            ..base(name)
        },
        "two partitions failover" => Config {
            parts: 2,
            fails: Some(1),
            functions: Functions::Nested,
            limits: Budget { snapshots: 1, failovers: 1, ..budget(1, 2, 0) },
            ..base(name)
        },
        "feed two partitions" => Config {
            parts: 2,
            fails: Some(1),
            functions: Functions::Nested,
            limits: Budget { snapshots: 1, failovers: 1, ..budget(1, 2, 0) },
            expected: &[Reach::FreshHit, Reach::Replay],
            ..fed(name)
        },
        _ => return None,
    })
}

fn large(name: &'static str) -> Option<Config> {
    let budget = |writes, reads, ticks| Budget { writes, reads, ticks, ..Budget::default() };
    Some(match name {
        "large cut-off" => Config {
            functions: Functions::CutOff,
            rows: 2,
            limits: Budget { snapshots: 1, failovers: 1, ..budget(1, 2, 0) },
            workers: true,
            maintained: true,
            expected: &[Reach::FreshHit, Reach::Sweep],
            ..base(name)
        },
        "large paged" => Config {
            functions: Functions::Nested,
            page: 1,
            limits: budget(2, 3, 1),
            expected: &[Reach::FreshHit, Reach::Walk, Reach::Redo, Reach::ConflictOfMark],
            ..base(name)
        },
        "large twice" => Config {
            functions: Functions::Nested,
            page: 1,
            limits: budget(2, 2, 1),
            actors: 1,
            prepared: true,
            expected: &[Reach::FreshHit, Reach::Walk, Reach::Redo],
            ..base(name)
        },
        "large two partitions" => Config {
            parts: 2,
            fails: Some(1),
            functions: Functions::Nested,
            limits: Budget { snapshots: 1, failovers: 1, ..budget(1, 3, 0) },
            ..base(name)
        },
        _ => return None,
    })
}
