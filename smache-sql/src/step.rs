//! Steps of feeds: their errors and their positions.

use std::collections::HashMap;

#[cfg(feature = "postgres")]
use smache_core::FeedStep;
use smache_core::{Incarnation, Position, Positions, Result, SourceId};

use crate::{
    cells::Cells,
    error::{corrupt, failed, unexpected},
};

/// A newer leader of the feed exists.
#[cfg(feature = "postgres")]
pub(crate) const FENCED: u64 = 1;

/// The database is another incarnation than the leader knows.
#[cfg(feature = "postgres")]
pub(crate) const OTHER: u64 = 2;

/// The error of a step that was refused.
#[cfg(feature = "postgres")]
pub(crate) fn refused(outcome: u64, step: &FeedStep) -> Result<()> {
    match outcome {
        0 => Ok(()),
        FENCED => Err(step.fenced()),
        OTHER => Err(step.of_other_incarnation()),
        _ => Err(unexpected("step")),
    }
}

/// The saved positions in the order of the sources, from rows of incarnation or else source, order and token.
pub(crate) fn positions<R: Cells>(rows: &[R], sources: &[SourceId], database: &str) -> Result<Positions> {
    let mut incarnation = None;
    let mut saved = HashMap::new();
    let broken = |error| failed(error, database);
    for row in rows {
        if let Some(name) = row.text(0).map_err(broken)? {
            incarnation = Some(Incarnation::new(name));
            continue;
        }
        let name = row.text(1).map_err(broken)?;
        let order = row.bytes(2).map_err(broken)?;
        let token = row.bytes(3).map_err(broken)?;
        match (name, order, token) {
            (Some(name), Some(order), Some(token)) => {
                saved.insert(name, Position { order: order.into(), token: token.into() });
            }
            _ => return Err(corrupt("a saved position cannot be read: remove the row of `smache_sources`")),
        }
    }
    Ok(Positions {
        positions: sources.iter().map(|source| saved.get(source.as_str()).cloned()).collect(),
        incarnation: incarnation.ok_or_else(|| unexpected("positions"))?,
    })
}
