//! Loading.

use std::sync::Arc;

use smache_core::{Capability, EntityKey, ErrorKind};

use super::{put, remove, text};
use crate::{SourceHarness, SourceProbe};

/// One element per key, in order, and none where there is no entity.
pub async fn load_answers_in_order(harness: SourceHarness) {
    let probe = &**harness.role();
    for number in 0..3 {
        put(probe, number, &format!("entity {number}")).await;
    }
    let keys: Vec<EntityKey> = [2, 9, 0, 2, 8, 1].into_iter().map(|number| probe.key(number)).collect();
    let loaded = probe.source().load(&keys).await.expect("load");
    let texts: Vec<_> =
        loaded.iter().map(|image| image.as_ref().map(|image| probe.text(image).expect("a text"))).collect();
    let entity = |number| Some(format!("entity {number}"));
    assert_eq!(texts, [entity(2), None, entity(0), entity(2), None, entity(1)]);
    assert!(probe.source().load(&[]).await.expect("load of nothing").is_empty());
}

/// Beyond the contract: a load that starts after a write was acknowledged sees it.
pub async fn load_sees_acknowledged_changes(harness: SourceHarness) {
    let probe = &**harness.role();
    for round in 0..20 {
        put(probe, 1, &round.to_string()).await;
        assert_eq!(text(probe, 1).await, Some(round.to_string()));
    }
    remove(probe, 1).await;
    assert_eq!(text(probe, 1).await, None);
    put(probe, 1, "again").await;
    assert_eq!(text(probe, 1).await.as_deref(), Some("again"));
}

/// A list has every entity once, where the source declares that it lists, and is refused elsewhere.
pub async fn list_has_every_entity(harness: SourceHarness) {
    let probe = &**harness.role();
    for number in 0..30 {
        put(probe, number, &format!("entity {number:02}")).await;
    }
    remove(probe, 7).await;
    let declared = declares(probe, Capability::List);
    match probe.source().list().await {
        Ok(images) => {
            assert!(declared, "a source that lists declares it");
            let mut texts: Vec<String> = images.iter().map(|image| probe.text(image).expect("a text")).collect();
            texts.sort();
            let expected: Vec<String> =
                (0..30).filter(|number| *number != 7).map(|number| format!("entity {number:02}")).collect();
            assert_eq!(texts, expected);
        }
        Err(error) => assert_eq!((error.kind(), declared), (ErrorKind::Unsupported, false), "{}", error.report()),
    }
}

fn declares(probe: &dyn SourceProbe, capability: Capability) -> bool {
    probe.source().capabilities().contains(&capability)
}

/// How many entities with a text the source finds, among others that it may answer too; `None` where it cannot find.
async fn found(probe: &dyn SourceProbe, text: &str) -> Option<usize> {
    let comparisons = Arc::new(probe.source().comparisons().await.expect("it says how it compares"));
    let filter = probe.with_text(text).compared_by(&comparisons).expect("a text can be compared");
    let declared = declares(probe, Capability::Find);
    match probe.source().find(&filter).await {
        Ok(images) => {
            assert!(declared, "a source that finds declares it");
            let texts = images.iter().map(|image| {
                let matches = filter.matches(image).expect("the type is right");
                let read = probe.text(image).expect("a text");
                assert_eq!(matches, read == text, "the filter and the text agree");
                usize::from(matches)
            });
            Some(texts.sum())
        }
        Err(error) => {
            assert_eq!((error.kind(), declared), (ErrorKind::Unsupported, false), "{}", error.report());
            None
        }
    }
}

/// Every entity that fulfils a filter is found, whatever is in its text; a source that does not declare it refuses.
pub async fn find_answers_what_matches(harness: SourceHarness) {
    let probe = &**harness.role();
    let hostile = "$gt: \"'; DROP TABLE x; --\0ä";
    let texts = ["one", "two", "One", "", "one ", hostile];
    for (number, text) in (0..60).zip(texts.iter().cycle()) {
        put(probe, number, text).await;
    }
    for text in texts {
        assert!(matches!(found(probe, text).await, Some(10) | None), "{text:?}");
    }
    assert!(matches!(found(probe, "three").await, Some(0) | None));
}

/// A find that starts after a write was acknowledged sees it.
pub async fn find_sees_acknowledged_changes(harness: SourceHarness) {
    let probe = &**harness.role();
    for round in 0..10 {
        put(probe, 1, &round.to_string()).await;
        assert!(matches!(found(probe, &round.to_string()).await, Some(1) | None));
    }
    assert!(matches!(found(probe, "0").await, Some(0) | None));
    remove(probe, 1).await;
    assert!(matches!(found(probe, "9").await, Some(0) | None));
}

/// Beyond the contract: many keys are loaded at once, and a key is read as the id that it was made of.
pub async fn many_entities_are_loaded(harness: SourceHarness) {
    const MANY: u32 = 300;
    let probe = &**harness.role();
    for number in 0..MANY {
        put(probe, number, &number.to_string()).await;
    }
    let keys: Vec<EntityKey> = (0..MANY).rev().map(|number| probe.key(number)).collect();
    let loaded = probe.source().load(&keys).await.expect("load");
    for (number, image) in (0..MANY).rev().zip(loaded) {
        let text = image.map(|image| probe.text(&image).expect("a text"));
        assert_eq!(text, Some(number.to_string()));
    }
}
