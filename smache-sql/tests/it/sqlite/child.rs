//! Other processes on the same file: this test binary once more, which may be killed in the middle of its work.

use std::{
    collections::HashSet,
    io::{self, BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
};

use smache_core::{Backend, EntryId, JobState, Lane, NewJob};
use smache_sql::Sqlite;
use sqlx::Connection;

use super::file::{folder, raw};
use crate::support::{change, compute, direct, id, look, namespace};

const FILE: &str = "SMACHE_TEST_FILE";
const ROLE: &str = "SMACHE_TEST_ROLE";
const FIRST: &str = "SMACHE_TEST_FIRST";

/// The task of another process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Opens the file and says how that went.
    Open,
    /// Writes without end, and says each write that was acknowledged.
    Write,
    /// Writes a little, and ends.
    WriteSome,
}

const SOME: u32 = 60;

/// The jobs of a writer beside those of its entries.
const JOBS: u32 = 1_000_000;

/// Starts this binary with the one test that plays the other process.
fn start(path: &Path, role: Role, first: u32, command: impl FnOnce(&Path) -> Command) -> Child {
    let program = std::env::current_exe().expect("the test binary");
    let mut command = command(&program);
    command.args(["--exact", "sqlite::child::what_was_acknowledged_survives_a_process_that_is_killed_at_any_moment"]);
    command.args(["--nocapture", "--test-threads=1"]);
    command.env(FILE, path).env(ROLE, format!("{role:?}")).env(FIRST, first.to_string());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().expect("another process")
}

/// The lines that another process says, without those of the test harness.
fn lines(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    let output = BufReader::new(child.stdout.take().expect("it is piped"));
    output.lines().map_while(Result::ok).filter_map(|line| line.split_once("said: ").map(|(_, said)| said.to_owned()))
}

/// The one line of another process.
pub(super) fn report(path: &Path, role: Role, command: impl FnOnce(&Path) -> Command) -> String {
    let mut child = start(path, role, 0, command);
    let said: Vec<String> = lines(&mut child).collect();
    child.wait().expect("it ends");
    said.into_iter().next().expect("it says something")
}

fn say(line: &str) {
    let mut output = io::stdout().lock();
    if writeln!(output, "said: {line}").and_then(|()| output.flush()).is_err() {
        // The test has failed and reads no more.
        std::process::exit(1);
    }
}

async fn play(role: &str) {
    let path = std::env::var(FILE).expect("the file");
    let sqlite = match Sqlite::open(&path).await {
        Ok(sqlite) => sqlite,
        Err(error) => return say(&format!("{:?} {error}", error.kind())),
    };
    if role == "Open" {
        return say("opened");
    }
    let (store, queue) = sqlite.both(&namespace("shop")).expect("both");
    let first: u32 = std::env::var(FIRST).expect("a number").parse().expect("a number");
    for number in first.. {
        if role == "WriteSome" && number == first + SOME {
            return;
        }
        compute(&*store, id(number), &format!("value {number}"), &[direct(number)]).await;
        say(&format!("entry {number}"));
        if number % 2 == 0 {
            store.invalidate(change(number)).await.expect("invalidate");
            say(&format!("stale {number}"));
        }
        queue.enqueue(&[NewJob::now(id(JOBS + number), Lane::Recompute)]).await.expect("enqueue");
        say(&format!("job {number}"));
    }
}

/// Everything that was acknowledged is there, and no step happened by halves.
async fn check(path: &Path, said: &HashSet<String>) {
    let mut connection = raw(path).await;
    let sound: String = sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut connection).await.expect("a check");
    assert_eq!(sound, "ok");
    connection.close().await.expect("close");
    let (store, queue) = Sqlite::open(path).await.expect("open").both(&namespace("shop")).expect("both");
    let jobs = queue.list(JobState::Queued, None, 10_000).await.expect("list").jobs;
    let jobs: HashSet<EntryId> = jobs.into_iter().map(|job| job.id).collect();
    for line in said {
        let (what, number) = line.split_once(' ').expect("two words");
        let number: u32 = number.parse().expect("a number");
        let seen = look(&*store, id(number)).await;
        match what {
            "entry" => assert_eq!(seen.map(|(value, _)| value), Some(format!("value {number}"))),
            "stale" => assert!(!seen.expect("it was stored").1 && jobs.contains(&id(number)), "{line}"),
            _ => assert!(jobs.contains(&id(JOBS + number)), "{line}"),
        }
        // Whether or not the invalidation was acknowledged: it came with its job.
        if let Some((_, false)) = look(&*store, id(number)).await {
            assert!(jobs.contains(&id(number)), "{number} is stale and has no job");
        }
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_process_that_is_killed_at_any_moment() {
    if let Ok(role) = std::env::var(ROLE) {
        return play(&role).await;
    }
    let (_folder, path) = folder();
    let mut said = HashSet::new();
    for round in 0..30 {
        let mut child = start(&path, Role::Write, round * 10_000, |program| Command::new(program));
        let mut heard = lines(&mut child);
        // Another number of steps each time, and wherever it is by then.
        said.extend(heard.by_ref().take(5 + (round as usize * 7) % 40));
        child.kill().expect("it is killed");
        said.extend(heard);
        child.wait().expect("it is gone");
    }
    assert!(said.len() > 300, "{}", said.len());
    check(&path, &said).await;
}

#[tokio::test]
async fn processes_that_write_at_once_lose_nothing() {
    let (_folder, path) = folder();
    // The file does not exist yet: they also make the tables side by side.
    let mut all: Vec<Child> = (0..4)
        .map(|process| start(&path, Role::WriteSome, process * 10_000, |program| Command::new(program)))
        .collect();
    let mut said = HashSet::new();
    for child in &mut all {
        said.extend(lines(child));
        assert!(child.wait().expect("it ends").success());
    }
    assert_eq!(said.len() as u32, 4 * (2 * SOME + SOME / 2));
    check(&path, &said).await;
    let store = Sqlite::open(&path).await.expect("open").store(&namespace("shop")).expect("a store");
    assert_eq!(store.stats().await.expect("stats").revision, u64::from(4 * SOME / 2));
}
