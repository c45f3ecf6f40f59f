//! Unreadable parts of a namespace's document: they confirm nothing, and maintenance rewrites them.

use mongodb::bson::{Bson, doc};
use smache_core::{Epoch, Result, support::log_damaged_state};

use crate::{
    expression::now,
    keys::{Keys, STATE},
    link::Link,
    namespace::{Change, Sweep, change},
};

/// How much of a namespace's document cannot be read. The unreadable part confirms nothing, and maintenance rewrites
/// it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Damage {
    None,
    /// Some sources, positions or leaders.
    Parts,
    /// The revision: no earlier revision compares with the new one.
    Revision,
}

/// Rewrites the unreadable parts of a namespace. They start a new epoch.
pub(crate) async fn heal(link: &Link, keys: &Keys, damage: Damage) -> Result<()> {
    const STEP: &str = "maintain";
    log_damaged_state(format_args!("{STATE}, namespace {}", keys.name), format_args!("{damage:?}"));
    let number = |field: &str, otherwise: Bson| -> Bson {
        doc! { "$cond": [{ "$in": [{ "$type": field }, ["int", "long"]] }, field, otherwise] }.into()
    };
    // In microseconds, as a new namespace starts.
    let at_the_time = Bson::from(doc! { "$multiply": [now(), 1_000_i64] });
    let list = |field: &str| doc! { "$cond": [{ "$isArray": field }, field, []] };
    let whole = vec![
        doc! { "$set": {
            "revision": number("$revision", at_the_time),
            "rev": number("$rev", 0_i64.into()),
            "sources": list("$sources"), "positions": list("$positions"), "feeds": list("$feeds"),
        } },
        doc! { "$set": { "low_watermark": number("$low_watermark", "$revision".into()) } },
    ];
    let filter = doc! { "_id": keys.namespace() };
    link.run(STEP, async { link.state.update_one(filter, whole).await }).await?;
    change(link, keys, STEP, |namespace| {
        if damage == Damage::Revision {
            namespace.epoch = Epoch::random();
        }
        namespace.sweep = Sweep::start();
        Ok(Change::Write { ticks: false, answer: () })
    })
    .await
    .map(drop)
}
