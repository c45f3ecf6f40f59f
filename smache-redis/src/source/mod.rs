//! The source: a table of entities in Redis with a history of its changes.

mod feed;
#[cfg(test)]
mod fuzz;
mod line;

use std::{fmt, marker::PhantomData, sync::Arc};

use async_trait::async_trait;
use redis::{ServerError, Value};
use serde::{Serialize, de::DeserializeOwned};
use smache_core::{
    Capability, ChangeFeed, DataSource, EntityKey, EntityKind, EntityType, Error, ErrorKind, Examination, FeedId,
    Filter, Guarantee, Image, Result, SourceId, Token, Topic,
};

use self::{feed::TableFeed, line::Reader};
use crate::{
    Redis, RedisSourceBuilder,
    connection::Link,
    error::{failed, unexpected, with_rights},
    examine::Holds,
    keys::Keys,
    layout,
    reply::{Reply, bytes, fields},
    script::{Call, TABLE},
};

/// The keys of a table, each with a command that only its type understands.
const KEYS: [(&str, &str); 6] =
    [("HLEN", "e"), ("XLEN", "log"), ("GET", "end"), ("GET", "i"), ("GET", "t"), ("GET", "l")];

/// How often an update is tried while others change the same entity.
const TRIES: usize = 50;

/// A table of entities in Redis, which other programs may read and write as well.
///
/// An entity is JSON in the hash `{table:<name>}:e`, under its id as JSON. A write through this type changes the hash
/// and adds a line to the stream `{table:<name>}:log` in one script, with the entity before and after; the stream is
/// the feed. The guarantee is that of a **change feed**, for writes through this type: the feed does not see direct
/// writes to the hash. Keyspace notifications could not help, since a message without a listener is lost.
///
/// Promises: a load reads the primary that acknowledged the write; hash and stream change in one step; every line has
/// the entity before and after. When another client removes lines before the feed has read them, the feed notices:
/// everything of the table is computed again. A server that restarts or fails over may have lost the end of the stream
/// without a trace, so it is another history: everything of the table is computed again.
///
/// ```no_run
/// use serde::{Deserialize, Serialize};
/// use smache_core::EntityType;
/// use smache_redis::{Redis, RedisSource};
///
/// #[derive(Serialize, Deserialize)]
/// struct User { id: u32, name: String }
///
/// impl EntityType for User {
///     type Id = u32;
///     const SOURCE: &'static str = "users";
///     fn id(&self) -> &u32 { &self.id }
/// }
///
/// # async fn example() -> smache_core::Result<()> {
/// let redis = Redis::connect("redis://localhost").await?;
/// let users = RedisSource::<User>::new(&redis);
/// users.put(&User { id: 7, name: "Anna".into() }).await?;
/// users.update(&7, |user| user.name.push('!')).await?;
/// # Ok(())
/// # }
/// ```
pub struct RedisSource<T> {
    table: Arc<TableOf>,
    of: PhantomData<fn() -> T>,
}

/// A table without its type.
pub(crate) struct TableOf {
    source: SourceId,
    feed: FeedId,
    pub(crate) name: String,
    pub(crate) link: Arc<Link>,
    pub(crate) keys: Keys,
    history: usize,
}

impl<T: EntityType + Serialize + DeserializeOwned> RedisSource<T> {
    /// The table with the name of the source, with a history of 100,000 changes. Does not connect.
    ///
    /// # Panics
    /// When [`EntityType::SOURCE`] is no [`SourceId`], or longer than 122 bytes.
    #[must_use]
    pub fn new(redis: &Redis) -> Self {
        Self::builder(redis).build().unwrap_or_else(|error| {
            panic!("the source of `{}` cannot be used: {error}", std::any::type_name::<T>());
        })
    }

    /// A table with options.
    pub fn builder(redis: &Redis) -> RedisSourceBuilder<T> {
        RedisSourceBuilder::new(redis)
    }

    pub(crate) fn from_builder(builder: RedisSourceBuilder<T>) -> Result<Self> {
        let table = TableOf {
            source: SourceId::new(T::SOURCE)?,
            feed: FeedId::new(format!("redis:{}", builder.table))?,
            keys: Keys::table(&builder.table),
            name: builder.table,
            link: builder.link,
            history: builder.history.max(1),
        };
        Ok(Self { table: Arc::new(table), of: PhantomData })
    }

    /// Inserts an entity, or replaces the one of the same id. Returns the replaced one. An equal stored entity is no
    /// change, and nothing is computed again.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] when it cannot be written as JSON; those of the server.
    ///
    /// # Cancel safety
    /// A dropped call has written the entity with its line in the history, or neither.
    pub async fn put(&self, entity: &T) -> Result<Option<T>> {
        let written = self.write(entity)?;
        let (_, before) = self.table.step("put", &self.field(entity.id())?, &written, b"").await?;
        before.map(|before| line::parse(&before)).transpose()
    }

    /// The entity of an id.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for an id that cannot be written as JSON, [`ErrorKind::Corrupt`] when the stored value
    /// is no such entity; those of the server.
    pub async fn get(&self, id: &T::Id) -> Result<Option<T>> {
        let field = self.field(id)?;
        let stored = self.table.values(std::slice::from_ref(&field)).await?.pop().flatten();
        let read = |stored: Vec<u8>| line::entity(&EntityKey::encode(id)?, &stored);
        stored.map(read).transpose().map_err(|error| self.table.at(&field, error))
    }

    /// Changes an entity in place, repeatedly if another client changed it meanwhile. Returns whether there is one.
    ///
    /// # Errors
    /// As [`get`](Self::get); [`ErrorKind::Argument`] when its id was changed; [`ErrorKind::Contended`] when others
    /// change it all the time.
    ///
    /// # Cancel safety
    /// As [`put`](Self::put).
    pub async fn update(&self, id: &T::Id, mut change: impl FnMut(&mut T)) -> Result<bool> {
        let field = self.field(id)?;
        let key = EntityKey::encode(id)?;
        for _ in 0..TRIES {
            let Some(stored) = self.table.values(std::slice::from_ref(&field)).await?.pop().flatten() else {
                return Ok(false);
            };
            let mut entity: T = line::entity(&key, &stored).map_err(|error| self.table.at(&field, error))?;
            change(&mut entity);
            if self.field(entity.id())? != field {
                let fix = "remove it, and put one with the other id";
                let message = format!("an update of the table `{}` changes the id {field}: {fix}", self.table.name);
                return Err(Error::new(ErrorKind::Argument, message));
            }
            if self.table.step("swap", &field, &self.write(&entity)?, &stored).await?.0 {
                return Ok(true);
            }
        }
        let message =
            format!("the entity {field} of the table `{}` changes faster than it can be updated", self.table.name);
        Err(Error::new(ErrorKind::Contended, message))
    }

    /// Removes an entity and returns it.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    ///
    /// # Cancel safety
    /// As [`put`](Self::put).
    pub async fn remove(&self, id: &T::Id) -> Result<Option<T>> {
        let (_, before) = self.table.step("remove", &self.field(id)?, b"", b"").await?;
        before.map(|before| line::parse(&before)).transpose()
    }

    fn field(&self, id: &T::Id) -> Result<String> {
        serde_json::to_string(id).map_err(|error| {
            let message = format!("an id of the table `{}` cannot be written as JSON", self.table.name);
            Error::new(ErrorKind::Argument, message).with_source(error)
        })
    }

    fn write(&self, entity: &T) -> Result<Vec<u8>> {
        serde_json::to_vec(entity).map_err(|error| {
            let message = format!("an entity of the table `{}` cannot be written as JSON", self.table.name);
            Error::new(ErrorKind::Argument, message).with_source(error)
        })
    }
}

impl TableOf {
    /// One step of the script. Returns whether it was done, and the value before it.
    async fn step(&self, what: &str, field: &str, value: &[u8], expected: &[u8]) -> Result<(bool, Option<Vec<u8>>)> {
        let mut call = TABLE.call(&self.keys);
        call.arg(what).arg(field).arg(value).arg(expected).arg(self.history).arg(Token::random().as_bytes());
        let mut reply = Reply::new(call.operation(), self.call(&call).await?)?;
        Ok((reply.number()? == 1, reply.maybe_bytes()?))
    }

    /// Calls the script, and names the key if one has another type.
    async fn call(&self, call: &Call) -> Result<Value> {
        match self.link.call(call).await {
            Err(error) if error.kind() == ErrorKind::Corrupt => Err(self.wrong_key(error).await),
            answer => answer,
        }
    }

    /// A script's error says only that some key has another type: this asks each key.
    async fn wrong_key(&self, error: Error) -> Error {
        let mut ask = redis::pipe();
        for (command, key) in KEYS {
            ask.cmd(command).arg(self.keys.of(key));
        }
        let answers = self.link.read(&ask).await.map_or_else(|_| Vec::new(), |(answers, _)| answers);
        let mut wrong = KEYS.iter().zip(answers).filter(|(_, answer)| matches!(answer, Value::ServerError(_)));
        wrong.next().map_or(error.clone(), |((_, key), _)| self.corrupt(key, error))
    }

    /// The error of a key of another type. The fix removes the table's name and with it its history, so that no feed
    /// that had read a part takes the rest for all.
    fn corrupt(&self, key: &str, error: Error) -> Error {
        let message = format!(
            "a key of the table `{}` holds something else than this crate stores there: rename or remove it, and remove `{}` \
             as well, so that everything of the table counts as changed",
            self.name,
            self.keys.of("i")
        );
        Error::new(ErrorKind::Corrupt, message).with_context("key", self.keys.of(key)).with_source(error)
    }

    /// The server's error on a command on a key.
    fn refused(&self, error: ServerError, key: &str) -> Error {
        let error = failed(error.into(), self.link.server());
        if error.kind() == ErrorKind::Corrupt {
            return self.corrupt(key, error);
        }
        with_rights(error.with_context("key", self.keys.of(key)), self.keys.role(), self.keys.prefix())
    }

    async fn values(&self, fields: &[String]) -> Result<Vec<Option<Vec<u8>>>> {
        if fields.is_empty() {
            return Ok(Vec::new());
        }
        let mut read = redis::pipe();
        read.cmd("HMGET").arg(self.keys.of("e")).arg(fields);
        let mut reply = Reply::new("table", self.read(read).await?)?;
        (0..fields.len()).map(|_| reply.maybe_bytes()).collect()
    }

    async fn all(&self) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut read = redis::pipe();
        read.cmd("HGETALL").arg(self.keys.of("e"));
        fields(self.read(read).await?).ok_or_else(|| unexpected("HGETALL"))
    }

    /// Reads entities, and their layout.
    async fn read(&self, mut entities: redis::Pipeline) -> Result<Value> {
        entities.cmd("GET").arg(self.keys.of("l"));
        // A replaced primary that does not know of it returns old entities.
        let (values, _) = self.link.read_primary(&mut entities).await?;
        let [entities, layout] = <[Value; 2]>::try_from(values).map_err(|_| unexpected("table"))?;
        match layout {
            Value::ServerError(error) => return Err(self.refused(error, "l")),
            found => {
                layout::check(bytes(found).as_deref(), self.keys.role(), self.keys.prefix(), self.link.server())?;
            }
        }
        match entities {
            Value::ServerError(error) => Err(self.refused(error, "e")),
            value => Ok(value),
        }
    }

    /// Adds the place to the error of an unreadable entity.
    fn at(&self, field: &str, error: Error) -> Error {
        error.with_context("key", self.keys.of("e")).with_context("field", field)
    }
}

#[async_trait]
impl<T: EntityType + Serialize + DeserializeOwned> DataSource for RedisSource<T> {
    fn id(&self) -> &SourceId {
        &self.table.source
    }

    fn kind(&self) -> EntityKind {
        EntityKind::of::<T>()
    }

    async fn load(&self, keys: &[EntityKey]) -> Result<Vec<Option<Image>>> {
        let field = |key: &EntityKey| self.field(&key.decode::<T::Id>()?);
        let fields = keys.iter().map(field).collect::<Result<Vec<_>>>()?;
        let stored = self.table.values(&fields).await?;
        let read = |((key, field), value): ((&EntityKey, &String), Option<Vec<u8>>)| {
            value.map(|value| line::image::<T>(key, &value)).transpose().map_err(|error| self.table.at(field, error))
        };
        keys.iter().zip(&fields).zip(stored).map(read).collect()
    }

    async fn list(&self) -> Result<Vec<Image>> {
        let read = |(field, value): &(Vec<u8>, Vec<u8>)| {
            let image = line::key::<T>(field).and_then(|key| line::image::<T>(&key, value));
            image.map_err(|error| self.table.at(&String::from_utf8_lossy(field), error))
        };
        self.table.all().await?.iter().map(read).collect()
    }

    /// Reads the whole table: Redis has no index of it.
    async fn find(&self, filter: &Filter) -> Result<Vec<Image>> {
        let mut found = Vec::new();
        for image in self.list().await? {
            if filter.matches(&image)? {
                found.push(image);
            }
        }
        Ok(found)
    }

    fn capabilities(&self) -> &[Capability] {
        &[Capability::List, Capability::Find, Capability::BeforeImages]
    }

    async fn examine(&self) -> Result<Examination> {
        let mut examination = self.table.link.examine(Holds::Data).await?.guarantee(Guarantee::ChangeFeed);
        // The feed does not see direct writes to the hash; the text names the limit of the guarantee.
        examination.what = format!(
            "the table `{}` in {}, with a feed of the writes through `RedisSource`",
            self.table.name, examination.what
        );
        Ok(examination)
    }

    fn feed(&self) -> Option<(Arc<dyn ChangeFeed>, Topic)> {
        let reader = Arc::new(Reader::of::<T>());
        let topic = Topic::new(self.table.source.clone(), T::SOURCE).with_reader(reader);
        Some((Arc::new(TableFeed::new(Arc::clone(&self.table))), topic))
    }
}

impl<T> Clone for RedisSource<T> {
    fn clone(&self) -> Self {
        Self { table: Arc::clone(&self.table), of: PhantomData }
    }
}

impl<T> fmt::Debug for RedisSource<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSource").field("table", &self.table).finish()
    }
}

impl fmt::Debug for TableOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("name", &self.name).field("link", &self.link).finish_non_exhaustive()
    }
}
