//! Change tables of another release.

use smache_core::{ErrorKind, Start};

use crate::world::{Person, World, on_both, told};

on_both!(
    an_older_change_table_is_named_and_migrated_by_install,
    a_newer_change_table_is_refused_and_left_alone,
    a_program_that_reads_while_a_newer_one_migrates_goes_on_or_is_refused,
);

/// Takes back the additions of the present release, and leaves the tables of the first one with its recorded changes.
async fn become_first(world: &World) {
    let feed = world.table("smache_feed");
    world.run(&format!("ALTER TABLE {feed} DROP COLUMN version; ALTER TABLE {feed} DROP COLUMN oldest")).await;
    let World::Postgres { schema, .. } = world else { return world.run("DROP TRIGGER smache_guard").await };
    let body = format!("$body${}$body$", include_str!("../fixtures/postgres_1/record.sql"));
    let record = include_str!("../fixtures/postgres_1/source.sql").replace("{body}", &body);
    let record = record.split_once("CREATE OR REPLACE").map(|(_, function)| format!("CREATE OR REPLACE{function}"));
    let changes = world.table("smache_changes");
    let alive = world.table("smache_alive");
    world
        .run(&format!(
            "DROP TRIGGER smache_removed ON {changes}; DROP TRIGGER smache_emptied ON {changes}; DROP TABLE {alive};
             DROP FUNCTION \"{schema}\".smache_guard(); DROP FUNCTION \"{schema}\".smache_revive();
             ALTER TABLE {changes} ALTER COLUMN before TYPE jsonb USING before::jsonb,
                 ALTER COLUMN after TYPE jsonb USING after::jsonb;
             {}",
            record.expect("a function").replace("{schema}", &format!("\"{schema}\""))
        ))
        .await;
}

/// The columns of the tables that `install` makes.
async fn columns(world: &World) -> Vec<String> {
    let sql = match world {
        World::Postgres { schema, .. } => format!(
            "SELECT concat_ws(' ', table_name, column_name, data_type, column_default, is_nullable)
             FROM information_schema.columns WHERE table_schema = '{schema}' AND table_name LIKE 'smache%' ORDER BY 1"
        ),
        World::Sqlite { .. } => {
            "SELECT t.name || ' ' || c.cid || c.name || c.type || c.\"notnull\" || coalesce(c.dflt_value, '')
             FROM sqlite_schema t JOIN pragma_table_info(t.name) c WHERE t.name LIKE 'smache%' ORDER BY 1"
                .to_owned()
        }
    };
    world.ask(&sql).await
}

async fn an_older_change_table_is_named_and_migrated_by_install(world: World) {
    // The present one, for comparison and for the triggers, and then the tables of the first release instead.
    let mut tail = world.tail().await;
    world.run("INSERT INTO <people> (id, name) VALUES (1, 'Anna')").await;
    assert_eq!(tail.told().await, ["1 inserted -→Anna"]);
    let position = tail.stream.position();
    let fresh = columns(&world).await;
    become_first(&world).await;
    assert_eq!(columns(&world).await, columns_of_first().await[usize::from(!world.is_postgres())]);
    world.run("INSERT INTO <people> (id, name) VALUES (2, 'Bea')").await;

    let error = world.source().open(Start::After(position.clone())).await.err().expect("an older one");
    assert_eq!(error.kind(), ErrorKind::Config, "{}", error.report());
    assert!(error.message().contains("older release") && error.message().contains("`install`"), "{error}");
    let both = tokio::join!(async { world.source().install().await }, async { world.source().install().await });
    both.0.and(both.1).expect("a migration");
    assert_eq!(columns(&world).await, fresh, "as if they were made today");
    if world.is_postgres() {
        // The older one had no guard, so nothing tells whether all of it is still there.
        let error = world.source().open(Start::After(position)).await.err().expect("a new history");
        assert_eq!(error.kind(), ErrorKind::HistoryLost, "{}", error.report());
        let rows =
            world.ask(&format!("SELECT coalesce(after, '') FROM {} ORDER BY seq", world.table("smache_changes"))).await;
        assert!(rows.iter().any(|row| row.contains("Bea")), "what was recorded is kept");
        return;
    }
    let mut tail = world.source().open(Start::After(position)).await.expect("open");
    world.run("UPDATE <people> SET name = 'Beate' WHERE id = 2").await;
    assert_eq!(told(&tail.all().await), ["2 inserted -→Bea", "2 updated Bea→Beate [name]"], "nothing is lost or reset");
}

/// The tables of the first release's scripts, in PostgreSQL and in SQLite.
async fn columns_of_first() -> [Vec<String>; 2] {
    let postgres = World::postgres().await;
    let World::Postgres { schema, .. } = &postgres else { panic!("it is PostgreSQL") };
    let body = format!("$body${}$body$", include_str!("../fixtures/postgres_1/record.sql"));
    let install = include_str!("../fixtures/postgres_1/source.sql").replace("{body}", &body);
    postgres.run(&install.replace("{schema}", &format!("\"{schema}\""))).await;
    let sqlite = World::sqlite().await;
    sqlite.run(include_str!("../fixtures/sqlite_1/source.sql")).await;
    [columns(&postgres).await, columns(&sqlite).await]
}

async fn a_newer_change_table_is_refused_and_left_alone(world: World) {
    let source = world.source();
    source.install().await.expect("install");
    let feed = world.table("smache_feed");
    world.run(&format!("UPDATE {feed} SET version = 4, oldest = 4")).await;
    let error = source.install().await.expect_err("a newer one");
    assert_eq!(error.kind(), ErrorKind::WrongServer, "{}", error.report());
    for word in ["version 4", "version 3", "upgrade this program"] {
        assert!(error.message().contains(word), "{error}");
    }
    assert_eq!(world.ask(&format!("SELECT 'version ' || version FROM {feed}")).await, ["version 4"]);
    let error = source.open(Start::Now).await.err().expect("a newer one");
    assert_eq!(error.kind(), ErrorKind::WrongServer, "{}", error.report());
    assert!(error.message().contains("upgrade this program"), "{error}");
}

async fn a_program_that_reads_while_a_newer_one_migrates_goes_on_or_is_refused(world: World) {
    let mut tail = world.tail().await;
    let feed = world.table("smache_feed");
    world.run(&format!("UPDATE {feed} SET version = 4, oldest = 2")).await;
    world.run("INSERT INTO <people> (id, name) VALUES (1, 'Anna')").await;
    assert_eq!(tail.told().await, ["1 inserted -→Anna"]);
    world.run(&format!("UPDATE {feed} SET version = 5, oldest = 4")).await;
    let error = tail.stream.next().await.expect_err("it is not served any more");
    assert_eq!(error.kind(), ErrorKind::WrongServer, "{}", error.report());
    let position = tail.stream.position();
    world.run("INSERT INTO <people> (id, name) VALUES (2, 'Bea')").await;
    world.run(&format!("UPDATE {feed} SET version = 3, oldest = 1")).await;
    let mut tail = world.source_of::<Person>("people").open(Start::After(position)).await.expect("open");
    assert_eq!(tail.told().await, ["2 inserted -→Bea"]);
}
