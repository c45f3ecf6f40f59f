//! Keys in the layout of another release.

use smache_core::Error;

use crate::{error::wrong_server, keys::Role, script::LAYOUT};

/// The code of a script's error on keys of another layout; the layout follows it.
pub(crate) const CODE: &str = "LAYOUT";

/// Checks the layout that is stored beside keys, where there is one.
pub(crate) fn check(found: Option<&[u8]>, role: Role, prefix: &str, server: &str) -> Result<(), Error> {
    match found {
        Some(found) if found != LAYOUT.as_bytes() => {
            Err(other_layout(&String::from_utf8_lossy(found), role, prefix, server))
        }
        _ => Ok(()),
    }
}

/// The error for keys of another layout, with the fix.
pub(crate) fn other_layout(found: &str, role: Role, prefix: &str, server: &str) -> Error {
    let number = |layout: &str| layout.parse::<u64>().unwrap_or(0);
    let found = number(found);
    let (older, else_use) = match role {
        Role::Namespace => ("remove these keys once no program uses them any more", "another namespace"),
        // The fix never removes the data of an application.
        Role::Table => ("write the entities again by this program", "another table"),
    };
    let fix = if found > number(LAYOUT) { "upgrade this program" } else { older };
    let message = format!(
        "the keys `{prefix}*` are of layout {found} and this program knows layout {LAYOUT}: {fix}, or use {else_use}"
    );
    wrong_server(message, server)
}
