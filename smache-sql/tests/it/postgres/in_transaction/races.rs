//! Computations that read while a writer's transaction is open.

use super::{World, is, name_of, recomputed, rename, report, stored};
use crate::users::{end, reading};

#[tokio::test]
async fn results_are_stale_with_the_commit_and_untouched_by_a_rollback() {
    let world = World::new().await;
    let smache = world.start().await;
    for id in [1, 2] {
        assert!(smache.get(name_of(id)).await.expect("a value").is_fresh());
    }

    let mut tx = world.begin().await;
    rename(&mut tx, 1, "Bea").await;
    let _rolled_back = report(&smache, &mut tx, 1).await.expect("a report");
    // Others do not see it, and readers do not wait for it.
    assert_eq!(stored(&smache, 1).await, is("Ann", true));
    assert!(smache.get(name_of(1)).await.expect("a hit").is_fresh());
    tx.rollback().await.expect("rollback");
    assert_eq!(stored(&smache, 1).await, is("Ann", true));
    let stats = smache.inspect().stats().await.expect("numbers");
    assert_eq!((stats.store.revision, stats.store.stale, stats.jobs.recompute), (0, 0, 0));

    let mut tx = world.begin().await;
    rename(&mut tx, 1, "Bea").await;
    let uncommitted = report(&smache, &mut tx, 1).await.expect("a report");
    assert_eq!(stored(&smache, 1).await, is("Ann", true));
    tx.commit().await.expect("commit");
    assert_eq!(stored(&smache, 1).await, is("Ann", false));
    assert_eq!(stored(&smache, 2).await, is("Ann", true));
    let token = uncommitted.committed().await;
    assert_eq!(*smache.get(name_of(1).at_least(token)).await.expect("one's own write"), "Bea");
    assert_eq!(stored(&smache, 1).await, is("Bea", true));
}

#[tokio::test]
async fn run_that_read_before_a_commit_is_not_fresh_after_it() {
    let world = World::new().await;
    let smache = world.start().await;
    for stored_before in [false, true] {
        // It begins before the transaction reports, and ends while that is open.
        let run = reading(&world.gate, &smache, 1).await;
        let mut tx = world.begin().await;
        rename(&mut tx, 1, "Bea").await;
        let _token = report(&smache, &mut tx, 1).await.expect("a report");
        world.gate.open();
        world.until_waiting(1).await;
        assert_eq!(stored(&smache, 1).await.is_some(), stored_before, "it waits for the writer");
        tx.commit().await.expect("commit");
        assert_eq!(end(&world.gate, run).await, ("Ann".to_owned(), false));
        assert_eq!(stored(&smache, 1).await, is("Ann", false), "it is stored all the same");
        recomputed(&smache, 1, "Bea").await;

        // It begins while the transaction is open, and ends after it.
        let mut tx = world.begin().await;
        rename(&mut tx, 1, "Ann").await;
        let _token = report(&smache, &mut tx, 1).await.expect("a report");
        let run = reading(&world.gate, &smache, 1).await;
        tx.commit().await.expect("commit");
        assert_eq!(end(&world.gate, run).await, ("Bea".to_owned(), false));
        recomputed(&smache, 1, "Ann").await;
    }
}

#[tokio::test]
async fn run_that_read_before_a_rollback_is_fresh_after_it() {
    let world = World::new().await;
    let smache = world.start().await;
    let run = reading(&world.gate, &smache, 1).await;
    let mut tx = world.begin().await;
    rename(&mut tx, 1, "Bea").await;
    let _never = report(&smache, &mut tx, 1).await.expect("a report");
    world.gate.open();
    world.until_waiting(1).await;
    tx.rollback().await.expect("rollback");
    assert_eq!(end(&world.gate, run).await, ("Ann".to_owned(), true));
    assert_eq!(stored(&smache, 1).await, is("Ann", true));
}

/// The transaction is older than the entry and its edges: each statement of it sees what is there by then.
#[tokio::test]
async fn run_that_committed_just_before_the_report_is_marked_by_it() {
    let world = World::new().await;
    let smache = world.start().await;
    let mut tx = world.begin().await;
    rename(&mut tx, 1, "Bea").await;
    assert_eq!(*smache.get(name_of(1)).await.expect("a value"), "Ann");
    assert_eq!(stored(&smache, 1).await, is("Ann", true));
    let _token = report(&smache, &mut tx, 1).await.expect("a report");
    tx.commit().await.expect("commit");
    assert_eq!(stored(&smache, 1).await, is("Ann", false));
}

#[tokio::test]
async fn report_before_the_change_counts_all_the_same() {
    let world = World::new().await;
    let smache = world.start().await;
    let mut tx = world.begin().await;
    let _token = report(&smache, &mut tx, 1).await.expect("a report");
    let run = reading(&world.gate, &smache, 1).await;
    world.gate.open();
    world.until_waiting(1).await;
    rename(&mut tx, 1, "Bea").await;
    tx.commit().await.expect("commit");
    assert_eq!(end(&world.gate, run).await, ("Ann".to_owned(), false));
    recomputed(&smache, 1, "Bea").await;
}

#[tokio::test]
async fn run_that_began_after_the_commit_is_fresh() {
    let world = World::new().await;
    let smache = world.start().await;
    let mut tx = world.begin().await;
    rename(&mut tx, 1, "Bea").await;
    let _token = report(&smache, &mut tx, 1).await.expect("a report");
    tx.commit().await.expect("commit");
    let run = reading(&world.gate, &smache, 1).await;
    assert_eq!(end(&world.gate, run).await, ("Bea".to_owned(), true));
}

/// A row that comes or goes concerns what was computed without it, or with it.
#[tokio::test]
async fn rows_that_come_and_go_are_changes() {
    let world = World::new().await;
    let smache = world.start().await;
    assert_eq!(*smache.get(name_of(9)).await.expect("a value"), "nobody");
    for (statement, name) in
        [("INSERT INTO users VALUES (9, 'Ida')", "Ida"), ("DELETE FROM users WHERE id = 9", "nobody")]
    {
        let mut tx = world.begin().await;
        sqlx::query(statement).execute(&mut *tx).await.expect("a change");
        let _token = report(&smache, &mut tx, 9).await.expect("a report");
        tx.commit().await.expect("commit");
        assert!(!stored(&smache, 9).await.expect("an entry").1, "{statement}");
        recomputed(&smache, 9, name).await;
    }
}
