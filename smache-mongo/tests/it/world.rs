//! Entities, a database for each test, and an open feed.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use mongodb::{
    Client, Collection, Database,
    bson::{Document, doc, oid::ObjectId},
};
use serde::{Deserialize, Serialize};
use smache_core::{
    Batch, Change, ChangeKind, ChangeStream, DataSource, EntityKey, EntityType, Position, Result, Snapshot, Start,
    Token, Topic,
};
use smache_mongo::MongoSource;
use smache_testkit::servers::shared_mongo_uri;

/// The bound of a wait for something that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct User {
    #[serde(rename = "_id")]
    pub(crate) id: i64,
    pub(crate) name: String,
}

impl EntityType for User {
    type Id = i64;
    const SOURCE: &'static str = "people";

    fn id(&self) -> &i64 {
        &self.id
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Grade {
    #[serde(rename = "_id")]
    pub(crate) id: ObjectId,
    pub(crate) points: i32,
}

impl EntityType for Grade {
    type Id = ObjectId;
    const SOURCE: &'static str = "grades";

    fn id(&self) -> &ObjectId {
        &self.id
    }
}

/// A database that no other test uses.
pub(crate) struct World {
    _cleanup: Option<Cleanup>,
    pub(crate) client: Client,
    pub(crate) db: Database,
    pub(crate) users: Collection<User>,
    pub(crate) grades: Collection<Grade>,
}

impl World {
    /// On the server that the tests share.
    pub(crate) async fn shared() -> Self {
        let mut world = Self::at(&shared_mongo_uri()).await;
        world._cleanup = Some(Cleanup { database: world.db.name().to_owned() });
        world
    }

    /// On a server of this test alone.
    pub(crate) async fn at(uri: &str) -> Self {
        Self::in_database(uri, &format!("case-{}", Token::random())).await
    }

    /// In a database of a server of this test alone.
    pub(crate) async fn in_database(uri: &str, name: &str) -> Self {
        let client = Client::with_uri_str(uri).await.expect("a client");
        let db = client.database(name);
        Self { _cleanup: None, users: db.collection("users"), grades: db.collection("grades"), client, db }
    }

    /// Makes the collection of the users keep the images of its documents before and after changes.
    pub(crate) async fn keep_images(&self) {
        let images = mongodb::options::ChangeStreamPreAndPostImages::builder().enabled(true).build();
        self.db.create_collection("users").change_stream_pre_and_post_images(images).await.expect("a collection");
    }

    /// A collection by any name, for documents that are not entities.
    pub(crate) fn documents(&self, name: &str) -> Collection<Document> {
        self.db.collection(name)
    }

    pub(crate) fn source(&self) -> MongoSource<User> {
        MongoSource::new(&self.users)
    }

    /// The feed of users and grades.
    pub(crate) async fn open(&self, start: Start) -> Result<Tail> {
        let (feed, users) = self.source().feed().expect("a feed");
        let (_, grades) = MongoSource::<Grade>::new(&self.grades).feed().expect("a feed");
        Ok(Tail { stream: feed.open(&[users, grades], start).await?, last: None })
    }

    pub(crate) async fn tail(&self) -> Tail {
        self.open(Start::Now).await.expect("an open feed")
    }

    pub(crate) async fn tail_after(&self, position: Position) -> Tail {
        self.open(Start::After(position)).await.expect("an open feed")
    }

    pub(crate) async fn insert(&self, id: i64, name: &str) {
        self.users.insert_one(User { id, name: name.to_owned() }).await.expect("an insert");
    }

    pub(crate) async fn rename(&self, id: i64, name: &str) {
        self.users.update_one(doc! { "_id": id }, doc! { "$set": { "name": name } }).await.expect("an update");
    }
}

/// Drops a database of the shared server, after a failed test too.
struct Cleanup {
    database: String,
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        let database = std::mem::take(&mut self.database);
        let dropping = async move {
            let uri = shared_mongo_uri();
            Client::with_uri_str(uri).await?.database(&database).drop().await
        };
        // The test's runtime is busy with this drop.
        let dropped = std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(dropping).expect("the database is dropped");
        });
        assert!(dropped.join().is_ok() || std::thread::panicking());
    }
}

/// The topic of users alone.
pub(crate) fn topic(source: &dyn DataSource) -> Topic {
    source.feed().expect("a feed").1
}

/// An open feed.
#[derive(Debug)]
pub(crate) struct Tail {
    pub(crate) stream: Box<dyn ChangeStream>,
    /// As of when the feed was complete.
    pub(crate) last: Option<Instant>,
}

impl Tail {
    pub(crate) async fn next(&mut self) -> Batch {
        let batch = self.stream.next().await.expect("a batch");
        self.last = self.last.max(batch.as_of);
        batch
    }

    /// Reads until the feed confirms everything before now, and returns its changes.
    pub(crate) async fn all(&mut self) -> Vec<Change> {
        self.until(|tail, _| tail.last).await
    }

    /// Reads until that many changes have arrived.
    pub(crate) async fn take(&mut self, number: usize) -> Vec<Change> {
        let enough = Instant::now() + PATIENCE;
        self.until(|_, changes| (changes.len() >= number).then_some(enough)).await
    }

    /// Reads until `reached` has come to the present.
    async fn until(&mut self, reached: impl Fn(&Self, &[Change]) -> Option<Instant>) -> Vec<Change> {
        let now = Instant::now();
        let mut changes = Vec::new();
        while reached(self, &changes).is_none_or(|reached| reached < now) {
            assert!(now.elapsed() < PATIENCE, "the feed did not come that far: {changes:?}");
            changes.extend(self.next().await.changes);
        }
        changes
    }

    pub(crate) fn position(&self) -> Position {
        self.stream.position()
    }
}

/// Each change as the source, the key, the kind and the images.
pub(crate) fn told(changes: &[Change]) -> Vec<String> {
    changes.iter().map(line).collect()
}

fn line(change: &Change) -> String {
    let image = |snapshot: &Snapshot| match snapshot {
        Snapshot::Unknown => "?".to_owned(),
        Snapshot::Absent => "-".to_owned(),
        Snapshot::Known(image) => match image.get::<User>() {
            Ok(user) => user.name.clone(),
            Err(_) => image.get::<Grade>().expect("a user or a grade").points.to_string(),
        },
    };
    if change.kind == ChangeKind::Reset {
        assert_eq!(change.key, EntityKey::empty());
        return format!("{} reset", change.source);
    }
    let images = format!("{}→{}", image(&change.before), image(&change.after));
    let fields = change.fields.as_ref().map_or(String::new(), |fields| format!(" [{}]", fields.join(" ")));
    format!("{} {} {} {images}{fields}", change.source, change.key, change.kind.verb())
}

/// How often each line is there.
pub(crate) fn counted(lines: Vec<String>) -> BTreeMap<String, usize> {
    lines.into_iter().fold(BTreeMap::new(), |mut counts, line| {
        *counts.entry(line).or_default() += 1;
        counts
    })
}

pub(crate) fn key<I: Serialize>(id: I) -> EntityKey {
    EntityKey::encode(&id).expect("a key")
}
