//! As much of the protocols of Redis and MongoDB as the tests of the servers speak, so that they need no client.

use std::io::{Error, Result};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One command on a new connection; the answer as it comes, which is short enough for one segment.
pub(crate) async fn redis(port: u16, words: &[&str]) -> Result<String> {
    let mut connection = TcpStream::connect(("127.0.0.1", port)).await?;
    let mut request = format!("*{}\r\n", words.len());
    for word in words {
        request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    connection.write_all(request.as_bytes()).await?;
    let mut answer = vec![0; 4096];
    let read = connection.read(&mut answer).await?;
    String::from_utf8(answer[..read].to_vec()).map_err(Error::other)
}

/// Inserts a document with that `_id`, acknowledged.
pub(crate) async fn insert(port: u16, id: i32) -> Result<()> {
    let documents = array(&document(&integer("_id", id)));
    let command = [string("insert", "c"), documents_field("documents", &documents), string("$db", "t")].concat();
    match number(&mongo(port, &document(&command)).await?, "n") {
        Some(1) => Ok(()),
        other => Err(Error::other(format!("not inserted: {other:?}"))),
    }
}

/// The number of documents.
pub(crate) async fn count(port: u16) -> Result<i32> {
    let command = [string("count", "c"), string("$db", "t")].concat();
    number(&mongo(port, &document(&command)).await?, "n").ok_or_else(|| Error::other("no count in the answer"))
}

/// One OP_MSG on a new connection; the bytes of the answer.
async fn mongo(port: u16, body: &[u8]) -> Result<Vec<u8>> {
    const OP_MSG: i32 = 2013;
    let mut connection = TcpStream::connect(("127.0.0.1", port)).await?;
    let length = i32::try_from(16 + 4 + 1 + body.len()).map_err(Error::other)?;
    let mut message: Vec<u8> = [length, 1, 0, OP_MSG, 0].iter().flat_map(|word| word.to_le_bytes()).collect();
    message.push(0);
    message.extend_from_slice(body);
    connection.write_all(&message).await?;
    let length = usize::try_from(connection.read_i32_le().await?).map_err(Error::other)?;
    let mut answer = vec![0; length - 4];
    connection.read_exact(&mut answer).await?;
    Ok(answer)
}

fn document(elements: &[u8]) -> Vec<u8> {
    let length = i32::try_from(4 + elements.len() + 1).expect("the documents of these tests are small");
    [&length.to_le_bytes()[..], elements, &[0]].concat()
}

fn array(only: &[u8]) -> Vec<u8> {
    document(&[&[3], &b"0\0"[..], only].concat())
}

fn documents_field(name: &str, array: &[u8]) -> Vec<u8> {
    [&[4], name.as_bytes(), &[0], array].concat()
}

fn integer(name: &str, value: i32) -> Vec<u8> {
    [&[16], name.as_bytes(), &[0], &value.to_le_bytes()].concat()
}

fn string(name: &str, value: &str) -> Vec<u8> {
    let length = i32::try_from(value.len() + 1).expect("the strings of these tests are short");
    [&[2], name.as_bytes(), &[0], &length.to_le_bytes(), value.as_bytes(), &[0]].concat()
}

/// The 32-bit number of that name, wherever it is in the answer.
fn number(answer: &[u8], name: &str) -> Option<i32> {
    let key = [&[16], name.as_bytes(), &[0]].concat();
    let at = answer.windows(key.len()).position(|window| window == key)? + key.len();
    Some(i32::from_le_bytes(answer.get(at..at + 4)?.try_into().ok()?))
}
