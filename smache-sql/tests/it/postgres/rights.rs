//! The reach of a role of the same database without rights on the tables.

use std::time::Duration;

use smache_core::{Backend, RecordWaits, Token};
use smache_sql::Postgres;
use smache_testkit::servers::shared_postgres_url;
use sqlx::{Connection, PgConnection};

use super::connect::{own_schema, run};
use crate::support::{begin, change, compute, direct, id, namespace};

#[tokio::test]
async fn a_role_without_rights_stops_no_namespace() {
    let (url, schema) = own_schema().await;
    let builder = || Postgres::builder(&*url).statement_timeout(Duration::from_secs(3));
    let store = builder().connect().await.expect("connect").store(&namespace("shop")).expect("a store");
    compute(&*store, id(1), "one", &[direct("a")]).await;

    let role = format!("guest_{}", Token::random());
    run(&shared_postgres_url(), format!("CREATE ROLE {role} LOGIN PASSWORD 'guest'")).await;
    let mut guest = PgConnection::connect(&shared_postgres_url()).await.expect("a plain connection");
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("SET SESSION AUTHORIZATION {role}")))
        .execute(&mut guest)
        .await
        .expect("a role");
    // Every lock that needs no right, by the names that steps have used.
    let advisory = "SELECT pg_advisory_lock(hashtextextended('smache:shop', 0)), pg_advisory_lock(hashtextextended('smache schema', 0)),
        pg_advisory_lock(hashtextextended('smache waits', ns)) FROM generate_series(1, 100) ns";
    sqlx::raw_sql(advisory).execute(&mut guest).await.expect("anybody may");
    for mode in ["ACCESS SHARE", "ROW SHARE", "EXCLUSIVE"] {
        let lock = format!("BEGIN; LOCK TABLE {schema}.smache_lock_0 IN {mode} MODE");
        let error = sqlx::raw_sql(sqlx::AssertSqlSafe(lock)).execute(&mut guest).await.expect_err(mode);
        assert!(error.to_string().contains("permission denied"), "{error}");
        sqlx::raw_sql("ROLLBACK").execute(&mut guest).await.expect("the end");
    }

    let again = builder().connect().await.expect("the tables are looked at without a lock that anybody may hold");
    let again = again.store(&namespace("shop")).expect("a store");
    let run_of_one = begin(&*again, id(2)).await;
    again.commit(run_of_one.value("two", &[direct("a")])).await.expect("a commit");
    assert_eq!(again.invalidate(change("a")).await.expect("an invalidation").marked, 2);
    again
        .record_waits(RecordWaits { runs: Vec::new(), lease: Duration::from_secs(1), child: id(1) })
        .await
        .expect("notes of waits");
    drop(guest);
    run(&shared_postgres_url(), format!("DROP ROLE {role}")).await;
}
