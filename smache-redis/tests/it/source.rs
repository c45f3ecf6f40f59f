//! Tables of entities: the contract of a source, and the cases of Redis.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use smache_core::{
    DataSource, EntityKey, EntityType, ErrorKind, Field, Filter, Image, Position, Result, Snapshot, Start, Topic,
};
use smache_redis::{Redis, RedisSource};
use smache_testkit::{
    SourceHarness, SourceProbe, random_namespace,
    servers::{RedisServer, shared_redis_url},
};

use crate::{
    rights::{Of, User},
    support::{raw, source},
};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Note {
    pub(crate) number: u32,
    pub(crate) text: String,
}

impl EntityType for Note {
    type Id = u32;
    const SOURCE: &'static str = "notes";

    fn id(&self) -> &u32 {
        &self.number
    }
}

pub(crate) fn note(number: u32, text: &str) -> Note {
    Note { number, text: text.to_owned() }
}

#[derive(Debug)]
struct Notes(RedisSource<Note>);

#[async_trait]
impl SourceProbe for Notes {
    fn source(&self) -> Arc<dyn DataSource> {
        Arc::new(self.0.clone())
    }

    fn key(&self, number: u32) -> EntityKey {
        EntityKey::encode(&number).expect("a number is a key")
    }

    fn text(&self, image: &Image) -> Result<String> {
        Ok(image.get::<Note>()?.text.clone())
    }

    fn with_text(&self, text: &str) -> Filter {
        Field::<Note, String>::new("text", |note| &note.text).eq(text).into_filter().expect("a text can be compared")
    }

    async fn put(&self, number: u32, text: &str) -> Result<()> {
        self.0.put(&note(number, text)).await.map(drop)
    }

    async fn remove(&self, number: u32) -> Result<()> {
        self.0.remove(&number).await.map(drop)
    }

    async fn lost_position(&self) -> Position {
        let (feed, topic) = table(3).await.feed().expect("it has a feed");
        feed.open(&[topic], Start::Now).await.expect("open").position()
    }
}

/// A new table on the shared server.
async fn table(history: usize) -> RedisSource<Note> {
    let redis = Redis::connect(shared_redis_url()).await.expect("Redis");
    RedisSource::builder(&redis).table(random_namespace().to_string()).history(history).build().expect("a good name")
}

/// For a user with exactly the documented rights.
async fn harness() -> SourceHarness {
    let name = random_namespace().to_string();
    let user = User::documented(Of::Source, shared_redis_url(), &name).await;
    let redis = Redis::connect(&user.url).await.expect("Redis");
    let notes = RedisSource::builder(&redis).table(name).history(4_000).build().expect("a good name");
    SourceHarness::new(Arc::new(Notes(notes))).with_guard(user)
}

smache_testkit::source_suite!(harness);

#[tokio::test]
async fn an_entity_is_json_that_others_can_read() {
    let redis = Redis::connect(shared_redis_url()).await.expect("Redis");
    let name = random_namespace().to_string();
    let notes = RedisSource::<Note>::builder(&redis).table(&name).build().expect("a good name");
    assert_eq!(notes.put(&note(7, "one")).await.expect("put"), None);
    assert_eq!(notes.put(&note(7, "two")).await.expect("put"), Some(note(7, "one")));
    let mut raw = raw(&shared_redis_url()).await;
    let stored: String =
        redis::cmd("HGET").arg(format!("{{table:{name}}}:e")).arg("7").query_async(&mut raw).await.expect("HGET");
    assert_eq!(stored, r#"{"number":7,"text":"two"}"#);
    assert!(notes.update(&7, |note| note.text.push('!')).await.expect("update"));
    assert!(!notes.update(&8, |_| {}).await.expect("nothing to update"));
    assert_eq!(notes.get(&7).await.expect("get"), Some(note(7, "two!")));
    let moved = notes.update(&7, |note| note.number = 8).await.expect_err("another id");
    assert_eq!(moved.kind(), ErrorKind::Argument);
    assert_eq!(notes.remove(&7).await.expect("remove"), Some(note(7, "two!")));
    assert_eq!(notes.remove(&7).await.expect("remove"), None);
}

#[tokio::test]
async fn what_is_stored_like_that_already_is_no_change() {
    let notes = table(1_000).await;
    let (feed, topic) = notes.feed().expect("it has a feed");
    let mut stream = feed.open(&[topic], Start::Now).await.expect("open");
    stream.next().await.expect("the first look");
    assert_eq!(notes.put(&note(1, "one")).await.expect("put"), None);
    assert_eq!(stream.next().await.expect("a batch").changes.len(), 1);
    let position = stream.position();
    assert_eq!(notes.put(&note(1, "one")).await.expect("put"), Some(note(1, "one")));
    assert!(notes.update(&1, |_| {}).await.expect("update"), "there is one");
    assert_eq!(stream.next().await.expect("a batch").changes.len(), 0);
    assert_eq!(stream.position(), position, "no line was added");
    assert_eq!(notes.put(&note(1, "two")).await.expect("put"), Some(note(1, "one")));
    assert_eq!(notes.put(&note(2, "two")).await.expect("put"), None);
    assert_eq!(stream.next().await.expect("a batch").changes.len(), 2);
    assert_eq!(notes.get(&1).await.expect("get"), Some(note(1, "two")));
}

#[tokio::test]
async fn no_update_of_many_writers_is_lost() {
    let notes = table(1_000).await;
    notes.put(&note(1, "")).await.expect("put");
    let writers: Vec<_> = (0..4)
        .map(|_| {
            let notes = notes.clone();
            tokio::spawn(async move {
                for _ in 0..10 {
                    assert!(notes.update(&1, |note| note.text.push('x')).await.expect("update"));
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("a writer");
    }
    assert_eq!(notes.get(&1).await.expect("get").expect("there").text.len(), 40);
}

#[tokio::test]
async fn a_history_that_was_cut_is_lost_and_changed_fields_are_delivered() {
    let notes = table(5).await;
    let (feed, topic) = notes.feed().expect("it has a feed");
    let topics = [topic];
    let mut stream = feed.open(&topics, Start::Now).await.expect("open");
    let start = stream.position();
    for round in 0..5 {
        notes.put(&note(1, &round.to_string())).await.expect("put");
    }
    let mut changes = Vec::new();
    while changes.len() < 5 {
        changes.extend(stream.next().await.expect("the history has them all").changes);
    }
    assert!(matches!(changes[0].before, Snapshot::Absent));
    assert_eq!(changes[0].fields, None);
    assert_eq!(changes[1].fields, Some(vec!["text".to_owned()]));
    notes.put(&note(1, "6")).await.expect("put");
    notes.put(&note(1, "7")).await.expect("put");
    let lost = feed.open(&topics, Start::After(start)).await.expect_err("two lines are gone");
    assert_eq!(lost.kind(), ErrorKind::HistoryLost);
    assert!(lost.to_string().contains("`.history(n)`"), "{lost}");
    assert_eq!(stream.next().await.expect("a reader that keeps up loses nothing").changes.len(), 2);
}

#[tokio::test]
async fn a_source_of_another_kind_is_refused_with_the_fix() {
    let (feed, _) = table(5).await.feed().expect("it has a feed");
    let foreign = Topic::new(source("rows"), "rows").with_reader(Arc::new(7));
    let error = feed.open(&[foreign], Start::Now).await.expect_err("not of Redis");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("`rows`") && error.to_string().contains("a separate feed"), "{error}");
}

#[tokio::test]
async fn a_server_that_restarts_is_another_history() {
    let server = RedisServer::start().await;
    let redis = Redis::connect(server.url()).await.expect("Redis");
    let notes = RedisSource::<Note>::new(&redis);
    notes.put(&note(1, "one")).await.expect("put");
    let (feed, topic) = notes.feed().expect("it has a feed");
    let topics = [topic];
    let position = feed.open(&topics, Start::Now).await.expect("open").position();
    assert!(feed.open(&topics, Start::After(position.clone())).await.is_ok());
    server.kill().await;
    server.restart().await;
    let error = loop {
        match feed.open(&topics, Start::After(position.clone())).await {
            Ok(_) => panic!("the end of its history may be missing"),
            Err(error) if error.is_transient() => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::HistoryLost, "{error}");
}
