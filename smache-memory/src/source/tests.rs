//! The history of this source.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use smache_core::{ChangeKind, ChangeStream, DataSource, EntityType, ErrorKind, Position, Result, Snapshot, Start};

use super::MemorySource;

#[derive(Debug, Clone, PartialEq)]
struct User {
    id: u32,
    name: String,
}

impl EntityType for User {
    type Id = u32;
    const SOURCE: &'static str = "users";

    fn id(&self) -> &u32 {
        &self.id
    }
}

fn user(id: u32, name: &str) -> User {
    User { id, name: name.to_owned() }
}

async fn open(source: &MemorySource<User>, start: Start) -> Result<Box<dyn ChangeStream>> {
    let (feed, topic) = source.feed().expect("a feed");
    feed.open(&[topic], start).await
}

fn name(snapshot: &Snapshot) -> Option<String> {
    match snapshot {
        Snapshot::Known(image) => Some(image.get::<User>().expect("a user").name.clone()),
        Snapshot::Absent => None,
        Snapshot::Unknown => panic!("memory knows every image"),
    }
}

#[tokio::test]
async fn reader_that_falls_behind_the_history_is_told() {
    let source = MemorySource::with_history(3);
    let mut behind = open(&source, Start::Now).await.expect("open");
    let mut up_to_date = open(&source, Start::Now).await.expect("open");
    let mut positions: Vec<Position> = vec![behind.position()];
    for number in 0..5 {
        source.insert(user(number, "Anna")).expect("insert");
        positions.push(up_to_date.next().await.expect("a change").position);
    }
    assert_eq!(behind.next().await.expect_err("two changes are gone").kind(), ErrorKind::HistoryLost);
    for (passed, position) in positions.into_iter().enumerate() {
        match open(&source, Start::After(position)).await {
            Ok(mut stream) => {
                let changes = stream.next().await.expect("changes").changes;
                assert_eq!((passed >= 2, changes.len()), (true, 5 - passed), "after {passed}");
            }
            Err(error) => assert_eq!((passed < 2, error.kind()), (true, ErrorKind::HistoryLost), "after {passed}"),
        }
    }
}

#[tokio::test]
async fn position_of_another_table_is_lost_history() {
    let one = MemorySource::new();
    let two = MemorySource::new();
    for source in [&one, &two] {
        source.insert(user(1, "Anna")).expect("insert");
    }
    let position = open(&one, Start::Now).await.expect("open").position();
    assert!(open(&one.clone(), Start::After(position.clone())).await.is_ok());
    let error = open(&two, Start::After(position)).await.expect_err("a position of the other one");
    assert_eq!(error.kind(), ErrorKind::HistoryLost);
}

#[tokio::test]
async fn change_of_the_id_is_a_removal_and_an_insertion() {
    let source = MemorySource::new();
    source.insert(user(1, "Anna")).expect("insert");
    let mut stream = open(&source, Start::Now).await.expect("open");
    assert!(source.update(&1, |user| user.id = 2).expect("update"));
    assert!(!source.update(&1, |user| user.name.clear()).expect("update"), "nobody has that id any more");
    assert_eq!((source.get(&1).expect("get"), source.len()), (None, 1));
    let changes = stream.next().await.expect("the changes").changes;
    let told: Vec<_> = changes
        .iter()
        .map(|change| (change.key.to_string(), change.kind, name(&change.before), name(&change.after)))
        .collect();
    let anna = || Some("Anna".to_owned());
    let expected =
        [("1".to_owned(), ChangeKind::Delete, anna(), None), ("2".to_owned(), ChangeKind::Insert, None, anna())];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn long_history_comes_in_batches_that_say_when_they_are_behind() {
    let source = MemorySource::new();
    let mut stream = open(&source, Start::Now).await.expect("open");
    for number in 0..2_500 {
        source.insert(user(number, "Anna")).expect("insert");
    }
    let mut batches = Vec::new();
    for _ in 0..3 {
        let batch = stream.next().await.expect("changes");
        batches.push((batch.changes.len(), batch.as_of.is_some()));
    }
    assert_eq!(batches, [(1_000, false), (1_000, false), (500, true)]);
}

#[tokio::test(start_paused = true)]
async fn quiet_feed_answers_after_half_a_second() {
    let source = MemorySource::<User>::new();
    let mut stream = open(&source, Start::Now).await.expect("open");
    // The first answer comes at once, with the position of the feed.
    stream.next().await.expect("a first batch");
    let asked = tokio::time::Instant::now();
    let batch = stream.next().await.expect("an empty batch");
    assert!(batch.changes.is_empty() && batch.as_of.is_some());
    assert!(asked.elapsed() >= Duration::from_millis(500) && asked.elapsed() < Duration::from_millis(600));
}

#[test]
fn panic_inside_an_update_leaves_the_table_whole() {
    let source = MemorySource::new();
    source.insert(user(1, "Anna")).expect("insert");
    let update = || {
        source.update(&1, |user| {
            user.name.clear();
            panic!("a mistake of the application");
        })
    };
    assert!(catch_unwind(AssertUnwindSafe(update)).is_err());
    assert_eq!(source.get(&1).expect("get").as_deref(), Some(&user(1, "Anna")));
    assert_eq!(source.remove(&1).expect("remove").as_deref(), Some(&user(1, "Anna")));
    assert!(source.is_empty());
}

#[test]
fn source_without_a_feed_is_told_of_by_the_application() {
    let source = MemorySource::<User>::without_feed();
    assert!(source.feed().is_none() && source.clone().feed().is_none());
    assert_eq!(source.id().as_str(), "users");
}
