//! The dependencies that have changed since a revision.

use std::collections::BTreeSet;

use smache_core::{ChangedSince, Dependency, Incarnation, Result};

use crate::{
    cells::{Cells, count},
    error::{corrupt, failed, wrong_server},
    version::MIGRATED,
};

/// The answer of `changed_since.sql`, unless there is no such namespace yet.
pub(crate) fn read<R: Cells>(
    rows: &[R],
    database: &str,
    (revision, asked): (u64, &[Dependency]),
) -> Result<Option<ChangedSince>> {
    let mut head = None;
    let mut changed = BTreeSet::new();
    let failed = |error| failed(error, database);
    for row in rows {
        if let Some(dependency) = row.bytes(3).map_err(failed)? {
            changed.insert(Dependency::from_slice(&dependency)?);
            continue;
        }
        let incarnation = row.text(0).map_err(failed)?.ok_or_else(|| wrong_server(MIGRATED, database))?;
        let number = |place| row.int(place).map_err(failed)?.map(count).ok_or_else(|| corrupt(UNREADABLE));
        head = Some((Incarnation::new(incarnation), number(1)?, number(2)?));
    }
    let Some((incarnation, now, low_watermark)) = head else { return Ok(None) };
    if revision < low_watermark {
        changed.extend(asked);
    }
    Ok(Some(ChangedSince { incarnation, revision: now, dependencies: changed.into_iter().collect() }))
}

const UNREADABLE: &str = "the revision of a namespace cannot be read: remove its row of `smache_namespaces`";
