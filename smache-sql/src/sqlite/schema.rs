//! The tables of a file.

use smache_core::{Result, Token};
use sqlx::{Connection, SqliteConnection};

use super::link::Link;
use crate::error::wrong_server;

/// The version of the tables that this crate knows.
const VERSION: i64 = 1;

const SCHEMA: &str = include_str!("../../queries/sqlite/schema.sql");

/// Makes the tables if they are missing, and checks their version.
pub(super) async fn prepare(link: &Link) -> Result<()> {
    let mut writer = link.writer.lock().await;
    let version = find_or_make(&mut writer).await.map_err(|error| link.failed(error))?;
    if version == VERSION {
        return Ok(());
    }
    let fix = if version > VERSION { "upgrade this program" } else { "upgrade the programs that use it first" };
    let message = format!(
        "the tables `smache_*` are of version {version} and this program knows version {VERSION}: {fix}, or use a file \
         of its own"
    );
    Err(wrong_server(message, &link.place.file))
}

async fn find_or_make(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    // Also processes that start side by side make them once, and a file that cannot be written is found out here.
    let mut work = connection.begin_with("BEGIN IMMEDIATE").await?;
    let there: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema WHERE name = 'smache_meta'")
        .fetch_one(&mut *work)
        .await?;
    if there == 0 {
        sqlx::raw_sql(SCHEMA).execute(&mut *work).await?;
        sqlx::query("INSERT INTO smache_meta VALUES ($1, $2)")
            .bind(VERSION)
            .bind(format!("sqlite-{}", Token::random()))
            .execute(&mut *work)
            .await?;
    }
    let version = sqlx::query_scalar("SELECT version FROM smache_meta").fetch_one(&mut *work).await?;
    work.commit().await?;
    Ok(version)
}
