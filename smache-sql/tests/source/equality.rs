//! A predicate finds the values that the server takes for equal, and a change of such a value affects it.

use std::{collections::BTreeSet, fmt::Debug, sync::Arc};

use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, TestRunner},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use smache_core::{EntityType, ErrorKind, Field, Filter, Image, Index, Snapshot};
use sqlx::AssertSqlSafe;

use crate::world::{Source, World};

#[derive(Debug, Serialize, Deserialize)]
struct Holder<V> {
    id: i64,
    value: V,
}

impl<V: Value> EntityType for Holder<V> {
    type Id = i64;
    const SOURCE: &'static str = "holders";

    fn id(&self) -> &i64 {
        &self.id
    }

    fn indexes() -> Vec<Index<Self>> {
        vec![Index::on(value())]
    }
}

trait Value: Debug + Clone + Serialize + DeserializeOwned + Send + Sync + 'static {}

impl<V: Debug + Clone + Serialize + DeserializeOwned + Send + Sync + 'static> Value for V {}

fn value<V: Value>() -> Field<Holder<V>, V> {
    Field::new("value", |holder| &holder.value)
}

fn ids<V: Value>(images: &[Image], filter: &Filter) -> BTreeSet<i64> {
    let affected = images.iter().filter(|image| filter.matches(image).expect("a holder"));
    affected.map(|image| image.get::<Holder<V>>().expect("a holder").id).collect()
}

impl World {
    /// The ids of the rows whose value the server itself takes for equal to an expression.
    async fn equal(&self, expression: &str) -> BTreeSet<i64> {
        let sql = format!("SELECT id FROM {} WHERE value = {expression}", self.table("holders"));
        let ids: Vec<i64> = match self {
            Self::Postgres { pool, .. } => sqlx::query_scalar(AssertSqlSafe(sql.clone())).fetch_all(pool).await,
            Self::Sqlite { pool, .. } => sqlx::query_scalar(AssertSqlSafe(sql.clone())).fetch_all(pool).await,
        }
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
        ids.into_iter().collect()
    }
}

/// Writes values, as expressions, into a column of a type; then looks for each of some values, paired with its
/// expression for the server.
async fn check<V: Value>(world: &World, column: &str, stored: &[String], wanted: &[(V, String)]) {
    let table = world.table("holders");
    world.try_run(&format!("DROP TABLE IF EXISTS {table}")).await.expect("a drop");
    world.run(&format!("CREATE TABLE {table} (id BIGINT PRIMARY KEY, value {column})")).await;
    let source: Source<Holder<V>> = world.source_of("holders");
    source.install().await.expect(column);
    let mut tail = source.tail().await;
    let rows: Vec<String> = stored.iter().enumerate().map(|(id, value)| format!("({id}, {value})")).collect();
    world.run(&format!("INSERT INTO {table} VALUES {}", rows.join(", "))).await;
    let told = tail.all().await;
    let told: Vec<Image> = told
        .into_iter()
        .map(|change| match change.after {
            Snapshot::Known(image) => image,
            other => panic!("{column}: {other:?} of {}", change.key),
        })
        .collect();
    assert_eq!(told.len(), stored.len(), "{column}");
    let source = source.plain();
    let comparisons = Arc::new(source.comparisons().await.expect(column));
    for (wanted, expression) in wanted {
        let filter = value::<V>().eq(wanted.clone()).into_filter().expect("it can be encoded");
        let filter = filter.compared_by(&comparisons).unwrap_or_else(|error| panic!("{column} {wanted:?}: {error}"));
        let equal = world.equal(expression).await;
        let shown = |ids: &BTreeSet<i64>| ids.iter().map(|id| stored[*id as usize].clone()).collect::<Vec<_>>();
        let found = ids::<V>(&source.find(&filter).await.expect(column), &filter);
        assert_eq!(shown(&found), shown(&equal), "{column}: find({wanted:?})");
        let affected = ids::<V>(&told, &filter);
        assert_eq!(shown(&affected), shown(&equal), "{column}: changes that affected {wanted:?}");
    }
}

fn samples<T: Debug>(strategy: impl Strategy<Value = T>, count: usize) -> Vec<T> {
    let mut runner = TestRunner::new(Config::default());
    (0..count).map(|_| strategy.new_tree(&mut runner).expect("a value").current()).collect()
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Texts that are read as values of a type of PostgreSQL.
async fn check_texts(world: &World, kind: &str, column: &str, texts: Vec<String>) {
    let stored: Vec<String> = texts.iter().map(|text| format!("{}::{kind}", quoted(text))).collect();
    let wanted: Vec<(String, String)> = texts.into_iter().zip(stored.clone()).collect();
    check(world, column, &stored, &wanted).await;
}

/// Floats with all of their digits, of a size of which SQLite reads and writes them exactly.
fn fractions() -> impl Strategy<Value = f64> {
    (any::<i32>(), 1..i32::MAX).prop_map(|(one, other)| f64::from(one) / f64::from(other))
}

/// Numbers in several spellings.
fn decimals() -> Vec<String> {
    let spelled = (any::<i32>(), 0_u32..7, 0_usize..4, any::<bool>()).prop_map(|(number, scale, zeros, plus)| {
        let number = i64::from(number) % 2_000;
        let digits = format!("{:07}", number.abs());
        let (whole, part) = digits.split_at(7 - scale as usize);
        let sign = if number < 0 {
            "-"
        } else if plus {
            "+"
        } else {
            ""
        };
        let point = if scale + zeros as u32 > 0 { "." } else { "" };
        format!("{sign}{whole}{point}{part}{}", "0".repeat(zeros))
    });
    let mut texts = samples(spelled, 60);
    let known =
        ["0.10", "0.1", "0", "-0", "0.00", "123456789012.123456789012", "123456789012.12346", "1e3", "1000", "12.50"];
    texts.extend(known.map(str::to_owned));
    texts
}

fn on_postgres(case: impl AsyncFnOnce(World)) {
    smache_testkit::run(async { case(World::postgres().await).await });
}

fn on_sqlite(case: impl AsyncFnOnce(World)) {
    smache_testkit::run(async { case(World::sqlite().await).await });
}

#[test]
fn decimals_of_postgres_are_compared_whatever_their_scale() {
    on_postgres(async |world| {
        let mut texts = decimals();
        check_texts(&world, "numeric", "numeric", texts.clone()).await;
        texts.extend(["NaN", "nan", "Infinity", "-Infinity"].map(str::to_owned));
        check_texts(&world, "numeric", "numeric", texts.clone()).await;
        texts.retain(|text| text.len() < 12);
        let rows: Vec<String> =
            texts.iter().filter(|text| !text.contains('n')).map(|text| format!("{text}::numeric")).collect();
        let floats: Vec<(f64, String)> =
            [0.1, 12.5, 0.0, -0.0, 1000.0].map(|float| (float, format!("{float}::numeric"))).to_vec();
        check::<f64>(
            &world,
            "numeric(12, 6)",
            &rows[..rows.len() - 1].iter().filter(|row| !row.contains("Inf")).cloned().collect::<Vec<_>>(),
            &floats,
        )
        .await;
    });
}

#[test]
fn integers_and_floats_of_postgres_are_compared_by_value() {
    on_postgres(async |world| {
        for (column, most) in [("int2", i64::from(i16::MAX)), ("int4", i64::from(i32::MAX)), ("int8", i64::MAX)] {
            let mut numbers = samples(-3_i64..3, 10);
            numbers.extend([most, -most, most - 1]);
            let stored: Vec<String> = numbers.iter().map(|number| format!("'{number}'::{column}")).collect();
            let wanted: Vec<(i64, String)> = numbers.into_iter().zip(stored.clone()).collect();
            check(&world, column, &stored, &wanted).await;
        }
        let mut floats = samples(fractions(), 20);
        floats.extend([0.1, 0.0, -0.0, 0.1 + 0.2, 0.3, 1.0]);
        for column in ["float8", "float4"] {
            let stored: Vec<String> = floats.iter().map(|float| format!("'{float}'::float8::{column}")).collect();
            let wanted = floats.iter().map(|float| (*float, format!("'{float}'::{column}")));
            check::<f64>(&world, column, &stored, &wanted.collect::<Vec<_>>()).await;
        }
    });
}

#[test]
fn texts_of_postgres_are_compared_as_their_type_is() {
    on_postgres(async |world| {
        let words = prop::sample::select(vec!["a", "A", "b", "ä", "a\u{308}", "", " "]);
        let mut texts = samples(prop::collection::vec(words, 0..4).prop_map(|words| words.concat()), 40);
        texts.extend(["a", "a ", "a  ", " a", ""].map(str::to_owned));
        for column in ["text", "varchar(20)", "text COLLATE \"C\""] {
            check_texts(&world, "text", column, texts.clone()).await;
        }
        check_texts(&world, "bpchar", "char(20)", texts).await;
        let uuids = [
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
            "{a0eebc99-9c0b4ef8-bb6d6bb9-bd380a11}",
            "a0eebc999c0b4ef8bb6d6bb9bd380a12",
        ];
        check_texts(&world, "uuid", "uuid", uuids.map(str::to_owned).to_vec()).await;
        let bytes = ["\\x", "\\xab", "\\xAB", "\\xabcd", "\\x00"];
        check_texts(&world, "bytea", "bytea", bytes.map(str::to_owned).to_vec()).await;
        let addresses = ["10.0.0.1", "10.0.0.1/32", "10.0.0.1/8", "::1", "0:0::1", "::ffff:10.0.0.1", "fe80::1/64"];
        check_texts(&world, "inet", "inet", addresses.map(str::to_owned).to_vec()).await;
        let networks = ["10.0.0.0/8", "10.0.0.0/16", "2001:db8::/32"];
        check_texts(&world, "cidr", "cidr", networks.map(str::to_owned).to_vec()).await;
        world.run("DROP TYPE IF EXISTS mood; CREATE TYPE mood AS ENUM ('glad', 'Glad')").await;
        check_texts(&world, "mood", "mood", vec!["glad".to_owned(), "Glad".to_owned()]).await;
        world.run("DROP TABLE IF EXISTS nothing; DROP DOMAIN IF EXISTS price CASCADE; CREATE DOMAIN price AS numeric CHECK (VALUE >= 0)").await;
        check_texts(&world, "numeric", "price", vec!["0.1".to_owned(), "0.10".to_owned(), "1".to_owned()]).await;
    });
}

#[test]
fn times_of_postgres_are_compared_as_their_type_is() {
    on_postgres(async |world| {
        let dates = ["2024-02-29", "2024-03-01", "0044-03-15 BC", "0044-03-15", "infinity", "-infinity", "12024-01-01"];
        check_texts(&world, "date", "date", dates.map(str::to_owned).to_vec()).await;
        let times = ["09:00", "09:00:00", "09:00:00.000", "09:00:00.5", "09:00:00.500000", "24:00:00", "00:00:00"];
        check_texts(&world, "time", "time", times.map(str::to_owned).to_vec()).await;
        let part = prop::sample::select(vec!["", ".5", ".50", ".000001", ".123456"]);
        let offset = prop::sample::select(vec!["Z", "+00", "+02:00", "-0930", "+00:00:00"]);
        let separator = prop::sample::select(vec!["T", " "]);
        let moments = (0_u32..4, 0_u32..24, separator, part, offset);
        let moments = samples(moments, 80);
        let without = |(day, hour, separator, part, _): &(u32, u32, &str, &str, &str)| {
            format!("2024-02-{:02}{separator}{hour:02}:30:00{part}", 27 + day.min(&2))
        };
        let mut plain: Vec<String> = moments.iter().map(without).collect();
        let mut zoned: Vec<String> = moments.iter().map(|moment| without(moment) + moment.4).collect();
        zoned.extend(["2024-05-31T09:00:00Z", "2024-05-31T11:00:00+02:00", "infinity"].map(str::to_owned));
        plain.extend(
            ["2024-05-31T24:00:00", "2024-06-01T00:00:00", "0044-03-15T00:00:00 BC", "-infinity"].map(str::to_owned),
        );
        check_texts(&world, "timestamp", "timestamp", plain).await;
        check_texts(&world, "timestamptz", "timestamptz", zoned).await;
    });
}

#[test]
fn booleans_lists_and_json_of_postgres_are_compared_as_they_are() {
    on_postgres(async |world| {
        let both = [(true, "true".to_owned()), (false, "false".to_owned())];
        check(&world, "boolean", &["true".to_owned(), "false".to_owned()], &both).await;
        let lists: Vec<(Vec<Option<i64>>, String)> = vec![
            (vec![], "'{}'::int8[]".to_owned()),
            (vec![Some(7)], "'{7}'::int8[]".to_owned()),
            (vec![Some(7), None], "'{7,NULL}'::int8[]".to_owned()),
            (vec![None, Some(7)], "'{NULL,7}'::int8[]".to_owned()),
        ];
        let stored: Vec<String> = lists.iter().map(|(_, stored)| stored.clone()).collect();
        check(&world, "int8[]", &stored, &lists).await;
        let documents = [
            "{}",
            "{\"a\": 1}",
            "{\"a\": 1.0}",
            "{\"b\": [1, 2.50], \"a\": null}",
            "{\"a\": null, \"b\": [1.0, 2.5]}",
            "[1]",
            "\"x\"",
            "1e2",
            "100",
            "null",
            "\"a\\\\u0000\"",
        ];
        let stored: Vec<String> = documents.iter().map(|document| format!("{}::jsonb", quoted(document))).collect();
        let wanted: Vec<(serde_json::Value, String)> = documents
            .iter()
            .zip(&stored)
            .map(|(document, stored)| (serde_json::from_str(document).expect("JSON"), stored.clone()))
            .collect();
        check(&world, "jsonb", &stored, &wanted).await;
    });
}

#[test]
fn a_json_column_with_a_zero_in_a_text_is_searched() {
    on_postgres(async |world| {
        let table = world.table("holders");
        world.run(&format!("CREATE TABLE {table} (id BIGINT PRIMARY KEY, value json)")).await;
        world.run(&format!(r#"INSERT INTO {table} VALUES (1, '"a\u0000b"'), (2, '{{"x": 1.0}}'), (3, '{{"x": 1}}'), (4, NULL), (5, '"a\\u0000b"')"#)).await;
        let source = world.source_of::<Holder<serde_json::Value>>("holders").plain();
        let comparisons = Arc::new(source.comparisons().await.expect("comparisons"));
        for (wanted, expected) in [
            (serde_json::json!("a\0b"), vec![1]),
            (serde_json::json!({ "x": 1 }), vec![2, 3]),
            (serde_json::json!(null), vec![4]),
            (serde_json::json!("a\\u0000b"), vec![5]),
            (serde_json::json!("none"), vec![]),
        ] {
            let filter = value::<serde_json::Value>()
                .eq(wanted.clone())
                .into_filter()
                .expect("a filter")
                .compared_by(&comparisons)
                .expect("a form");
            let found = source.find(&filter).await.expect("the query does not fail");
            assert_eq!(ids::<serde_json::Value>(&found, &filter).into_iter().collect::<Vec<_>>(), expected, "{wanted}");
        }
    });
}

#[test]
fn types_that_are_equal_in_several_ways_are_refused_where_they_are_declared() {
    on_postgres(async |world| {
        let World::Postgres { schema, .. } = &world else { return };
        world
            .run(&format!(
                "CREATE COLLATION \"{schema}\".loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"
            ))
            .await;
        let loose = format!("text COLLATE \"{schema}\".loose");
        let columns = [
            "interval",
            "timetz",
            "numeric[]",
            "timestamptz[]",
            "money",
            "int4range",
            "macaddr",
            "varbit",
            "tsvector",
            &loose,
        ];
        for column in columns {
            let table = world.table("holders");
            world.run(&format!("DROP TABLE IF EXISTS {table}")).await;
            world.run(&format!("CREATE TABLE {table} (id BIGINT PRIMARY KEY, value {column})")).await;
            let source = world.source_of::<Holder<String>>("holders");
            let error = source.install().await.expect_err(column);
            assert_eq!(error.kind(), ErrorKind::Config, "{column}: {}", error.report());
            for word in ["`value`", "`holders`", "cannot be compared", "use "] {
                assert!(error.to_string().contains(word), "{column}: {error}");
            }
            let filter = value::<String>().eq("1").into_filter().expect("a filter");
            let error = source.plain().find(&filter).await.expect_err(column);
            assert_eq!(error.kind(), ErrorKind::Config, "{column}: {}", error.report());
        }
    });
}

#[test]
fn columns_of_sqlite_are_compared_by_affinity_and_collation() {
    on_sqlite(async |world| {
        let mut numbers = decimals();
        numbers.retain(|text| text.len() < 16);
        // As a text, which the affinity makes a number, and as the number.
        let bound: Vec<(String, String)> = numbers.iter().map(|text| (text.clone(), quoted(text))).collect();
        let stored: Vec<String> = numbers.iter().map(|text| quoted(text)).collect();
        for column in ["DECIMAL(12, 2)", "NUMERIC"] {
            check(&world, column, &stored, &bound).await;
        }
        let mut floats = samples(fractions(), 20);
        floats.extend([0.1, 0.0, -0.0, 0.1 + 0.2, 9_007_199_254_740_992.0, 1e18, 5.0]);
        // With all digits, and a point.
        let written = |float: &f64| format!("{float:.17e}");
        let stored: Vec<String> = floats.iter().map(written).collect();
        let wanted: Vec<(f64, String)> = floats.iter().map(|float| (*float, written(float))).collect();
        for column in ["REAL", "DOUBLE", "NUMERIC", ""] {
            check(&world, column, &stored, &wanted).await;
        }
        let integers: Vec<i64> = vec![0, 1, -1, (1 << 53) + 1, 1 << 53, i64::MAX, i64::MIN + 1];
        let stored: Vec<String> = integers.iter().map(i64::to_string).collect();
        let wanted: Vec<(i64, String)> = integers.into_iter().zip(stored.clone()).collect();
        for column in ["INTEGER", "BIGINT", "NUMERIC", ""] {
            check(&world, column, &stored, &wanted).await;
        }
        let words = prop::sample::select(vec!["a", "A", "ä", "Ä", "", " ", "1", "1.0", "01"]);
        let texts = samples(prop::collection::vec(words, 0..3).prop_map(|words| words.concat()), 60);
        let stored: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
        let wanted: Vec<(String, String)> = texts.into_iter().zip(stored.clone()).collect();
        for column in ["TEXT", "TEXT COLLATE NOCASE", "VARCHAR(20) COLLATE RTRIM", "COLLATE NOCASE"] {
            check(&world, column, &stored, &wanted).await;
        }
        let blobs = ["", "00FF", "00ff", "AB"];
        let stored: Vec<String> = blobs.iter().map(|digits| format!("x'{digits}'")).collect();
        let wanted: Vec<(String, String)> =
            blobs.iter().map(|digits| (*digits).to_owned()).zip(stored.clone()).collect();
        check(&world, "BLOB", &stored, &wanted).await;
        let both = [(true, "1".to_owned()), (false, "0".to_owned())];
        check(&world, "BOOLEAN", &["1".to_owned(), "0".to_owned()], &both).await;
    });
}

#[test]
fn a_collation_that_is_not_of_sqlite_is_refused() {
    smache_testkit::run(async {
        let folder = tempfile::tempdir().expect("a folder");
        let options = sqlx::sqlite::SqliteConnectOptions::new()
            .filename(folder.path().join("case.db"))
            .create_if_missing(true)
            .collation("backwards", |one, other| other.cmp(one));
        let pool = sqlx::SqlitePool::connect_with(options).await.expect("a file");
        sqlx::query("CREATE TABLE holders (id INTEGER PRIMARY KEY, value TEXT COLLATE backwards)")
            .execute(&pool)
            .await
            .expect("a table");
        let source = smache_sql::SqliteSource::<Holder<String>>::new(&pool, "holders");
        let error = source.install().await.expect_err("what it takes for equal is not known");
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("`backwards`") && error.to_string().contains("`NOCASE`"), "{error}");
    });
}
