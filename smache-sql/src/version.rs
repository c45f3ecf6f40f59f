//! The errors for tables of another version.

use std::borrow::Cow;

use smache_core::{Error, ErrorKind};

use crate::error::{Tables, classify, wrong_server};

/// The release that this program has; written beside the version, so that the error of an older one can name it.
pub(crate) const RELEASE: &str = env!("CARGO_PKG_VERSION");

/// The error of a running program whose tables a newer one has migrated.
pub(crate) const MIGRATED: &str = "the tables `smache_*` were migrated by a newer release, and no longer serve programs of \
     this one: upgrade this program";

/// The tables cannot be used, and stay unchanged. `elsewhere` is how a program gets separate tables.
pub(crate) fn refused(version: i64, made_by: Option<&str>, known: i64, elsewhere: &str, database: &str) -> Error {
    let made_by = made_by.filter(|release| !release.is_empty());
    let made_by = made_by.map_or(Cow::Borrowed(""), |release| format!(", made by release {release},").into());
    let fix = if version > known {
        format!("upgrade this program, or {elsewhere}")
    } else {
        format!("migrate them by an earlier release first, or {elsewhere}")
    };
    let message = format!(
        "the tables `smache_*` are of version {version}{made_by} and this program, of release {RELEASE}, knows version \
         {known}: {fix}"
    );
    wrong_server(message, database)
}

/// A migration failed, and changed nothing.
pub(crate) fn not_migrated(error: sqlx::Error, from: i64, to: i64, database: &str) -> Error {
    let (kind, reason) = classify(&error, Tables::Own);
    let reason = match kind {
        ErrorKind::Permission => "the role may not: start a program of this release once as the owner of the tables",
        _ => reason,
    };
    let message =
        format!("the tables `smache_*` cannot be migrated from version {from} to {to} and are as they were: {reason}");
    Error::new(kind, message).with_context("database", database).with_source(error)
}
