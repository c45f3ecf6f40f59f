//! Dropped collections and databases.

use mongodb::bson::doc;

use crate::world::{Tail, World, told};

async fn rename(world: &World, from: &str, to: &str, replace: bool) {
    let name = |collection: &str| format!("{}.{collection}", world.db.name());
    let command = doc! { "renameCollection": name(from), "to": name(to), "dropTarget": replace };
    world.client.database("admin").run_command(command).await.expect("a rename");
}

/// The stream still delivers changes.
async fn goes_on(world: &World, tail: &mut Tail, id: i64) {
    world.insert(id, "later").await;
    assert_eq!(told(&tail.all().await), [format!("people {id} inserted -→later")]);
}

#[tokio::test]
async fn a_dropped_collection_resets_its_source() {
    let world = World::shared().await;
    world.insert(1, "Anna").await;
    let mut tail = world.tail().await;
    world.users.drop().await.expect("a drop");
    assert_eq!(told(&tail.all().await), ["people reset"]);
    goes_on(&world, &mut tail, 2).await;
}

#[tokio::test]
async fn a_collection_that_is_renamed_away_resets_its_source() {
    let world = World::shared().await;
    world.insert(1, "Anna").await;
    let mut tail = world.tail().await;
    rename(&world, "users", "archive", false).await;
    assert_eq!(told(&tail.all().await), ["people reset"]);
    goes_on(&world, &mut tail, 2).await;
}

#[tokio::test]
async fn a_collection_that_takes_the_name_of_a_source_resets_it() {
    let world = World::shared().await;
    let mut tail = world.tail().await;
    for replaces in [false, true] {
        world.documents("imported").insert_one(doc! { "_id": 1_i64, "name": "Bea" }).await.expect("an insert");
        rename(&world, "imported", "users", replaces).await;
        let told = told(&tail.all().await);
        assert!(!told.is_empty() && told.iter().all(|line| line == "people reset"), "{told:?}");
    }
    goes_on(&world, &mut tail, 2).await;
}

#[tokio::test]
async fn a_dropped_database_resets_all_sources_and_the_stream_begins_again() {
    let world = World::shared().await;
    world.insert(1, "Anna").await;
    let mut tail = world.tail().await;
    world.db.drop().await.expect("a drop");
    let lines = told(&tail.all().await);
    for source in ["people reset", "grades reset"] {
        assert!(lines.iter().any(|line| line == source), "{lines:?}");
    }
    assert!(lines.iter().all(|line| line.ends_with(" reset")), "{lines:?}");
    goes_on(&world, &mut tail, 2).await;
}

#[tokio::test]
async fn every_position_around_the_end_of_a_database_is_one_to_go_on_from() {
    let world = World::shared().await;
    world.insert(1, "Anna").await;
    let mut tail = world.tail().await;
    let mut positions = vec![tail.position()];
    world.db.drop().await.expect("a drop");
    while !told(&tail.next().await.changes).iter().any(|line| line == "grades reset") {
        positions.push(tail.position());
    }
    positions.push(tail.position());
    world.insert(2, "later").await;
    for position in positions {
        let lines = told(&world.tail_after(position).await.all().await);
        assert_eq!(lines.last().map(String::as_str), Some("people 2 inserted -→later"), "{lines:?}");
    }
}
