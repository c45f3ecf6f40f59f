//! The findings of an examination.

use smache_core::{ErrorKind, Examination, Guarantee};

use crate::world::{Person, World, on_both};

on_both!(
    a_source_without_its_triggers_is_found,
    change_tables_of_other_releases_are_found,
    a_table_that_is_not_there_cannot_be_examined,
);

/// The findings, except for the faults of the test server itself.
fn said(examination: &Examination) -> Vec<String> {
    let findings = examination.findings.iter();
    let findings = findings.map(|finding| format!("{}: {}; {}", finding.severity, finding.problem, finding.fix));
    findings.filter(|found| !found.contains("wait for its disk") && !found.contains("is in memory")).collect()
}

/// The findings, where changes arrive with that guarantee.
async fn examined(world: &World, guarantee: Guarantee) -> Vec<String> {
    let examination = world.source().plain().examine().await.expect("an examination");
    assert_eq!(examination.guarantee, Some(guarantee), "{examination:?}");
    said(&examination)
}

async fn a_source_without_its_triggers_is_found(world: World) {
    let before = examined(&world, Guarantee::BestEffort).await;
    let missing = before.last().expect("nothing is installed");
    assert!(missing.starts_with("danger: ") && missing.contains("call `install`"), "{missing}");
    world.source().install().await.expect("install");
    assert_eq!(examined(&world, Guarantee::ChangeFeed).await, Vec::<String>::new());
    let examination = world.source().plain().examine().await.expect("an examination");
    assert!(examination.what.contains("people") && examination.what.contains("SQL"), "{}", examination.what);
    let drop =
        if world.is_postgres() { "DROP TRIGGER smache_row ON <people>" } else { "DROP TRIGGER smache_update_people" };
    world.run(drop).await;
    let found = examined(&world, Guarantee::BestEffort).await;
    assert!(found.len() == 1 && found[0].contains("call `install`"), "{found:?}");
}

async fn change_tables_of_other_releases_are_found(world: World) {
    world.source().install().await.expect("install");
    let feed = world.table("smache_feed");
    world.run(&format!("UPDATE {feed} SET version = 1")).await;
    let found = examined(&world, Guarantee::BestEffort).await;
    assert!(found.len() == 1 && found[0].contains("older release") && found[0].contains("`install`"), "{found:?}");
    world.run(&format!("UPDATE {feed} SET version = 9, oldest = 9")).await;
    let found = examined(&world, Guarantee::BestEffort).await;
    assert!(found.len() == 1 && found[0].contains("newer release"), "{found:?}");
    world.run(&format!("UPDATE {feed} SET oldest = 1")).await;
    let found = examined(&world, Guarantee::ChangeFeed).await;
    assert!(found.iter().all(|found| found.contains("newer release")), "it still serves this one: {found:?}");
}

async fn a_table_that_is_not_there_cannot_be_examined(world: World) {
    let error = world.source_of::<Person>("nowhere").plain().examine().await.expect_err("no table");
    assert_eq!(error.kind(), ErrorKind::Config, "{}", error.report());
    assert!(error.to_string().contains("nowhere"), "{error}");
}

#[test]
fn a_trigger_that_writes_in_the_middle_is_found() {
    smache_testkit::run(async {
        let world = World::sqlite().await;
        world.source().install().await.expect("install");
        world.run("CREATE TABLE log (id INTEGER)").await;
        world.run("CREATE TRIGGER quiet AFTER INSERT ON people BEGIN INSERT INTO log VALUES (NEW.id); END").await;
        assert_eq!(examined(&world, Guarantee::ChangeFeed).await, Vec::<String>::new());
        let loud = "CREATE TRIGGER loud BEFORE INSERT ON people BEGIN UPDATE people SET note = '' WHERE id = 7; END";
        world.run(loud).await;
        let found = examined(&world, Guarantee::ChangeFeed).await;
        assert!(found.len() == 1 && found[0].contains("`loud`") && found[0].contains("REPLACE"), "{found:?}");
    });
}

#[test]
fn a_role_that_may_not_trim_is_found() {
    smache_testkit::run(async {
        let world = World::postgres().await;
        world.source().install().await.expect("install");
        let World::Postgres { pool, schema } = &world else { return };
        let role = format!("reader-{schema}");
        world
            .run(&format!(
                "CREATE ROLE \"{role}\" LOGIN; GRANT USAGE ON SCHEMA \"{schema}\" TO \"{role}\";
                 GRANT SELECT ON ALL TABLES IN SCHEMA \"{schema}\" TO \"{role}\""
            ))
            .await;
        let options = (*pool.connect_options()).clone().username(&role);
        let pool = sqlx::PgPool::connect_with(options).await.expect("a connection");
        let reader = World::Postgres { pool, schema: schema.clone() };
        let found = examined(&reader, Guarantee::ChangeFeed).await;
        assert!(found.len() == 1 && found[0].contains("`DELETE` on `smache_changes`"), "{found:?}");
        world.run(&format!("REVOKE SELECT ON \"{schema}\".smache_changes FROM \"{role}\"")).await;
        let found = examined(&reader, Guarantee::BestEffort).await;
        assert!(found.len() == 1 && found[0].contains("`SELECT`"), "{found:?}");
    });
}
