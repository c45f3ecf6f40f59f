//! Positions in the history: the server's resume tokens, and an order for them.

use bytes::Bytes;
use mongodb::bson::{Document, RawDocument, RawDocumentBuf, Timestamp, rawdoc};
use smache_core::{Error, ErrorKind, Position, Result};

use crate::history::{Identity, LastChange, Origin};

/// The most bytes of a token: half of the limit of a [`Position`], which holds more than the token.
const MAX_TOKEN: usize = 8 * 1024;

/// The fields of a saved position: the token, and its history.
const TOKEN: &str = "token";
const ORIGIN: &str = "origin";

/// The first byte of MongoDB's own tokens: the type of a timestamp in its sortable format, before seconds and counter.
const SORTABLE: u8 = 0x82;

/// Follows the time in the order of a position behind everything of that time. No token has this byte there.
const COMPLETE: u8 = 0xFF;

/// A moment of the cluster's logical clock, ordered as the clock is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct ClusterTime(u64);

impl ClusterTime {
    /// The moment before it.
    pub(crate) fn before(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl From<Timestamp> for ClusterTime {
    fn from(time: Timestamp) -> Self {
        Self(u64::from(time.time) << 32 | u64::from(time.increment))
    }
}

/// The position of a stream, and its history.
///
/// MongoDB's resume tokens are hexadecimal strings that sort like the history, so their bytes are the order. The tokens
/// of other servers need not sort. Their order is the cluster time of the last change, which the changes of one
/// transaction share, and a count of the steps since that time began. The count goes on from a restored position, so it
/// never goes back.
///
/// A token of MongoDB does not say whether more changes of its time follow: the changes of a transaction share it. A
/// place after which the server has nothing to add sorts behind all of them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Place {
    /// The name of the history, with which a position begins.
    history: Bytes,
    order: Bytes,
    token: RawDocumentBuf,
    origin: Origin,
    /// The server's identity since the last move. A place that has not moved keeps its position.
    identity: Option<Identity>,
}

impl Place {
    /// The start of a stream from which no change was read yet.
    pub(crate) fn start(token: &RawDocument, time: ClusterTime, identity: &Identity) -> Self {
        let order = sortable(token).unwrap_or_else(|| counted(time, 0)).into();
        let named = Position::new(identity.name(), b"", Bytes::new());
        let history = Bytes::copy_from_slice(named.history());
        Self { history, order, token: token.to_owned(), origin: Origin::of(identity), identity: None }
    }

    /// A saved position.
    ///
    /// # Errors
    /// `HistoryLost` for a position of another kind of feed, which is in no history of this one.
    pub(crate) fn restored(position: &Position) -> Result<Self> {
        let saved = RawDocument::from_bytes(&position.token).and_then(Document::try_from);
        let saved = saved.map_err(|error| not_one().with_source(error))?;
        let token = saved.get_document(TOKEN).ok().and_then(|token| RawDocumentBuf::from_document(token).ok());
        let origin = saved.get_document(ORIGIN).ok().and_then(Origin::from_document);
        let (Some(token), Some(origin)) = (token, origin) else { return Err(not_one()) };
        let history = Bytes::copy_from_slice(position.history());
        let order = Bytes::copy_from_slice(position.place());
        Ok(Self { history, order, token, origin, identity: None })
    }

    pub(crate) fn position(&self) -> Position {
        let mut saved = rawdoc! { TOKEN: self.token.clone() };
        // An origin that cannot be encoded is left out. A reader then takes it for another history, not for this one.
        if let Ok(origin) = RawDocumentBuf::from_document(&self.origin.to_document()) {
            saved.append(ORIGIN, origin);
        }
        // Not by `Position::new`: a restored place has the name of its history in encoded form.
        let order = [&self.history[..], &self.order].concat();
        Position { order: order.into(), token: saved.into_bytes().into() }
    }

    /// Moves to the token of a change of that time, or to one between changes.
    pub(crate) fn advance(&mut self, token: &RawDocument, time: Option<ClusterTime>) {
        // The token of a change contains the document's id. A token that is too large for a store is skipped: a resume
        // then starts earlier and delivers changes again, which is allowed.
        if self.is_at(token) || token.as_bytes().len() > MAX_TOKEN {
            return;
        }
        let order = sortable(token).unwrap_or_else(|| match (self.count(), time) {
            ((last, _), Some(time)) if time > last => counted(time, 0),
            ((last, steps), _) => counted(last, steps.saturating_add(1)),
        });
        self.order = order.into();
        self.token = token.to_owned();
        if let Some(identity) = self.identity.take() {
            self.origin.set_identity(&identity);
        }
    }

    /// Everything of the token's time was delivered.
    pub(crate) fn complete(&mut self) {
        if let Covers::UpTo(time) = Covers::of(&self.token) {
            self.order = behind(time).into();
        }
    }

    /// The place behind everything of a time, as a position for comparisons. No stream opens after it.
    pub(crate) fn end_of(time: ClusterTime, identity: &Identity) -> Position {
        Position::new(identity.name(), behind(time), Bytes::new())
    }

    /// Sets the server's identity, from the next move on.
    pub(crate) fn set_identity(&mut self, identity: Identity) {
        self.identity = Some(identity);
    }

    /// The last change of a document before this place.
    pub(crate) fn set_last(&mut self, last: LastChange) {
        // Changes of servers other than MongoDB's own cannot be searched by their time.
        if sortable(&self.token).is_some() {
            self.origin.set_last(last);
        }
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The time that the token covers, if it says so.
    pub(crate) fn time(&self) -> Option<ClusterTime> {
        match Covers::of(&self.token) {
            Covers::UpTo(time) => Some(time),
            Covers::AtLeast(_) | Covers::Unknown => None,
        }
    }

    /// The time that the token covers, of which no change may have been read yet: a server begins a stream at the
    /// moment after its last one, and may still give this time to a change.
    pub(crate) fn unread(&self) -> Option<ClusterTime> {
        let time = self.time()?;
        let read = self.order[..] == behind(time) || self.origin.last().is_some_and(|last| last.time() >= time);
        (!read).then_some(time)
    }

    /// Whether it stands at a token.
    pub(crate) fn is_at(&self, token: &RawDocument) -> bool {
        self.token.as_bytes() == token.as_bytes()
    }

    /// The token in the form that the server accepts.
    ///
    /// # Errors
    /// `HistoryLost` when it cannot be read.
    pub(crate) fn token(&self) -> Result<Document> {
        Document::try_from(&*self.token).map_err(|error| not_one().with_source(error))
    }

    fn count(&self) -> (ClusterTime, u64) {
        let number = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_be_bytes);
        match self.order.split_at_checked(8) {
            Some((time, steps)) => (ClusterTime(number(time)), number(steps)),
            None => (ClusterTime::default(), 0),
        }
    }
}

fn not_one() -> Error {
    Error::new(ErrorKind::HistoryLost, "the saved position of the change stream is not one of MongoDB")
}

fn counted(time: ClusterTime, steps: u64) -> Vec<u8> {
    [time.0.to_be_bytes(), steps.to_be_bytes()].concat()
}

fn behind(time: ClusterTime) -> Vec<u8> {
    [&[SORTABLE][..], &time.0.to_be_bytes(), &[COMPLETE]].concat()
}

/// Whether a server's tokens sort like the history.
pub(crate) fn sorts(token: &RawDocument) -> bool {
    sortable(token).is_some()
}

/// The bytes of a token that sorts like the history.
fn sortable(token: &RawDocument) -> Option<Vec<u8>> {
    bytes_of(token).filter(|bytes| bytes.len() > 8 && bytes[0] == SORTABLE)
}

fn bytes_of(token: &RawDocument) -> Option<Vec<u8>> {
    let digits = token.get_str("_data").ok()?.as_bytes();
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    digits.chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?)).collect()
}

/// Up to which time a token covers the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Covers {
    /// Everything before; MongoDB moves this on even while nothing in the watched collections changes.
    UpTo(ClusterTime),
    /// Everything before; it may stay behind the clock while nothing changes.
    AtLeast(ClusterTime),
    /// The token does not say.
    Unknown,
}

impl Covers {
    /// Reads a token.
    pub(crate) fn of(token: &RawDocument) -> Self {
        let Some(bytes) = bytes_of(token) else { return Self::Unknown };
        if let (Some(&SORTABLE), Some(Ok(time))) = (bytes.first(), bytes.get(1..9).map(<[u8; 8]>::try_from)) {
            return Self::UpTo(ClusterTime(u64::from_be_bytes(time)));
        }
        // SecantusDB, on which the tests of this crate run, writes a document with the time in it.
        match RawDocument::from_bytes(&bytes).map(|document| document.get_timestamp("t")) {
            Ok(Ok(time)) => Self::AtLeast(time.into()),
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests;
