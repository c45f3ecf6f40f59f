//! The rights in the crate's documentation: a user with them can do everything, and a user without one gets an error
//! with the right to grant.

use std::time::Duration;

use smache_core::{
    Backend, Begin, BeginOutcome, DataSource, Error, ErrorKind, JobEnd, JobState, Lane, Leadership, NewJob, Page,
    Reserve, Result, Settlement, Start, Token,
};
use smache_redis::{Redis, RedisSource};
use smache_testkit::servers::RedisServer;
use tokio::time::timeout;

use crate::{
    source::{Note, note},
    support::{LONG, Run, ask, change, direct, feed, id, raw, source},
};

/// The role in the documentation.
#[derive(Clone, Copy)]
pub(crate) enum Of {
    Both,
    Source,
}

/// The documented words behind `ACL SETUSER app`, for keys of another name.
fn documented(of: Of, name: &str) -> Vec<String> {
    let lines = include_str!("../../src/lib.rs").lines();
    let lines: Vec<&str> = lines.filter_map(|line| line.strip_prefix("//! ACL SETUSER app ")).collect();
    let [both, source] = lines[..] else { panic!("the crate documents two users: {lines:?}") };
    let line = match of {
        Of::Both => both.replace("{shop}", &format!("{{{name}}}")),
        Of::Source => source.replace("{table:users}", &format!("{{table:{name}}}")),
    };
    line.split(' ').map(str::to_owned).collect()
}

/// A user with exactly the documented rights, until it is dropped.
pub(crate) struct User {
    admin: String,
    name: String,
    pub(crate) url: String,
}

impl User {
    pub(crate) async fn documented(of: Of, admin: String, keys: &str) -> Self {
        let user = Self::new(admin);
        user.set(&documented(of, keys)).await;
        user
    }

    fn new(admin: String) -> Self {
        let name = format!("app-{}", Token::random());
        let (scheme, rest) = admin.split_once("://").expect("a URL");
        let address = rest.rsplit_once('@').map_or(rest, |(_, address)| address);
        let url = format!("{scheme}://{name}:secret@{address}");
        Self { admin, name, url }
    }

    async fn set(&self, words: &[String]) {
        let command = [&b"ACL"[..], b"SETUSER", self.name.as_bytes()];
        let words: Vec<&[u8]> = command.into_iter().chain(words.iter().map(String::as_bytes)).collect();
        let _: () = ask(&mut raw(&self.admin).await, &words).await;
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let client = redis::Client::open(self.admin.as_str()).expect("the URL of a test");
        // A server of the test alone may be gone already.
        if let Ok(mut connection) = client.get_connection() {
            let _ = redis::cmd("ACL").arg("DELUSER").arg(&self.name).exec(&mut connection);
        }
    }
}

/// The usual steps of programs with a store and its queue.
async fn steps(url: &str) -> Result<()> {
    let redis = Redis::connect(url).await?;
    let (store, queue) = redis.both(&smache_core::Namespace::new("shop")?)?;
    let users = source("users");
    store.attach(std::slice::from_ref(&users)).await?;
    let Leadership::Leader { fence } = store.lead(&feed(), Token::random(), LONG).await? else {
        panic!("another process leads")
    };
    store.positions(std::slice::from_ref(&users)).await?;
    for number in [1, 1, 2] {
        let token = Token::random();
        let BeginOutcome::Begun(begun) = store.begin(Begin { id: id(number), token, lease: LONG }).await? else {
            panic!("another run computes")
        };
        let run = Run { id: id(number), token, begun };
        store.commit(run.value_of("value", &[direct("a")], std::slice::from_ref(&users))).await?;
    }
    store.lookup(&[id(1)]).await?;
    store.inspect(&id(1)).await?;
    store.dependants(&smache_core::Dependency::tag("a"), Page::first(10)).await?;
    store.invalidate(change(["a"])).await?;
    store.stats().await?;
    store.maintain(100).await?;
    store.resign(&feed(), fence).await?;
    queue.enqueue(&[NewJob::now(id(9), Lane::Recompute)]).await?;
    queue.list(JobState::Queued, None, 10).await?;
    queue.find(&id(9)).await?;
    queue.counts().await?;
    let token = Token::random();
    let reserve = Reserve { token, ..Reserve::new(Lane::Recompute, 10, LONG) };
    let jobs = queue.reserve(reserve).await?.jobs;
    assert_eq!(jobs.len(), 3);
    let held: Vec<_> = jobs.iter().map(|job| (job.id, token)).collect();
    queue.extend(&held, LONG).await?;
    let done: Vec<_> = jobs.iter().map(|job| Settlement { id: job.id, token, end: JobEnd::Done }).collect();
    queue.settle(&done).await?;
    store.remove(&id(1), None).await?;
    store.examine().await.map(drop)
}

/// The usual steps of programs with a table.
async fn table_steps(url: &str) -> Result<()> {
    let redis = Redis::connect(url).await?;
    let users = RedisSource::<Note>::builder(&redis).table("users").history(2).build()?;
    let (feed, topic) = users.feed().expect("it has a feed");
    let mut stream = feed.open(&[topic], Start::Now).await?;
    for text in ["one", "two", "three"] {
        users.put(&note(1, text)).await?;
        users.update(&1, |note| note.text.push('!')).await?;
        while stream.next().await?.changes.is_empty() {}
    }
    users.list().await?;
    users.remove(&1).await?;
    users.examine().await.map(drop)
}

fn refused(error: &Error, right: &str, keys: &str) {
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Permission, false), "{right}: {}", error.report());
    // The server is identified first, when the keys are not known yet.
    let words = if right == "+info" { vec![right] } else { vec![right, keys] };
    for word in words {
        assert!(error.to_string().contains(word), "{error} does not say {word}");
    }
}

#[tokio::test]
async fn what_is_documented_is_enough_and_whatever_is_missing_is_named() {
    let server = RedisServer::start().await;
    let mut admin = raw(&server.url()).await;
    for (of, name, keys) in [(Of::Both, "shop", "~{shop}:*"), (Of::Source, "users", "~{table:users}:*")] {
        let all = documented(of, name);
        let wanted =
            |word: &&String| word.starts_with(['+', '~']) && !["+publish", "+subscribe"].contains(&word.as_str());
        assert!(all.iter().filter(wanted).count() > 8, "{all:?}");
        for missing in [None].into_iter().chain(all.iter().filter(wanted).map(Some)) {
            let user = User::new(server.url());
            let words: Vec<String> = all.iter().filter(|word| Some(*word) != missing).cloned().collect();
            user.set(&words).await;
            // The server would run a known script without the right to load it.
            let _: () = ask(&mut admin, &[b"SCRIPT", b"FLUSH"]).await;
            let _: () = ask(&mut admin, &[b"FLUSHALL"]).await;
            let outcome = match of {
                Of::Both => steps(&user.url).await,
                Of::Source => table_steps(&user.url).await,
            };
            match (outcome, missing) {
                (outcome, None) => outcome.expect("all that is documented is enough"),
                (outcome, Some(missing)) => {
                    refused(&outcome.expect_err(missing), missing, keys);
                }
            }
        }
    }
}

#[tokio::test]
async fn a_user_without_the_channel_works_and_one_with_it_is_woken() {
    let server = RedisServer::start().await;
    for missing in ["&{shop}:notifier", "+publish", "+subscribe"] {
        let user = User::new(server.url());
        user.set(&documented(Of::Both, "shop").into_iter().filter(|word| word != missing).collect::<Vec<_>>()).await;
        let _: () = ask(&mut raw(&server.url()).await, &[b"FLUSHALL"]).await;
        steps(&user.url).await.unwrap_or_else(|error| panic!("without {missing}: {}", error.report()));
    }
    let user = User::documented(Of::Both, server.url(), "shop").await;
    let redis = Redis::connect(&user.url).await.expect("all that is needed");
    let queue = redis.queue(&smache_core::Namespace::new("shop").expect("a name")).expect("a queue");
    let soon = Duration::from_secs(40);
    timeout(soon, queue.wait(LONG)).await.expect("the first wait ends when it listens").expect("wait");
    let waiting = tokio::spawn({
        let queue = queue.clone();
        async move { queue.wait(LONG).await }
    });
    timeout(soon, async {
        let mut number = 100;
        while !waiting.is_finished() {
            queue.enqueue(&[NewJob::now(id(number), Lane::Recompute)]).await.expect("enqueue");
            number += 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("the notifier is rung and heard");
}

#[tokio::test]
async fn a_user_who_may_only_read_a_table_reads_it_and_learns_what_writing_needs() {
    let server = RedisServer::start().await;
    let admin = Redis::connect(server.url()).await.expect("the private Redis");
    let all = RedisSource::<Note>::new(&admin);
    all.put(&note(1, "one")).await.expect("put");
    let user = User::new(server.url());
    let rules = "on >secret resetkeys resetchannels -@all %R~{table:notes}:* +@hash +@stream +eval +evalsha +get +info +set +time";
    user.set(&rules.split(' ').map(str::to_owned).collect::<Vec<_>>()).await;
    let redis = Redis::connect(&user.url).await.expect("it may connect");
    let notes = RedisSource::<Note>::new(&redis);
    assert_eq!(notes.get(&1).await.expect("it may read"), Some(note(1, "one")));
    for error in [
        notes.put(&note(2, "two")).await.map(drop).expect_err("it may not write"),
        notes.update(&1, |note| note.text.push('!')).await.map(drop).expect_err("it may not write"),
        notes.remove(&1).await.map(drop).expect_err("it may not write"),
    ] {
        refused(&error, "+@stream", "~{table:notes}:*");
    }
    assert_eq!(all.list().await.expect("list").len(), 1);
    let (feed, topic) = all.feed().expect("it has a feed");
    let mut stream = feed.open(&[topic], Start::Now).await.expect("open");
    assert!(stream.next().await.expect("nothing was half-done").changes.is_empty());
    assert_eq!(all.get(&1).await.expect("get"), Some(note(1, "one")));
}

#[tokio::test]
async fn a_user_of_another_table_learns_which_keys_are_missing() {
    let server = RedisServer::start().await;
    let user = User::documented(Of::Source, server.url(), "others").await;
    let redis = Redis::connect(&user.url).await.expect("it may connect");
    let notes = RedisSource::<Note>::new(&redis);
    let (feed, topic) = notes.feed().expect("it has a feed");
    let topics = [topic];
    for error in [
        notes.put(&note(1, "one")).await.map(drop).expect_err("not its table"),
        notes.get(&1).await.map(drop).expect_err("not its table"),
        notes.list().await.map(drop).expect_err("not its table"),
        feed.open(&topics, Start::Now).await.map(drop).expect_err("not its table"),
    ] {
        refused(&error, "+@hash", "~{table:notes}:*");
    }
    // A right that is revoked under a running feed is no lost history.
    user.set(&documented(Of::Source, "notes")).await;
    let mut stream = feed.open(&topics, Start::Now).await.expect("open");
    user.set(&documented(Of::Source, "others")).await;
    refused(&stream.next().await.expect_err("not its table any more"), "+@stream", "~{table:notes}:*");
    user.set(&documented(Of::Source, "notes")).await;
    notes.put(&note(1, "one")).await.expect("its table again");
    let mut again = feed.open(&topics, Start::After(stream.position())).await.expect("open");
    assert!(again.next().await.expect("the history is whole").changes.len() == 1);
}
