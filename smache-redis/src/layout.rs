//! Keys in the layout of another release.

use smache_core::{Error, support};

use crate::{keys::Role, script::LAYOUT};

/// The code of a script's error on keys of another layout; the layout follows it.
pub(crate) const CODE: &str = "LAYOUT";

/// Checks the layout that is stored beside keys, where there is one.
pub(crate) fn check(found: Option<&[u8]>, role: Role, prefix: &str, server: &str) -> Result<(), Error> {
    match found {
        Some(found) => match String::from_utf8_lossy(found) {
            found if found.parse() == Ok(LAYOUT) => Ok(()),
            found => Err(other_layout(&found, role, prefix, server)),
        },
        None => Ok(()),
    }
}

/// The error for keys of another layout, with the fix.
pub(crate) fn other_layout(found: &str, role: Role, prefix: &str, server: &str) -> Error {
    let (older, elsewhere) = match role {
        Role::Namespace => ("remove these keys once no program uses them any more", "another namespace"),
        // The fix never removes the data of an application.
        Role::Table => ("write the entities again by this program", "another table"),
    };
    let what = format_args!("the keys `{prefix}*` are");
    let found = found.parse().unwrap_or(0);
    support::other_layout(what, Some(found), LAYOUT, older, elsewhere).with_context("server", server)
}
