//! As much of MongoDB's wire protocol as it takes to make a replica set: one command and its answer on a connection.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const ANSWER_BOUND: Duration = Duration::from_secs(30);
/// The code of a message in the wire protocol.
const OP_MSG: u32 = 2013;
/// The head of a message: length, id, id of the question, code.
const HEAD: usize = 16;
const MAX_ANSWER: usize = 1 << 20;

/// A BSON document in the making.
#[derive(Debug, Clone, Default)]
pub(super) struct Document(Vec<u8>);

impl Document {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn text(self, name: &str, value: &str) -> Self {
        let length = u32::try_from(value.len() + 1).unwrap_or(u32::MAX);
        self.field(0x02, name, &[&length.to_le_bytes(), value.as_bytes(), b"\0"].concat())
    }

    pub(super) fn number(self, name: &str, value: i32) -> Self {
        self.field(0x10, name, &value.to_le_bytes())
    }

    pub(super) fn document(self, name: &str, value: &Self) -> Self {
        self.field(0x03, name, &value.bytes())
    }

    pub(super) fn list(self, name: &str, values: impl IntoIterator<Item = Self>) -> Self {
        let numbered = values.into_iter().enumerate();
        let list = numbered.fold(Self::new(), |list, (place, value)| list.document(&place.to_string(), &value));
        self.field(0x04, name, &list.bytes())
    }

    fn field(mut self, kind: u8, name: &str, value: &[u8]) -> Self {
        self.0.push(kind);
        self.0.extend(name.as_bytes());
        self.0.push(0);
        self.0.extend(value);
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.0.len() + 5).unwrap_or(u32::MAX);
        [&length.to_le_bytes(), &self.0[..], &[0]].concat()
    }
}

/// The answer of a server: its fields of the outermost level.
#[derive(Debug)]
pub(super) struct Answer(Vec<(String, Value)>);

#[derive(Debug, PartialEq)]
enum Value {
    Truth(bool),
    Number(f64),
    Text(String),
    Other,
}

impl Answer {
    pub(super) fn is(&self, name: &str) -> bool {
        match self.find(name) {
            Some(Value::Truth(truth)) => *truth,
            Some(Value::Number(number)) => *number == 1.0,
            _ => false,
        }
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        match self.find(name)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    fn find(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(field, _)| field == name).map(|(_, value)| value)
    }

    /// `None` when it is not a document of BSON.
    fn read(document: &[u8]) -> Option<Self> {
        let mut rest = document.get(4..)?;
        let mut fields = Vec::new();
        loop {
            let kind = take(&mut rest, 1)?[0];
            if kind == 0 {
                return Some(Self(fields));
            }
            let name = take_name(&mut rest)?;
            fields.push((name, take_value(&mut rest, kind)?));
        }
    }
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

fn take_name(rest: &mut &[u8]) -> Option<String> {
    let length = rest.iter().position(|byte| *byte == 0)?;
    let name = String::from_utf8_lossy(take(rest, length)?).into_owned();
    take(rest, 1).map(|_| name)
}

fn take_length(rest: &mut &[u8]) -> Option<usize> {
    let bytes = take(rest, 4)?.try_into().ok()?;
    usize::try_from(u32::from_le_bytes(bytes)).ok()
}

fn take_value(rest: &mut &[u8], kind: u8) -> Option<Value> {
    let skipped = match kind {
        0x01 => return Some(Value::Number(f64::from_le_bytes(take(rest, 8)?.try_into().ok()?))),
        0x02 => {
            let length = take_length(rest)?;
            let text = take(rest, length)?.strip_suffix(&[0])?;
            return Some(Value::Text(String::from_utf8_lossy(text).into_owned()));
        }
        0x08 => return Some(Value::Truth(take(rest, 1)?[0] != 0)),
        0x10 => return Some(Value::Number(i32::from_le_bytes(take(rest, 4)?.try_into().ok()?).into())),
        // A document or a list: its length counts itself.
        0x03 | 0x04 => take_length(rest)?.checked_sub(4)?,
        // Bytes: a length without the byte of their kind.
        0x05 => take_length(rest)?.checked_add(1)?,
        0x07 => 12,
        0x09 | 0x11 | 0x12 => 8,
        0x0a => 0,
        0x13 => 16,
        _ => return None,
    };
    take(rest, skipped).map(|_| Value::Other)
}

/// Sends a command to the database `admin` of a server, and returns its answer, whatever that is.
pub(super) fn ask(port: u16, command: &Document) -> io::Result<Answer> {
    let document = command.clone().text("$db", "admin").bytes();
    let length = u32::try_from(HEAD + 5 + document.len()).unwrap_or(u32::MAX);
    let mut message: Vec<u8> = [length, 1, 0, OP_MSG, 0].into_iter().flat_map(u32::to_le_bytes).collect();
    message.push(0);
    message.extend(document);
    let mut connection = TcpStream::connect(("127.0.0.1", port))?;
    connection.set_read_timeout(Some(ANSWER_BOUND))?;
    connection.write_all(&message)?;
    let mut length = [0; 4];
    connection.read_exact(&mut length)?;
    let unreadable = || io::Error::new(io::ErrorKind::InvalidData, "an answer that is not one of MongoDB");
    let length = usize::try_from(u32::from_le_bytes(length)).ok().filter(|length| *length <= MAX_ANSWER);
    let mut answer = vec![0; length.and_then(|length| length.checked_sub(4)).ok_or_else(unreadable)?];
    connection.read_exact(&mut answer)?;
    answer.get(HEAD + 1..).and_then(Answer::read).ok_or_else(unreadable)
}

/// The same of a command that has to succeed.
pub(super) fn order(port: u16, command: &Document) -> Result<Answer, String> {
    let answer = ask(port, command).map_err(|error| error.to_string())?;
    if answer.is("ok") {
        return Ok(answer);
    }
    Err(answer.text("errmsg").unwrap_or("the server has refused a command").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let inner = Document::new().number("one", 1);
        let all =
            Document::new().text("t", "text").field(0x08, "yes", &[1]).list("l", [inner.clone()]).document("d", &inner);
        let answer = Answer::read(&all.number("ok", 1).bytes()).expect("a document");
        assert_eq!(answer.text("t"), Some("text"));
        assert!(answer.is("yes") && answer.is("ok") && !answer.is("d") && !answer.is("absent"));
    }

    #[test]
    fn what_is_cut_is_no_document() {
        let whole = Document::new().text("t", "text").number("n", 1).bytes();
        for length in 0..whole.len() {
            assert!(Answer::read(&whole[..length]).is_none(), "{length}");
        }
    }
}
