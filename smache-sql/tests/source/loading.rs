//! Loading, listing and finding in SQLite, where columns have no types.

use serde::{Deserialize, Serialize};
use smache_core::{EntityKey, EntityType, Field, Snapshot};

use crate::world::World;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Thing {
    id: String,
    open: Option<bool>,
    ratio: f64,
    data: Option<serde_json::Value>,
    bytes: Option<String>,
    any: serde_json::Value,
}

impl EntityType for Thing {
    type Id = String;
    const SOURCE: &'static str = "things";

    fn id(&self) -> &String {
        &self.id
    }
}

#[test]
fn values_are_read_as_the_columns_are_declared() {
    smache_testkit::run(async {
        let world = World::sqlite().await;
        world
            .run("CREATE TABLE things (id BLOB PRIMARY KEY, open BOOLEAN, ratio REAL, data JSON, bytes BLOB, any)")
            .await;
        let source = world.source_of::<Thing>("things");
        source.install().await.expect("install");
        let mut tail = source.tail().await;
        let id = "A0EEBC999C0B4EF8BB6D6BB9BD380A11";
        let row = format!("(x'{id}', 1, 0.1 + 0.2, '{{\"x\": [1, null]}}', x'00ff', 9007199254740993)");
        world.run(&format!("INSERT INTO things VALUES {row}")).await;
        world.run("INSERT INTO things VALUES (x'01', NULL, 5, NULL, NULL, 'x')").await;
        let changes = tail.all().await;
        let Snapshot::Known(told) = &changes[0].after else { panic!("no image: {changes:?}") };
        let key = EntityKey::encode(id).expect("a key");
        let dashes = EntityKey::encode("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11").expect("a key");
        let loaded = source.plain().load(&[dashes, key]).await.expect("load");
        assert!(loaded[0].is_none(), "this text is another id");
        let loaded = loaded[1].as_ref().expect("it is there").get::<Thing>().expect("a thing");
        assert_eq!(told.get::<Thing>().expect("a thing"), loaded);
        let expected = Thing {
            id: id.to_owned(),
            open: Some(true),
            ratio: 0.1 + 0.2,
            data: Some(serde_json::json!({ "x": [1, null] })),
            bytes: Some("00FF".to_owned()),
            any: 9_007_199_254_740_993_i64.into(),
        };
        assert_eq!(*loaded, expected);

        macro_rules! found {
            ($field:ident = $value:expr) => {{
                let filter = Field::new(stringify!($field), |thing: &Thing| &thing.$field).eq($value);
                let filter = filter.into_filter().expect("a filter");
                let found = source.plain().find(&filter).await.expect("find");
                found.iter().filter(|image| filter.matches(image).expect("of the type")).count()
            }};
        }
        assert_eq!(found!(open = Some(true)), 1);
        assert_eq!(found!(open = None), 1);
        assert_eq!(found!(open = Some(false)), 0);
        assert_eq!(found!(ratio = 0.1 + 0.2), 1);
        assert_eq!(found!(data = Some(serde_json::json!({ "x": [1, null] }))), 1);
        assert_eq!(found!(bytes = Some("00FF".to_owned())), 1);
        assert_eq!(found!(any = serde_json::json!(9_007_199_254_740_993_i64)), 1);
        assert_eq!(found!(any = serde_json::json!("x")), 1);
    });
}

#[test]
fn a_table_may_have_many_columns() {
    smache_testkit::run(async {
        let world = World::sqlite().await;
        let columns: Vec<String> = (0..300).map(|column| format!("c{column} TEXT DEFAULT 'x'")).collect();
        world.run(&format!("CREATE TABLE wide (id INTEGER PRIMARY KEY, name TEXT, {})", columns.join(", "))).await;
        let source = world.source_of::<crate::world::Person>("wide");
        source.install().await.expect("install");
        let mut tail = source.tail().await;
        world.run("INSERT INTO wide (id, name) VALUES (1, 'Anna')").await;
        world.run("UPDATE wide SET c299 = 'y'").await;
        assert_eq!(tail.told().await, ["1 inserted -→Anna", "1 updated Anna→Anna [c299]"]);
        assert_eq!(source.list().await.len(), 1);
    });
}
