//! The stream of a table as a feed.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use redis::{AsyncConnectionConfig, Value, aio::MultiplexedConnection};
use smache_core::{
    Batch, Change, ChangeFeed, ChangeStream, Error, ErrorKind, FeedId, Incarnation, Position, Result, SourceId, Start,
    Token, Topic,
};

use super::{
    TableOf,
    line::{Line, Reader},
};
use crate::{
    connection::provide_cryptography,
    error::{BECAME_REPLICA, failed, unexpected},
    handshake::{Info, check_server, still},
    reply::{Reply, bytes},
    script::TABLE,
};

/// How long the server waits for a change before it answers without any.
const AWAIT: Duration = Duration::from_millis(400);
/// The most changes in a batch.
const BATCH: usize = 500;

/// A place in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    millis: u64,
    number: u64,
}

impl Place {
    pub(super) fn read(text: &[u8]) -> Option<Self> {
        let (millis, number) = std::str::from_utf8(text).ok()?.split_once('-')?;
        Some(Self { millis: millis.parse().ok()?, number: number.parse().ok()? })
    }

    pub(super) fn of(order: &[u8]) -> Option<Self> {
        let (&millis, number) = order.split_first_chunk()?;
        Some(Self { millis: u64::from_be_bytes(millis), number: u64::from_be_bytes(number.try_into().ok()?) })
    }

    pub(super) fn position(self, token: &[u8]) -> Position {
        let order = [self.millis.to_be_bytes(), self.number.to_be_bytes()].concat();
        Position::new(token, order, token.to_vec())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.millis, self.number)
    }
}

/// The feed of a table.
#[derive(Debug)]
pub(super) struct TableFeed(Arc<TableOf>);

impl TableFeed {
    pub(super) fn new(table: Arc<TableOf>) -> Self {
        Self(table)
    }

    /// Opens a connection for this feed alone, since waiting for a change blocks it.
    async fn connect(&self) -> Result<(MultiplexedConnection, Incarnation)> {
        provide_cryptography();
        let link = &self.0.link;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(link.connect_timeout()))
            .set_response_timeout(Some(AWAIT + link.connect_timeout()));
        let opened = link.client().get_multiplexed_async_connection_with_config(&config).await;
        let mut connection = opened.map_err(|error| failed(error, link.server()))?;
        let incarnation = check_server(&mut connection, link.server()).await?;
        Ok((connection, incarnation))
    }

    /// The table's random name, and the end of its history.
    async fn look(&self) -> Result<(Vec<u8>, Place)> {
        let mut look = TABLE.call(&self.0.keys);
        look.arg("look").arg("").arg("").arg("").arg(1).arg(Token::random().as_bytes());
        let mut reply = Reply::new(look.operation(), self.0.call(&look).await?)?;
        reply.number()?;
        reply.maybe_bytes()?;
        let name = reply.bytes()?;
        let last = reply.bytes()?;
        let end = reply.bytes()?;
        let last = Place::read(&last).ok_or_else(|| unexpected("table"))?;
        // The end outlives its line: other clients may remove lines that the feed has read.
        let last = last.max(Place::read(&end).unwrap_or(last));
        Ok((name, last))
    }
}

#[async_trait]
impl ChangeFeed for TableFeed {
    fn id(&self) -> &FeedId {
        &self.0.feed
    }

    async fn open(&self, topics: &[Topic], start: Start) -> Result<Box<dyn ChangeStream>> {
        let reader = |topic: &Topic| Ok((topic.source.clone(), *topic.reader_of::<Reader>("a table of Redis")?));
        let readers = topics.iter().map(reader).collect::<Result<Vec<_>>>()?;
        let (connection, incarnation) = self.connect().await?;
        let (name, last) = self.look().await?;
        let mut stream = TableStream {
            table: Arc::clone(&self.0),
            connection,
            readers,
            token: token(&name, &incarnation),
            incarnation,
            name,
            at: last,
            looked: false,
        };
        if let Start::After(position) = start {
            if position.token != stream.token[..] {
                return Err(lost(
                    "the position is of another table, or of the server before it restarted or failed over",
                ));
            }
            stream.at = Place::of(position.place()).ok_or_else(|| lost("the position is no place in a stream"))?;
            if stream.at > last {
                return Err(lost("the position is behind the end of the history"));
            }
            // This finds a trimmed history now and not with the first batch.
            stream.read(0).await?;
        }
        Ok(Box::new(stream))
    }

    async fn head(&self) -> Result<Option<Position>> {
        // The incarnation is read before the end: a position of another incarnation is in another history, which no
        // stream reaches.
        let incarnation = self.0.link.live().await?.incarnation.clone();
        let (name, last) = self.look().await?;
        Ok(Some(last.position(&token(&name, &incarnation))))
    }
}

/// Names the history: the table's random name and the server's incarnation.
fn token(name: &[u8], incarnation: &Incarnation) -> Vec<u8> {
    [name, incarnation.as_str().as_bytes()].concat()
}

fn lost(message: &'static str) -> Error {
    Error::new(ErrorKind::HistoryLost, message)
}

struct TableStream {
    table: Arc<TableOf>,
    connection: MultiplexedConnection,
    readers: Vec<(SourceId, Reader)>,
    /// The table's random name.
    name: Vec<u8>,
    token: Vec<u8>,
    /// The server's incarnation when the feed was opened.
    incarnation: Incarnation,
    at: Place,
    /// Whether it has returned its position once: until then its reader waits only for that.
    looked: bool,
}

impl TableStream {
    /// At most `many` lines behind the place, if the history still has all of them.
    async fn read(&mut self, many: usize) -> Result<Vec<(Place, Line)>> {
        let keys = &self.table.keys;
        let mut read = redis::pipe();
        read.cmd("GET").arg(keys.of("i"));
        read.cmd("GET").arg(keys.of("t"));
        // Before the lines: a line that is written between the two is not missing.
        read.cmd("GET").arg(keys.of("end"));
        read.cmd("XRANGE").arg(keys.of("log")).arg(format!("({}", self.at)).arg("+").arg("COUNT").arg(many.max(1));
        read.cmd("INFO").arg("replication");
        let server = self.table.link.server();
        let sent = self.connection.send_packed_commands(&read, 0, read.len()).await;
        let answers = sent.map_err(|error| failed(error, server))?;
        let [name, forgotten, end, lines, info] = <[Value; 5]>::try_from(answers).map_err(|_| unexpected("XRANGE"))?;
        self.check_role(&Info::of(vec![info], server)?)?;
        let [name, forgotten, end, lines] =
            [(name, "i"), (forgotten, "t"), (end, "end"), (lines, "log")].map(|(value, key)| match value {
                Value::ServerError(error) => Err(self.table.refused(error, key)),
                value => Ok(value),
            });
        let name = name?;
        let forgotten = forgotten?;
        let end = end?;
        let lines = lines?;
        if bytes(name).as_ref() != Some(&self.name) {
            return Err(lost("the table or its stream was removed: the history went with it"));
        }
        let forgotten = bytes(forgotten).as_deref().and_then(Place::read);
        if forgotten.is_some_and(|forgotten| forgotten > self.at) {
            return Err(lost(
                "the history of the table does not reach back to the position: keep more changes by `.history(n)` of the \
                 source's builder",
            ));
        }
        let Value::Array(lines) = lines else { return Err(unexpected("XRANGE")) };
        let complete = lines.len() < many.max(1);
        let mut reached = self.at;
        let mut read = Vec::with_capacity(lines.len());
        for value in lines {
            let (place, before, line) = line(value).ok_or_else(|| unexpected("XRANGE"))?;
            // Lines of other clients have no line before them, and stand between those of the table.
            if before.is_some_and(|before| before > reached) {
                return Err(self.removed());
            }
            reached = place;
            read.push((place, line));
        }
        if complete && bytes(end).as_deref().and_then(Place::read).is_some_and(|end| end > reached) {
            return Err(self.removed());
        }
        Ok(read)
    }

    fn removed(&self) -> Error {
        let message = "lines of the table's history are gone that were not read: let nothing but this crate trim or remove \
                       its stream, and keep more changes by `.history(n)` of the source's builder";
        lost(message).with_context("key", self.table.keys.of("log"))
    }

    /// A demoted server still answers readers on open connections, and never delivers the changes that its primary
    /// acknowledges.
    fn check_role(&self, info: &Info) -> Result<()> {
        let (primary, same_history) = still(info, &self.incarnation);
        if primary && same_history {
            return Ok(());
        }
        self.table.link.leave();
        if primary {
            return Err(lost("the server failed over: the end of its history may be missing"));
        }
        Err(Error::new(ErrorKind::Unavailable, BECAME_REPLICA).with_context("server", self.table.link.server()))
    }

    /// Waits for a change behind the place, for a while.
    async fn wait(&mut self) -> Result<()> {
        let mut wait = redis::cmd("XREAD");
        wait.arg("COUNT").arg(1).arg("BLOCK").arg(u64::try_from(AWAIT.as_millis()).unwrap_or(400));
        wait.arg("STREAMS").arg(self.table.keys.of("log")).arg(self.at.to_string());
        match self.connection.send_packed_command(&wait).await {
            Ok(Value::ServerError(error)) => Err(self.table.refused(error, "log")),
            Ok(_) => Ok(()),
            Err(error) => Err(failed(error, self.table.link.server())),
        }
    }
}

/// A line in the answer of `XRANGE`: its place, then names and values in turns. With the place of the line before it,
/// if it is a line of the table.
pub(super) fn line(value: Value) -> Option<(Place, Option<Place>, Line)> {
    let Value::Array(parts) = value else { return None };
    let [place, Value::Array(fields)] = <[Value; 2]>::try_from(parts).ok()? else { return None };
    let place = Place::read(&bytes(place)?)?;
    let mut line = Line::default();
    let mut before = None;
    let mut fields = fields.into_iter();
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        let value = bytes(value)?;
        match bytes(name)?.as_slice() {
            b"p" => before = Place::read(&value),
            b"k" => line.id = value,
            b"b" => line.before = Some(value),
            b"a" => line.after = Some(value),
            _ => {}
        }
    }
    Some((place, before, line))
}

#[async_trait]
impl ChangeStream for TableStream {
    fn position(&self) -> Position {
        self.at.position(&self.token)
    }

    async fn next(&mut self) -> Result<Batch> {
        if std::mem::replace(&mut self.looked, true) {
            self.wait().await?;
        }
        // The answer has every change that was acknowledged before this instant, unless the batch is full.
        let asked = Instant::now();
        let lines = self.read(BATCH).await?;
        let complete = lines.len() < BATCH;
        let changes: Vec<Change> = lines
            .iter()
            .flat_map(|(_, line)| self.readers.iter().map(move |(source, reader)| reader.change(source, line)))
            .collect();
        if let Some((place, _)) = lines.last() {
            self.at = *place;
        }
        Ok(Batch::new(changes, self.position(), complete.then_some(asked)))
    }
}

impl fmt::Debug for TableStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableStream").field("table", &self.table).field("at", &self.at).finish_non_exhaustive()
    }
}
