//! A database for each test, and helpers.

use mongodb::{
    Client, Collection, Database,
    bson::Document,
    event::{EventHandler, command::CommandEvent},
    options::ClientOptions,
};
use smache_core::{
    CacheStore, ChangedDependency, EntryId, FeedId, FeedStep, Invalidation, Leadership, Namespace, Position, SourceId,
    Token,
};
use smache_mongo::Mongo;
pub(crate) use smache_testkit::steps::{LONG, PAUSE, Run, SHORT, begin, begin_for, compute, direct, id};
use smache_testkit::{servers::shared_mongo_uri, steps};

/// A database of the shared server that no other test uses. Dropping this drops it.
#[derive(Debug)]
pub(crate) struct Own {
    pub(crate) mongo: Mongo,
    pub(crate) database: Database,
    pub(crate) url: String,
}

/// The URL of a database of a server.
pub(crate) fn url_of(server: &str, database: &str) -> String {
    server.replace("/?", &format!("/{database}?"))
}

impl Own {
    pub(crate) async fn new() -> Self {
        let name = format!("case-{}", Token::random());
        let url = url_of(&shared_mongo_uri(), &name);
        // No test stops the shared server, and the disk of the machine is slow.
        let mongo =
            Mongo::builder(&url).journal(false).page(50).timeout(LONG).connect().await.expect("the shared MongoDB");
        let client = Client::with_uri_str(&url).await.expect("a client");
        Self { mongo, database: client.database(&name), url }
    }

    /// Direct access to a collection of the backend.
    pub(crate) fn raw(&self, name: &str) -> Collection<Document> {
        self.database.collection(name)
    }

    /// Another backend on the same database; it calls `before` with each command before it sends it.
    pub(crate) async fn told(&self, before: impl Fn(&str, &Document) + Send + Sync + 'static) -> Mongo {
        let mut options = ClientOptions::parse(&self.url).await.expect("a good URL");
        options.command_event_handler = Some(EventHandler::callback(move |event| {
            if let CommandEvent::Started(event) = event {
                before(&event.command_name, &event.command);
            }
        }));
        let client = Client::with_options(options).expect("a client");
        Mongo::from_database(&client.database(self.database.name())).await.expect("a good database")
    }

    /// The only document of the entries.
    pub(crate) async fn only_entry(&self) -> Document {
        self.raw("smache_entries").find_one(Document::new()).await.expect("find").expect("an entry")
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let url = self.url.clone();
        let name = self.database.name().to_owned();
        let dropping = async move { Client::with_uri_str(url).await?.database(&name).drop().await };
        // The test's runtime is busy with this drop.
        let dropped = std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(dropping).expect("the database is dropped");
        });
        assert!(dropped.join().is_ok() || std::thread::panicking());
    }
}

pub(crate) fn namespace(name: &str) -> Namespace {
    Namespace::new(name).expect("a good name")
}

/// A change of a tag, with a cause that MongoDB would take for the name of a field in an expression.
pub(crate) fn change(name: &str) -> Invalidation {
    let changed = ChangedDependency { dependency: steps::tag(name), cause: format!("${name} changed").into() };
    Invalidation { changed: vec![changed], ..Invalidation::default() }
}

/// The value of an entry and whether it is fresh.
pub(crate) async fn look(store: &dyn CacheStore, id: EntryId) -> Option<(String, bool)> {
    steps::look(store, id).await.map(|seen| (seen.text().to_owned(), seen.is_fresh()))
}

pub(crate) fn users() -> SourceId {
    SourceId::new("users").expect("a name")
}

/// The leader of a feed.
pub(crate) struct Leader(u64);

/// Leads the feed of the users, which stands at position 1 and confirms nothing yet.
pub(crate) async fn lead(store: &dyn CacheStore) -> Leader {
    let leadership = store.lead(&feed(), Token::random(), LONG).await.expect("lead");
    let Leadership::Leader { fence } = leadership else { panic!("another process leads: {leadership:?}") };
    let leader = Leader(fence);
    store.restart(leader.step(store, 1).await).await.expect("restart");
    leader
}

fn feed() -> FeedId {
    FeedId::new("feed").expect("a name")
}

impl Leader {
    /// A later leader of the feed.
    pub(crate) async fn again(&self, store: &dyn CacheStore) -> Self {
        store.resign(&feed(), self.0).await.expect("resign");
        let leadership = store.lead(&feed(), Token::random(), LONG).await.expect("lead");
        let Leadership::Leader { fence } = leadership else { panic!("another process leads: {leadership:?}") };
        assert_ne!(fence, self.0);
        Self(fence)
    }

    /// A step to a position, which is caught up and confirms.
    pub(crate) async fn step(&self, store: &dyn CacheStore, position: u8) -> FeedStep {
        let incarnation = store.positions(&[]).await.expect("positions").incarnation;
        let position = Position::new("suite", [position], vec![position]);
        FeedStep {
            feed: feed(),
            fence: self.0,
            leadership: LONG,
            incarnation,
            positions: vec![(users(), position)],
            valid_for: Some(LONG),
            deadline: None,
            caught_up: true,
        }
    }
}

/// The answer of [`look`] for a fresh value.
pub(crate) fn fresh(value: &str) -> Option<(String, bool)> {
    Some((value.to_owned(), true))
}

/// The answer of [`look`] for a stale value.
pub(crate) fn stale(value: &str) -> Option<(String, bool)> {
    Some((value.to_owned(), false))
}
