//! The register of programs.

use std::{sync::Arc, time::Duration};

use smache_core::{CacheStore, ProgramStep, Programs, Registration, Timestamp, Token};

use crate::{StoreHarness, steps::*};

fn token(number: u8) -> Token {
    Token::from_bytes([number; 16])
}

async fn register(store: &dyn CacheStore, number: u8, notes: &str, lease: Duration) -> Programs {
    let register = Some(Registration { id: token(number), notes: notes.to_owned().into(), lease });
    store.programs(ProgramStep { register, remove: Vec::new() }).await.expect("programs")
}

async fn remove(store: &dyn CacheStore, numbers: &[u8]) -> Programs {
    let remove = numbers.iter().map(|number| token(*number)).collect();
    store.programs(ProgramStep { register: None, remove }).await.expect("programs")
}

/// The programs with their notes, in the order of their ids.
fn listed(programs: &Programs) -> Vec<(Token, String)> {
    let text = |notes: &[u8]| String::from_utf8_lossy(notes).into_owned();
    let mut all: Vec<_> = programs.programs.iter().map(|program| (program.id, text(&program.notes))).collect();
    all.sort();
    all
}

fn until(programs: &Programs, number: u8) -> Timestamp {
    programs.programs.iter().find(|program| program.id == token(number)).expect("it is registered").until
}

/// A program stays in the register with its last notes until it is removed, and no other program replaces it.
pub async fn registered_programs_are_listed(harness: StoreHarness) {
    let store = &**harness.role();
    assert_eq!(listed(&remove(store, &[]).await), []);
    let large = "large notes ".repeat(10_000);
    assert!(!register(store, 1, "one", SHORT).await.known);
    let both = register(store, 2, &large, LONG).await;
    assert_eq!((both.known, listed(&both)), (false, vec![(token(1), "one".into()), (token(2), large.clone())]));
    harness.advance(PAUSE).await;
    let again = register(store, 2, "two", LONG).await;
    assert_eq!((again.known, listed(&again)), (true, vec![(token(1), "one".into()), (token(2), "two".into())]));
    assert!(until(&again, 1) <= again.now && until(&again, 2) > again.now, "one of them is alive");
    compute(store, id(1), "value", &[direct("a")]).await;
    assert!(is_fresh(store, id(1)).await, "beside everything else");
    let left = remove(store, &[1, 7]).await;
    assert_eq!((left.known, listed(&left)), (false, vec![(token(2), "two".into())]));
    assert!(!register(store, 1, "one again", LONG).await.known);
}

/// A shorter lease replaces a longer one: a program that ends shortens it.
pub async fn newest_lease_of_a_program_counts(harness: StoreHarness) {
    let store = &**harness.role();
    let long = register(store, 1, "one", LONG).await;
    assert!(until(&long, 1) > long.now.after(LONG / 2));
    let ended = register(store, 1, "one", Duration::ZERO).await;
    assert!(until(&ended, 1) <= ended.now, "it has ended");
    let back = register(store, 1, "one", LONG).await;
    assert!(until(&back, 1) > back.now);
    register(store, 1, "one", SHORT).await;
    harness.advance(PAUSE).await;
    let lapsed = remove(store, &[]).await;
    assert!(until(&lapsed, 1) <= lapsed.now);
}

/// A process that removes ended programs may not know yet that one is back.
pub async fn living_program_is_not_removed(harness: StoreHarness) {
    let store = &**harness.role();
    register(store, 1, "one", LONG).await;
    register(store, 2, "two", SHORT).await;
    register(store, 3, "three", SHORT).await;
    harness.advance(PAUSE).await;
    register(store, 3, "three", LONG).await;
    let left = remove(store, &[1, 2, 3, 4]).await;
    assert_eq!(listed(&left), [(token(1), "one".into()), (token(3), "three".into())]);
    let ended = ProgramStep {
        register: Some(Registration { id: token(1), notes: "over".into(), lease: Duration::ZERO }),
        remove: vec![token(1)],
    };
    let left = store.programs(ended).await.expect("programs");
    assert_eq!((left.known, listed(&left)), (true, vec![(token(3), "three".into())]));
}

/// Programs start at the same time after a deploy.
pub async fn programs_that_register_at_once_are_all_there(harness: StoreHarness) {
    for _ in 0..3 {
        all((1..=16).map(|number| {
            let store = Arc::clone(harness.role());
            async move { register(&*store, number, "program", LONG).await }
        }))
        .await;
        assert_eq!(listed(&remove(&**harness.role(), &[]).await).len(), 16);
    }
}
