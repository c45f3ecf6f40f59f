use mongodb::bson::rawdoc;

use super::*;

fn identity(set: u8, collections: &[(&str, u8)]) -> Identity {
    let collections = collections.iter().map(|(name, id)| ((*name).to_owned(), [*id; 16])).collect();
    Identity { set: Some(ObjectId::from_bytes([set; 12])), collections }
}

fn compared(then: &Identity, now: &Identity) -> Same {
    then.compared_with(now, |name| name != "others")
}

#[test]
fn another_set_is_another_history_whatever_is_in_it() {
    let then = identity(1, &[("users", 1)]);
    assert_eq!(compared(&then, &then), Same::Yes);
    assert_eq!(compared(&then, &identity(2, &[("users", 1)])), Same::No);
    assert_eq!(
        compared(&then, &identity(1, &[("users", 2)])),
        Same::Yes,
        "it was dropped and made again, and that is told"
    );
}

#[test]
fn where_the_set_is_not_told_its_collections_are_compared() {
    let not_told = |collections: &[(&str, u8)]| Identity { set: None, ..identity(1, collections) };
    let then = not_told(&[("users", 1), ("others", 1)]);
    for told in [then.clone(), identity(1, &[("users", 1), ("others", 1)])] {
        assert_eq!((compared(&told, &then), compared(&then, &told)), (Same::Yes, Same::Yes));
    }
    assert_eq!(compared(&then, &not_told(&[("users", 2), ("others", 1)])), Same::Unknown);
    assert_eq!(compared(&then, &not_told(&[("others", 1)])), Same::Unknown);
    assert_eq!(compared(&then, &not_told(&[("users", 1), ("others", 2)])), Same::Yes, "it is not watched any more");
    assert_eq!(
        compared(&then, &not_told(&[("users", 1), ("others", 1), ("grades", 1)])),
        Same::Yes,
        "it was made since"
    );
}

#[test]
fn answers_of_the_server_are_read() {
    let set = ObjectId::from_bytes([3; 12]);
    assert_eq!(set_in(&doc! { "config": { "settings": { "replicaSetId": set } } }), Some(set));
    assert_eq!(set_in(&doc! { "config": {} }), None);
    let batch =
        vec![doc! { "name": "users", "info": { "uuid": binary([7; 16]) } }, doc! { "name": "a view", "info": {} }];
    let found = collections_in(&doc! { "cursor": { "firstBatch": batch } });
    assert_eq!(found, BTreeMap::from([("users".to_owned(), [7; 16])]));
}

#[test]
fn what_is_saved_is_what_it_was() {
    let mut origin = Origin::of(&identity(1, &[("users", 1), ("a.b", 2)]));
    assert_eq!(Origin::from_document(&origin.to_document()), Some(origin.clone()));
    origin.set_last(LastChange::new(Timestamp { time: 7, increment: 1 }, "users", &rawdoc! { "_id": 1 }));
    assert_eq!(Origin::from_document(&origin.to_document()), Some(origin));
    assert_eq!(Origin::from_document(&doc! {}), None);
}

#[test]
fn a_position_has_room_for_some_of_very_many_collections() {
    let names: Vec<String> = (0..1_000).map(|number| format!("collection {number}")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), 1)).collect();
    let origin = Origin::of(&identity(1, &many));
    let size = mongodb::bson::to_vec(&origin.to_document()).expect("a document").len();
    assert!((1_000..6_000).contains(&size), "{size}");
}
