//! The worlds of the behaviours: a backend, a source of users, and the means to write to it.

use std::{fmt::Debug, sync::Arc};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use smache::{
    Builder, Entity, Result, Smache, Timestamp,
    backend::{Backend, CacheStore, Clock, DataSource, JobQueue, ManualClock, Namespace},
    memory::{Memory, MemorySource},
};

use crate::{
    faulty::{self, Faults},
    functions::{self, greeting},
    probe::Probe,
};

/// One test per behaviour and world. A behaviour takes a `&World`, returns a `Result`, and must hold on every backend.
macro_rules! on_every_world {
    ($($behaviour:ident),+ $(,)?) => {
        mod memory {
            $(
                #[tokio::test(start_paused = true)]
                async fn $behaviour() -> smache::Result<()> {
                    super::$behaviour(&crate::world::World::memory()).await
                }
            )+
        }
    };
}

/// The entity of the tests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Entity)]
#[entity(source = "users")]
pub(crate) struct User {
    #[serde(rename = "_id")]
    #[entity(id)]
    pub(crate) id: i64,
    pub(crate) name: String,
}

/// The table of users, for any writer.
#[async_trait]
pub(crate) trait Table: Debug + Send + Sync {
    async fn put(&self, user: User) -> Result<()>;
    async fn remove(&self, id: i64) -> Result<()>;
}

/// A namespace of a backend, beside a source of users.
#[derive(Debug)]
pub(crate) struct World {
    namespace: Namespace,
    backend: Arc<dyn Backend>,
    source: Arc<dyn DataSource>,
    table: Arc<dyn Table>,
    pub(crate) probe: Probe,
}

impl World {
    pub(crate) fn new(
        namespace: &str,
        backend: impl Backend,
        source: impl DataSource,
        table: impl Table + 'static,
    ) -> Self {
        Self {
            namespace: Namespace::new(namespace).expect("a good name"),
            backend: Arc::new(backend),
            source: Arc::new(source),
            table: Arc::new(table),
            probe: Probe::default(),
        }
    }

    /// Memory, with the runtime's time and a source behind a feed.
    pub(crate) fn memory() -> Self {
        Self::on(memory())
    }

    /// Some backend beside a memory source behind a feed.
    pub(crate) fn on(backend: impl Backend) -> Self {
        let users = MemorySource::<User>::new();
        Self::new("world", backend, users.clone(), users)
    }

    /// Memory beside a source whose changes only the application reports.
    pub(crate) fn attached() -> Self {
        Self::attached_to(memory())
    }

    /// Some backend beside a source whose changes only the application reports.
    pub(crate) fn attached_to(backend: impl Backend) -> Self {
        let users = MemorySource::<User>::without_feed();
        Self::new("world", backend, users.clone(), users)
    }

    /// Memory whose time the test moves, beside a source whose changes only the application reports.
    pub(crate) fn manual() -> (Self, ManualClock) {
        let clock = ManualClock::default();
        (Self::attached_to(Memory::builder().clock(Arc::new(clock.clone())).build()), clock)
    }

    /// Memory that fails on demand, with the runtime's time and a source behind a feed.
    pub(crate) fn faulty() -> (Self, Faults) {
        let (backend, faults) = faulty::memory();
        (Self::on(backend), faults)
    }

    /// Memory that fails on demand, beside a source whose changes only the application reports.
    pub(crate) fn faulty_attached() -> (Self, Faults) {
        let (backend, faults) = faulty::memory();
        (Self::attached_to(backend), faults)
    }

    /// A system with everything of the world and the functions that the tests share.
    pub(crate) fn builder(&self) -> Builder {
        functions::register(self.bare().backend(Arc::clone(&self.backend)))
    }

    /// A system of the same namespace that knows no function.
    pub(crate) async fn foreign(&self) -> Result<Smache> {
        self.bare().backend(Arc::clone(&self.backend)).build().await
    }

    /// A system without a backend and functions.
    pub(crate) fn bare(&self) -> Builder {
        Smache::builder(self.namespace.as_str()).source(Arc::clone(&self.source)).state(self.probe.clone())
    }

    pub(crate) async fn start(&self) -> Result<Smache> {
        self.builder().build().await
    }

    /// A system, and a user 1 of that name.
    pub(crate) async fn with_user(&self, name: &str) -> Result<Smache> {
        self.put(1, name).await?;
        self.start().await
    }

    /// A system with the greeting of user 1, who is called Anna.
    pub(crate) async fn with_greeting(&self) -> Result<Smache> {
        let smache = self.with_user("Anna").await?;
        assert_eq!(*smache.get(greeting(1)).await?, "Hello, Anna");
        Ok(smache)
    }

    pub(crate) async fn put(&self, id: i64, name: impl Into<String>) -> Result<()> {
        self.table.put(User { id, name: name.into() }).await
    }

    pub(crate) async fn remove(&self, id: i64) -> Result<()> {
        self.table.remove(id).await
    }

    /// The store of the namespace, past the engine.
    pub(crate) fn store(&self) -> Result<Arc<dyn CacheStore>> {
        Ok(self.backend.both(&self.namespace)?.0)
    }

    /// The queue of the namespace, past the engine.
    pub(crate) fn queue(&self) -> Result<Arc<dyn JobQueue>> {
        Ok(self.backend.both(&self.namespace)?.1)
    }
}

#[async_trait]
impl Table for MemorySource<User> {
    async fn put(&self, user: User) -> Result<()> {
        self.insert(user).map(drop)
    }

    async fn remove(&self, id: i64) -> Result<()> {
        Self::remove(self, &id).map(drop)
    }
}

/// Memory with the time of the runtime.
pub(crate) fn memory() -> Memory {
    Memory::builder().clock(Arc::new(RuntimeClock::new())).build()
}

/// The time of the runtime, which stands still with it.
#[derive(Debug)]
pub(crate) struct RuntimeClock(tokio::time::Instant);

impl RuntimeClock {
    pub(crate) fn new() -> Self {
        Self(tokio::time::Instant::now())
    }
}

impl Clock for RuntimeClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000).after(self.0.elapsed())
    }
}
