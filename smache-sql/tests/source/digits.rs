//! Decimals arrive with all of their digits.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use smache_core::EntityType;

use crate::world::World;

#[derive(Debug, Serialize, Deserialize)]
struct Holder<V> {
    id: i64,
    value: V,
}

impl<V: DeserializeOwned + Send + Sync + 'static> EntityType for Holder<V> {
    type Id = i64;
    const SOURCE: &'static str = "holders";

    fn id(&self) -> &i64 {
        &self.id
    }
}

/// A decimal type: it takes whatever the format has, and keeps digits only of text.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Decimal(String);

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Digits;
        impl serde::de::Visitor<'_> for Digits {
            type Value = Decimal;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a decimal")
            }

            fn visit_str<E>(self, text: &str) -> Result<Decimal, E> {
                Ok(Decimal(text.to_owned()))
            }

            fn visit_f64<E>(self, float: f64) -> Result<Decimal, E> {
                Ok(Decimal(format!("rounded to {float}")))
            }
        }
        deserializer.deserialize_any(Digits)
    }
}

#[test]
fn decimals_arrive_with_all_of_their_digits() {
    smache_testkit::run(async {
        let world = World::postgres().await;
        let digits = "123456789012.123456789012";
        let table = world.table("holders");
        world.run(&format!("CREATE TABLE {table} (id BIGINT PRIMARY KEY, value numeric)")).await;
        world.run(&format!("INSERT INTO {table} VALUES (1, {digits})")).await;
        let decimals = world.source_of::<Holder<Option<Decimal>>>("holders").list().await;
        assert_eq!(decimals[0].value, Some(Decimal(digits.to_owned())));
        assert_eq!(world.source_of::<Holder<String>>("holders").list().await[0].value, digits);
        assert_eq!(world.source_of::<Holder<f64>>("holders").list().await[0].value, 123_456_789_012.123_46);
    });
    smache_testkit::run(async {
        let world = World::sqlite().await;
        world.run("CREATE TABLE holders (id BIGINT PRIMARY KEY, value DECIMAL(12, 2))").await;
        world.run("INSERT INTO holders VALUES (1, 0.10), (2, '12.5'), (3, 7)").await;
        let decimals = world.source_of::<Holder<Decimal>>("holders").list().await;
        let decimals: Vec<&str> = decimals.iter().map(|holder| holder.value.0.as_str()).collect();
        assert_eq!(decimals, ["0.1", "12.5", "7"]);
        let floats = world.source_of::<Holder<f64>>("holders").list().await;
        assert_eq!(floats.iter().map(|holder| holder.value).collect::<Vec<_>>(), [0.1, 12.5, 7.0]);
    });
}
