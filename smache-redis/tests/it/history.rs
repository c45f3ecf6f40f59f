//! The history of a table when another client removes lines of it.

use redis::aio::MultiplexedConnection;
use smache_core::{ChangeStream, Error, ErrorKind, Position, Result, Start};
use smache_redis::RedisSource;

use crate::{
    source::{Note, note},
    support::ask,
    trouble::{open, start},
};

const LOG: &[u8] = b"{table:notes}:log";

async fn puts(notes: &RedisSource<Note>, texts: &[&str]) {
    for text in texts {
        notes.put(&note(1, text)).await.expect("put");
    }
}

async fn changes(stream: &mut Box<dyn ChangeStream>) -> Result<usize> {
    stream.next().await.map(|batch| batch.changes.len())
}

/// The ids of the lines.
async fn lines(admin: &mut MultiplexedConnection) -> Vec<String> {
    let all: Vec<(String, Vec<String>)> = ask(admin, &[b"XRANGE", LOG, b"-", b"+"]).await;
    all.into_iter().map(|(place, _)| place).collect()
}

/// The result of resuming from a position, by the first batch at the latest.
async fn found_later(notes: &RedisSource<Note>, position: Position) -> Result<usize> {
    changes(&mut open(notes, Start::After(position)).await?).await
}

fn is_lost(found: Result<usize>, case: &str) {
    let error: Error = found.expect_err(case);
    assert_eq!(error.kind(), ErrorKind::HistoryLost, "{case}: {error}");
    // A stream that is removed and written to in the same millisecond is another history, without a longer error.
    if case != "remove the stream" {
        let text = error.to_string();
        assert!(text.contains("{table:notes}:log") && text.contains("`.history(n)`"), "{case}: {text}");
    }
}

#[tokio::test]
async fn lines_that_were_read_may_be_removed() {
    let (_server, notes, mut admin) = start().await;
    puts(&notes, &["one", "two", "three"]).await;
    let mut stream = open(&notes, Start::Now).await.expect("open");
    stream.next().await.expect("the first look");
    let removals: [&[&[u8]]; 3] =
        [&[b"XTRIM", LOG, b"MAXLEN", b"1"], &[b"XTRIM", LOG, b"MAXLEN", b"0"], &[b"DEL", LOG]];
    for words in removals {
        let _: i64 = ask(&mut admin, words).await;
        let position = stream.position();
        assert_eq!(changes(&mut stream).await.expect("nothing is missing"), 0);
        assert_eq!(found_later(&notes, position.clone()).await.expect("nothing is missing"), 0);
        let mut fresh = open(&notes, Start::Now).await.expect("open");
        puts(&notes, &["four", "five"]).await;
        assert_eq!(changes(&mut stream).await.expect("nothing is missing"), 2);
        assert_eq!(changes(&mut fresh).await.expect("nothing is missing"), 2);
        assert_eq!(found_later(&notes, position).await.expect("nothing is missing"), 2);
    }
}

#[tokio::test]
async fn lines_that_are_removed_before_they_were_read_are_missed() {
    for goes_on in [false, true] {
        for case in
            ["trim to one", "trim all", "remove the stream", "remove the first", "remove one", "remove the last"]
        {
            let (_server, notes, mut admin) = start().await;
            puts(&notes, &["one"]).await;
            let mut stream = open(&notes, Start::Now).await.expect("open");
            stream.next().await.expect("the first look");
            let position = stream.position();
            puts(&notes, &["two", "three", "four"]).await;
            let places = lines(&mut admin).await;
            let words: Vec<&[u8]> = match case {
                "trim to one" => vec![b"XTRIM", LOG, b"MAXLEN", b"1"],
                "trim all" => vec![b"XTRIM", LOG, b"MAXLEN", b"0"],
                "remove the stream" => vec![b"DEL", LOG],
                "remove the first" => vec![b"XDEL", LOG, places[1].as_bytes()],
                "remove one" => vec![b"XDEL", LOG, places[2].as_bytes()],
                _ => vec![b"XDEL", LOG, places[3].as_bytes()],
            };
            let _: i64 = ask(&mut admin, &words).await;
            if goes_on {
                puts(&notes, &["five"]).await;
            }
            is_lost(changes(&mut stream).await, case);
            is_lost(found_later(&notes, position).await, case);
            let mut again = open(&notes, Start::Now).await.expect("open");
            again.next().await.expect("the first look");
            puts(&notes, &["six"]).await;
            assert_eq!(changes(&mut again).await.expect("it has begun again"), 1, "{case}");
        }
    }
}

/// A full batch does not check the end; the next one follows it.
#[tokio::test]
async fn a_line_that_is_missing_between_two_batches_is_noticed() {
    let (_server, notes, mut admin) = start().await;
    let position = open(&notes, Start::Now).await.expect("open").position();
    for number in 0..502 {
        notes.put(&note(number, "one")).await.expect("put");
    }
    let mut stream = open(&notes, Start::After(position.clone())).await.expect("open");
    let mut whole = open(&notes, Start::After(position)).await.expect("open");
    for expected in [500, 2] {
        assert_eq!(changes(&mut whole).await.expect("nothing is missing"), expected);
    }
    let next = lines(&mut admin).await.swap_remove(500);
    let _: i64 = ask(&mut admin, &[b"XDEL", LOG, next.as_bytes()]).await;
    assert_eq!(changes(&mut stream).await.expect("nothing is missing yet"), 500);
    is_lost(changes(&mut stream).await, "the first line of the second batch");
}

/// New lines would sort before the read ones, and no feed would read them.
#[tokio::test]
async fn a_stream_that_begins_again_before_its_end_is_another_history() {
    let (_server, notes, mut admin) = start().await;
    let later: &[u8] = b"9999999999999-0";
    let _: String = ask(&mut admin, &[b"XADD", LOG, later, b"foreign", b"line"]).await;
    puts(&notes, &["one"]).await;
    let mut stream = open(&notes, Start::Now).await.expect("open");
    stream.next().await.expect("the first look");
    let position = stream.position();
    let _: i64 = ask(&mut admin, &[b"DEL", LOG]).await;
    puts(&notes, &["two"]).await;
    for found in [changes(&mut stream).await, found_later(&notes, position).await] {
        assert_eq!(found.expect_err("another history").kind(), ErrorKind::HistoryLost);
    }
    let mut again = open(&notes, Start::Now).await.expect("open");
    again.next().await.expect("the first look");
    puts(&notes, &["three"]).await;
    assert_eq!(changes(&mut again).await.expect("it has begun again"), 1);
}
