//! Optional abilities of a source.

use std::fmt;

use super::DataSource;
use crate::{Error, ErrorKind, Result};

/// Something that a source can do and need not.
///
/// A source declares it ([`DataSource::capabilities`]), and the engine asks only for what is declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Capability {
    /// It can list all its entities: `cx.all`.
    List,
    /// It can find entities by their fields: `cx.find`.
    Find,
    /// Its changes tell the entity before. A hint, which saves dependencies: a single change may still come without
    /// that.
    BeforeImages,
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::List => "lists",
            Self::Find => "finds",
            Self::BeforeImages => "tells what was before",
        })
    }
}

/// Whether a source declares that it can do something.
pub(crate) fn can(source: &dyn DataSource, capability: Capability) -> bool {
    source.capabilities().contains(&capability)
}

/// Refuses a capability that the source does not declare, before the engine asks for it.
pub(crate) fn demand(source: &dyn DataSource, capability: Capability) -> Result<()> {
    if can(source, capability) {
        return Ok(());
    }
    let (what, method, instead) = match capability {
        Capability::List => ("list its entities", "list", "query by your own client beside `sources(…)`"),
        _ => ("find by fields", "find", "query by your own client beside `cx.depends_on(…)`"),
    };
    let fix = format!("implement `DataSource::{method}` and declare `Capability::{capability:?}`, or {instead}");
    Err(Error::new(ErrorKind::Unsupported, format!("the source `{}` cannot {what}: {fix}", source.id())))
}
