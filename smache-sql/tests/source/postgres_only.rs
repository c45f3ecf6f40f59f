//! Cases for PostgreSQL alone.

use serde::{Deserialize, Serialize};
use smache_core::{EntityKey, EntityType, ErrorKind, Field, Start};
use smache_sql::PostgresSource;
use sqlx::{AssertSqlSafe, postgres::PgPoolOptions};

use crate::world::{Person, Source, World, key};

fn case(case: impl AsyncFnOnce(World)) {
    smache_testkit::run(async { case(World::postgres().await).await });
}

#[test]
fn a_truncation_resets_the_source() {
    case(async |world| {
        world.run("INSERT INTO <people> (id, name) VALUES (1, 'Anna')").await;
        let mut tail = world.tail().await;
        world.run("TRUNCATE <people>").await;
        world.run("INSERT INTO <people> (id, name) VALUES (2, 'Bea')").await;
        assert_eq!(tail.told().await, ["people reset", "2 inserted -→Bea"]);
    });
}

#[test]
fn triggers_that_were_switched_off_are_noticed_even_when_they_are_on_again() {
    case(async |world| {
        let mut tail = world.tail().await;
        world.run("ALTER TABLE <people> DISABLE TRIGGER smache_row").await;
        let error = tail.stream.next().await.expect_err("a disabled trigger");
        assert_eq!(error.kind(), ErrorKind::Config);
        world.run("INSERT INTO <people> (id, name) VALUES (1, 'Anna')").await;
        world.run("ALTER TABLE <people> ENABLE ALWAYS TRIGGER smache_row").await;
        let source = world.source();
        let error = source.open(Start::Now).await.err().expect("a gap");
        assert!(error.to_string().contains("`people`") && error.to_string().contains("install"), "{error}");
        let position = tail.stream.position();
        source.install().await.expect("install");
        let mut tail = source.open(Start::After(position)).await.expect("open");
        assert_eq!(tail.told().await, ["people reset"]);
    });
}

#[test]
fn a_replica_of_logical_replication_records_what_it_applies() {
    case(async |world| {
        let mut tail = world.tail().await;
        world.run("SET session_replication_role = replica; INSERT INTO <people> (id, name) VALUES (1, 'Anna'); RESET session_replication_role").await;
        assert_eq!(tail.told().await, ["1 inserted -→Anna"]);
    });
}

#[test]
fn a_writer_needs_no_right_on_the_change_table() {
    case(async |world| {
        let mut tail = world.tail().await;
        let World::Postgres { schema, .. } = &world else { return };
        let role = format!("writer-{schema}");
        world.run(&format!("CREATE ROLE \"{role}\"; GRANT USAGE ON SCHEMA \"{schema}\" TO \"{role}\"")).await;
        world.run(&format!("GRANT INSERT ON <people> TO \"{role}\"")).await;
        world
            .run(&format!("SET ROLE \"{role}\"; INSERT INTO <people> (id, name) VALUES (1, 'Anna'); RESET ROLE"))
            .await;
        world.run(&format!("DROP OWNED BY \"{role}\"; DROP ROLE \"{role}\"")).await;
        assert_eq!(tail.told().await, ["1 inserted -→Anna"]);
    });
}

#[test]
fn a_reader_needs_only_the_right_to_read() {
    case(async |world| {
        world.source().install().await.expect("install");
        let World::Postgres { pool, schema } = &world else { return };
        let role = format!("reader-{schema}");
        world
            .run(&format!(
                "CREATE ROLE \"{role}\"; GRANT USAGE ON SCHEMA \"{schema}\" TO \"{role}\";
                 GRANT SELECT ON ALL TABLES IN SCHEMA \"{schema}\" TO \"{role}\""
            ))
            .await;
        let set_role = format!("SET ROLE \"{role}\"");
        let options = PgPoolOptions::new().max_connections(2).after_connect(move |connection, _| {
            let set_role = set_role.clone();
            Box::pin(async move { sqlx::raw_sql(AssertSqlSafe(set_role)).execute(connection).await.map(drop) })
        });
        let reading = options.connect_with((*pool.connect_options()).clone()).await.expect("a connection");
        let reader = World::Postgres { pool: reading.clone(), schema: schema.clone() };
        let mut tail = reader.source().tail().await;
        world.run("INSERT INTO <people> (id, name) VALUES (1, 'Anna')").await;
        assert_eq!(tail.told().await, ["1 inserted -→Anna"]);
        assert_eq!(reader.source().list().await.len(), 1);
        reader.source().install().await.expect("nothing to do");
        world.run("ALTER TABLE <people> DISABLE TRIGGER smache_row").await;
        let error = reader.source().install().await.expect_err("only to read");
        assert_eq!(error.kind(), ErrorKind::Permission, "{}", error.report());
        drop(tail);
        reading.close().await;
        world.run(&format!("DROP OWNED BY \"{role}\"; DROP ROLE \"{role}\"")).await;
    });
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Event {
    id: String,
    at: String,
    ratio: f64,
    amount: f64,
    open: bool,
    tags: Vec<String>,
    data: serde_json::Value,
}

impl EntityType for Event {
    type Id = String;
    const SOURCE: &'static str = "events";

    fn id(&self) -> &String {
        &self.id
    }
}

#[test]
fn values_of_all_types_are_read_alike_by_loads_and_by_the_feed() {
    const ID: &str = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
    case(async |world| {
        let table = world.table("events");
        world
            .run(&format!(
            "CREATE TABLE {table} (id uuid PRIMARY KEY, at timestamptz, ratio float8, amount numeric(10, 2), open bool,
             tags text[], data jsonb)"
        ))
            .await;
        let source = world.source_of::<Event>("events");
        source.install().await.expect("install");
        let mut tail = source.tail().await;
        // The settings of the writer are its own business.
        world
            .run(&format!(
                "SET timezone = 'Asia/Tokyo'; SET datestyle = 'German'; SET extra_float_digits = -10;
             INSERT INTO {table} VALUES ('{ID}', '2024-05-01 09:00+09', 0.1::float8 + 0.2, 12.50, true,
             '{{a,\"b c\"}}', '{{\"x\": [1, null]}}');
             RESET timezone; RESET datestyle; RESET extra_float_digits"
            ))
            .await;
        let changes = tail.all().await;
        let smache_core::Snapshot::Known(told) = &changes[0].after else { panic!("no image: {changes:?}") };
        let told = told.get::<Event>().expect("an event");
        let key = EntityKey::encode(ID).expect("a key");
        let loaded = source.plain().load(std::slice::from_ref(&key)).await.expect("load");
        let loaded = loaded[0].as_ref().expect("it is there").get::<Event>().expect("an event");
        assert_eq!((&told, &changes[0].key), (&loaded, &key));
        assert_eq!((loaded.ratio, loaded.amount, loaded.at.as_str()), (0.1 + 0.2, 12.5, "2024-05-01T00:00:00+00:00"));

        macro_rules! found {
            ($($field:ident = $value:expr),*) => {{
                let filter = None;
                $(let condition = Field::new(stringify!($field), |event: &Event| &event.$field).eq($value);
                let filter = Some(match filter { None => condition, Some(other) => condition & other });)*
                let filter = filter.expect("a condition").into_filter().expect("a filter");
                let found = source.plain().find(&filter).await.expect("find");
                found.iter().filter(|image| filter.matches(image).expect("of the type")).count()
            }};
        }
        assert_eq!(found!(id = ID), 1);
        assert_eq!(found!(id = "not a uuid"), 0);
        assert_eq!(found!(id = "with \0 in it"), 0);
        assert_eq!(found!(at = "2024-05-01T00:00:00+00:00"), 1);
        assert_eq!(found!(at = "never"), 0);
        assert_eq!(found!(ratio = 0.1 + 0.2), 1);
        assert_eq!(found!(amount = 12.5, open = true), 1);
        assert_eq!(found!(open = false), 0);
        assert_eq!(found!(tags = vec!["a".to_owned(), "b c".to_owned()]), 1);
        assert_eq!(found!(tags = vec!["b c".to_owned(), "a".to_owned()]), 0);
        assert_eq!(found!(data = serde_json::json!({ "x": [1, null] })), 1);

        // One id that no row can have does not hide the others.
        let keys = ["not a uuid", ID, "\0"].map(|id| EntityKey::encode(id).expect("a key"));
        let loaded = source.plain().load(&keys).await.expect("load");
        assert_eq!(loaded.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true, false]);
    });
}

#[test]
fn tables_that_do_not_tell_of_all_changes_are_refused() {
    case(async |world| {
        let World::Postgres { schema, .. } = &world else { return };
        world
            .run(&format!(
                "CREATE VIEW \"{schema}\".a_view AS SELECT * FROM <people>;
             CREATE UNLOGGED TABLE \"{schema}\".unlogged (id int PRIMARY KEY);
             CREATE TABLE \"{schema}\".parted (id int PRIMARY KEY) PARTITION BY RANGE (id)"
            ))
            .await;
        for table in ["a_view", "unlogged", "parted"] {
            let error = world.source_of::<Person>(table).install().await.expect_err(table);
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains(table) && error.to_string().contains("ordinary table"), "{error}");
        }
    });
}

#[test]
fn the_schema_public_and_the_names_of_feeds() {
    case(async |world| {
        let World::Postgres { pool, schema } = &world else { return };
        let database = pool.connect_options().get_database().expect("the URL has one").to_owned();
        let public = Source::Postgres(std::sync::Arc::new(PostgresSource::<Person>::new(pool, "people")));
        assert_eq!(public.feed().0.id().as_str(), format!("postgres:{database}"));
        assert_eq!(world.source().feed().0.id().as_str(), format!("postgres:{database}/{schema}"));
    });
}

#[test]
fn a_feed_goes_on_when_its_connections_are_cut() {
    case(async |world| {
        let mut tail = world.tail().await;
        let World::Postgres { pool, .. } = &world else { return };
        assert!(tail.told().await.is_empty());
        // The one that listens: it is not of the pool.
        let cut = "SELECT count(pg_terminate_backend(pid))::text FROM pg_stat_activity
                   WHERE query LIKE 'LISTEN%smache_changes%' AND datname = current_database() AND pid <> pg_backend_pid()
                   AND application_name = current_setting('application_name')";
        sqlx::query_scalar::<_, String>(cut).fetch_one(pool).await.expect("it is cut");
        world.run("INSERT INTO <people> (id, name) VALUES (1, 'Anna')").await;
        assert_eq!(tail.told().await, ["1 inserted -→Anna"]);
        assert_eq!(tail.stream.position(), {
            let position = tail.stream.position();
            let mut again = world.source().open(Start::After(position.clone())).await.expect("open");
            assert!(again.told().await.is_empty());
            position
        });
        assert!(world.source().plain().load(&[key(1)]).await.expect("load")[0].is_some());
    });
}
