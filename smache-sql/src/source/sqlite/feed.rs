//! The change table of a database as a feed.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use smache_core::{ChangeFeed, ChangeStream, Error, ErrorKind, FeedId, Position, Result, Start, Topic};
use sqlx::{ConnectOptions, Connection, SqliteConnection, SqlitePool};

use super::{
    SqliteSourceBuilder,
    opened::OpenedFile,
    stream::LiteStream,
    table::LiteTable,
    triggers::{intact, missing},
};
use crate::{
    error::{bounded, of_source, with_timeout, wrong_server},
    source::{changes::Watched, name::feed_id},
};

/// The change table of a database, shared by all sources in it.
///
/// Sources make their own handle of it; handles of the same name are interchangeable, because a source hands over in
/// its topic how its rows are read.
#[derive(Clone)]
pub struct LiteFeed {
    id: FeedId,
    pool: SqlitePool,
    pub(super) file: String,
    opened: Arc<OpenedFile>,
    pub(super) timeout: Duration,
    pub(super) poll_interval: Duration,
    pub(super) retention: Duration,
}

/// Where a stream stands: after a row. The mark distinguishes rows that had the same number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Which history.
    pub(super) history: String,
    pub(super) row: i64,
    pub(super) mark: String,
}

impl Place {
    /// As a position. SQLite numbers the rows in the order of commits, so the numbers order the history.
    pub(super) fn position(&self) -> Position {
        let token = format!("1:{}:{}:{}", self.history, self.row, self.mark);
        Position::new(&self.history, self.row.to_be_bytes(), token)
    }

    /// The place of a position. A position that this crate did not make is not in the history.
    fn restore(position: &Position) -> Result<Self> {
        let read = || {
            let mut parts = std::str::from_utf8(&position.token).ok()?.strip_prefix("1:")?.split(':');
            let place = Self {
                history: parts.next()?.to_owned(),
                row: parts.next()?.parse().ok()?,
                mark: parts.next()?.to_owned(),
            };
            parts.next().is_none().then_some(place)
        };
        read()
            .ok_or_else(|| Error::new(ErrorKind::HistoryLost, "the saved position is not one in the changes of SQLite"))
    }
}

impl LiteFeed {
    pub(super) fn new<T>(builder: &SqliteSourceBuilder<T>) -> Self {
        let options = builder.pool.connect_options();
        let path = options.get_filename();
        let file = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let opened = Arc::new(OpenedFile::of(path));
        Self {
            opened,
            id: builder.feed.clone().unwrap_or_else(|| feed_id("sqlite", &file)),
            pool: builder.pool.clone(),
            file,
            timeout: builder.timeout,
            poll_interval: builder.poll_interval,
            retention: builder.retention,
        }
    }

    pub(super) fn doing(&self, what: &str) -> String {
        format!("{what} the changes in the database `{}`", self.file)
    }

    /// A connection that has the replaced file open goes on with it, and that file gets no more writes.
    pub(super) fn check_file(&self) -> Result<()> {
        if self.opened.is_there() {
            return Ok(());
        }
        let message = "the database file was replaced or removed while it was open: open a new pool and source";
        Err(wrong_server(message, &self.file))
    }

    pub(super) fn failed(error: sqlx::Error, doing: &str) -> Error {
        let error = of_source(error, doing);
        // Of these statements only the change table can be missing.
        if error.kind() == ErrorKind::Config { missing("all tables").with_source(error) } else { error }
    }

    /// Where the history ends.
    async fn present(&self, pool: &SqlitePool) -> Result<Place> {
        let doing = self.doing("opening");
        let query = sqlx::query_as(
            "SELECT f.id, coalesce(c.seq, f.trimmed), coalesce(c.mark, f.mark) FROM smache_feed f
             LEFT JOIN (SELECT seq, mark FROM smache_changes ORDER BY seq DESC LIMIT 1) c ON c.seq > f.trimmed",
        );
        let read = async {
            let row: Option<(String, i64, String)> =
                query.fetch_optional(pool).await.map_err(|error| Self::failed(error, &doing))?;
            let (history, row, mark) = row.ok_or_else(|| missing("all tables"))?;
            Ok(Place { history, row, mark })
        };
        with_timeout(self.timeout, ErrorKind::Unavailable, &doing, read).await
    }

    /// All sources must be in the database of this feed: those of another one would go unwatched.
    async fn check(&self, topics: &[Topic], watched: &Watched<LiteTable>) -> Result<()> {
        let own = self.present(&self.pool).await?.history;
        for table in watched.tables() {
            if self.present(&table.pool).await?.history != own {
                let sources: Vec<&str> =
                    topics.iter().filter(|topic| topic.name == table.name).map(|topic| topic.source.as_str()).collect();
                let message = format!(
                    "the feed `{}` has sources of different databases, `{}` among them: give each file a feed of its own with \
                     `SqliteSourceBuilder::feed`",
                    self.id,
                    sources.join("`, `")
                );
                return Err(Error::new(ErrorKind::Config, message));
            }
        }
        Ok(())
    }

    /// A separate connection: only the same connection can tell whether *others* have written, and one of the
    /// application's pool would be missing there permanently.
    pub(super) async fn connect(&self) -> Result<SqliteConnection> {
        let options = self.pool.connect_options();
        let connect = options.connect();
        let connection = bounded(self.timeout, ErrorKind::Unavailable, &self.doing("opening"), connect).await?;
        self.opened.note();
        Ok(connection)
    }

    /// Looks whether the triggers are there and made for the present columns. Returns the version of the schema.
    pub(super) async fn check_triggers(
        &self,
        connection: &mut SqliteConnection,
        watched: &Watched<LiteTable>,
    ) -> Result<i64> {
        let doing = self.doing("reading");
        let failed = |error| of_source(error, &doing);
        let mut transaction = connection.begin().await.map_err(failed)?;
        let version = sqlx::query_scalar("PRAGMA schema_version").fetch_one(&mut *transaction).await.map_err(failed)?;
        let mut broken = Vec::new();
        for table in watched.tables() {
            let description = table.describe(&mut transaction).await?;
            if !intact(&mut transaction, table, &description).await.map_err(failed)? {
                broken.push(table.name.clone());
            }
        }
        transaction.commit().await.map_err(failed)?;
        broken.sort_unstable();
        broken.dedup();
        if broken.is_empty() { Ok(version) } else { Err(missing(&broken.join("`, `"))) }
    }
}

#[async_trait]
impl ChangeFeed for LiteFeed {
    fn id(&self) -> &FeedId {
        &self.id
    }

    async fn open(&self, topics: &[Topic], start: Start) -> Result<Box<dyn ChangeStream>> {
        self.check_file()?;
        let readers = Watched::<LiteTable>::readers(topics)?;
        let mut shapes = Vec::with_capacity(readers.len());
        for reader in &readers {
            shapes.push(reader.table.description().await?.shape.clone());
        }
        let watched = Watched::new(topics, readers, shapes);
        self.check(topics, &watched).await?;
        let place = match start {
            Start::After(position) => Place::restore(&position)?,
            Start::Now => self.present(&self.pool).await?,
        };
        let connection = self.connect().await?;
        Ok(Box::new(LiteStream::open(self.clone(), connection, watched, place).await?))
    }

    async fn head(&self) -> Result<Option<Position>> {
        Ok(Some(self.present(&self.pool).await?.position()))
    }
}

impl fmt::Debug for LiteFeed {
    // By hand, because a pool shows the options of its connections.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiteFeed").field("id", &self.id).field("file", &self.file).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_brings_its_place_back() {
        let place = Place { history: "ab12".to_owned(), row: 300, mark: "cd".to_owned() };
        let position = place.position();
        assert_eq!(Place::restore(&position).expect("a place"), place);
        assert!(position.order > Place { row: 255, ..place }.position().order);
        for token in ["", "1", "2:a:1:b", "1:a:x:b", "1:a:1", "1:a:1:b:c", "\u{fffd}"] {
            let position = Position { order: position.order.clone(), token: token.to_owned().into() };
            assert_eq!(Place::restore(&position).expect_err(token).kind(), ErrorKind::HistoryLost);
        }
    }

    #[test]
    fn fuzz_places() {
        use smache_fuzz::{Edits, bounded, damaged, fuzz};

        fuzz::<([u64; 2], i64, Edits)>(|([history, mark], row, edits)| {
            let place = Place { history: format!("{history:x}"), row: *row, mark: format!("{mark:x}") };
            let position = place.position();
            assert_eq!(Place::restore(&position).expect("a place"), place);
            let token = damaged(&position.token, edits);
            let restored =
                bounded(token.len(), || Place::restore(&Position { token: token.clone().into(), ..position.clone() }));
            if let Ok(place) = restored {
                assert_eq!(Place::restore(&place.position()).expect("a place"), place);
            }
        });
    }
}
