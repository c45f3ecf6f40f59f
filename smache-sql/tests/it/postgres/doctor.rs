//! The findings of an examination.

use smache_core::{Examination, Severity};
use smache_sql::Postgres;
use smache_testkit::servers::{PostgresServer, shared_postgres_url};
use sqlx::postgres::PgPoolOptions;

use super::{connect::run, proxy::Proxy};
use crate::support::{examined, said};

#[tokio::test]
async fn a_server_that_keeps_what_it_acknowledged_has_nothing_against_it() {
    let server = PostgresServer::builder().sync_to_disk().password("hunter2").start().await;
    let postgres = Postgres::connect(server.url()).await.expect("connect");
    let examination = examined(&postgres).await;
    assert_eq!(said(&examination), Vec::<String>::new());
    let what = &examination.what;
    assert!(what.starts_with("PostgreSQL 1") && what.contains("127.0.0.1") && !what.contains("hunter2"), "{what}");
    // Each step asks for it again, whatever the role's default is by now.
    run(&server.url(), "ALTER ROLE smache SET synchronous_commit = off".to_owned()).await;
    let again = Postgres::connect(server.url()).await.expect("connect");
    assert_eq!(said(&examined(&again).await), Vec::<String>::new());
}

#[tokio::test]
async fn whatever_is_unsafe_about_a_server_is_found() {
    let builder = PostgresServer::builder().config("full_page_writes", "off").config("autovacuum", "off");
    let server = builder.config("max_connections", "20").start().await;
    let postgres = Postgres::builder(server.url()).connections(40).connect().await.expect("connect");
    let found = said(&examined(&postgres).await);
    let words =
        ["danger: the server does not wait", "full_page_writes", "warning: no process cleans up", "max_connections"];
    assert_eq!(found.len(), words.len(), "{found:#?}");
    for (found, words) in found.iter().zip(words) {
        assert!(found.contains(words), "{found} does not say {words}");
    }
}

#[tokio::test]
async fn pools_that_are_too_small_are_found() {
    let url = shared_postgres_url();
    let pool = PgPoolOptions::new().max_connections(1).connect(&url).await.expect("a pool");
    let given = examined(&Postgres::from_pool(pool).await.expect("a pool")).await;
    let own = examined(&Postgres::builder(&url).connections(1).connect().await.expect("connect")).await;
    let of = |examination: &Examination, severity, words: &str| {
        examination.findings.iter().any(|finding| finding.severity == severity && finding.fix.contains(words))
    };
    assert!(of(&given, Severity::Danger, "at least two connections"), "{given:?}");
    assert!(of(&own, Severity::Advice, "`connections`"), "{own:?}");
}

#[tokio::test]
async fn a_pooler_that_swallows_notifications_is_found() {
    let says_so = |examination: &Examination| said(examination).iter().any(|found| found.contains("past the pooler"));
    for deaf in [true, false] {
        let proxy = Proxy::start(&shared_postgres_url(), deaf).await;
        let postgres = Postgres::connect(&proxy.url).await.expect("connect");
        assert_eq!(says_so(&examined(&postgres).await), deaf);
    }
}
