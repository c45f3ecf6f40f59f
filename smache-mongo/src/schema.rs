//! Whether a server can be used, and the collections with their indexes.

use std::time::Duration;

use mongodb::{
    IndexModel,
    bson::{Document, doc},
    options::IndexOptions,
};
use smache_core::{Result, support::other_layout};

use crate::{error::wrong_server, keys::SCHEMA, link::Link, namespace::make_schema, primary::Primary};

/// The layout of the documents and indexes that this crate knows.
pub(crate) const VERSION: i64 = 2;

/// The oldest release with everything that the updates use.
const OLDEST: i64 = 6;

/// Each index covers the entries that it is for, and few others. `tidy` keeps the fields that the indexes need.
fn entry_indexes() -> Vec<IndexModel> {
    let index = |name: &str, keys: Document, mut options: IndexOptions| {
        options.name = Some(format!("smache_{name}"));
        IndexModel::builder().keys(keys).options(options).build()
    };
    let whole = IndexOptions::default;
    let sparse = || IndexOptions::builder().sparse(true).build();
    // The server removes an expired entry with its edges an hour later, if maintenance has not done so.
    let by_age = IndexOptions::builder().expire_after(Duration::ZERO).build();
    let jobs = doc! { "job.n": 1, "job.s": 1, "job.l": 1, "job.p": 1, "job.at": 1, "job.token": 1 };
    vec![
        // With the id, which orders pages.
        index("edges", doc! { "deps": 1, "_id": 1 }, whole()),
        index("records", doc! { "n": 1, "is_stale": 1, "_id": 1 }, whole()),
        index("ends", doc! { "end.n": 1, "end.at": 1 }, sparse()),
        index("runs", doc! { "run.n": 1, "run.until": 1 }, sparse()),
        index("jobs", jobs, sparse()),
        index("purge", doc! { "purge_at": 1 }, by_age),
    ]
}

/// The indexes of changes: by dependency, and by revision.
fn state_indexes() -> Vec<IndexModel> {
    let index = |name: &str, keys: Document| {
        let options = IndexOptions::builder().name(format!("smache_{name}")).sparse(true).build();
        IndexModel::builder().keys(keys).options(options).build()
    };
    vec![index("changed", doc! { "deps": 1, "k": 1 }), index("revisions", doc! { "n": 1, "k": 1 })]
}

/// Checks the server, and creates the indexes and the document of the version if they are missing.
pub(crate) async fn prepare(link: &Link) -> Result<()> {
    const CONNECT: &str = "connect";
    let primary = Primary::ask(&link.database, link.timeout, CONNECT).await;
    let primary = primary.and_then(|primary| if link.direct { primary.alone() } else { Ok(primary) });
    primary.map_err(|error| error.with_context("server", &link.server))?;
    let info = link.run(CONNECT, async { link.database.run_command(doc! { "buildInfo": 1 }).await }).await?;
    judge(&info, &link.server)?;

    // The version first: a program of another version must not find indexes of this one.
    make_schema(link, CONNECT).await?;
    let found = link.run(CONNECT, async { link.state.find_one(doc! { "_id": SCHEMA }).await }).await?;
    let version = found.as_ref().and_then(|schema| schema.get_i64("version").ok());
    if version != Some(VERSION) {
        let found = version.and_then(|version| u64::try_from(version).ok());
        let older = "drop them when no older program uses them";
        let error = other_layout("the collections `smache_*` are", found, VERSION as u64, older, "another database");
        return Err(error.with_context("server", &link.server));
    }
    make_indexes(link, CONNECT).await
}

/// Creates the indexes; existing ones stay, so processes may start side by side.
pub(crate) async fn make_indexes(link: &Link, step: &'static str) -> Result<()> {
    link.run_long(step, async { link.entries.create_indexes(entry_indexes()).await }).await?;
    link.run_long(step, async { link.state.create_indexes(state_indexes()).await }).await?;
    Ok(())
}

fn judge(info: &Document, server: &str) -> Result<()> {
    let version = info.get_str("version").unwrap_or("of an unknown version");
    let major = version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(OLDEST);
    if major < OLDEST {
        return Err(wrong_server(format!("the server is MongoDB {version}: use {OLDEST}.0 or newer"), server));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use smache_core::ErrorKind;

    use super::*;

    #[test]
    fn old_server_is_refused_with_the_version_that_is_needed() {
        assert!(judge(&doc! { "version": "6.0.16" }, "localhost").is_ok());
        let error = judge(&doc! { "version": "5.0.3" }, "localhost").expect_err("too old");
        assert_eq!(error.kind(), ErrorKind::WrongServer);
        assert!(error.to_string().contains("5.0.3") && error.to_string().contains("6.0"), "{error}");
    }
}
