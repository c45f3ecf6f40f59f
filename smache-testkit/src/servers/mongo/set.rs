//! A replica set of three.

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use super::super::process::{ServerProcess, blocking};
use super::{Kind, mongod};

const MEMBERS: usize = 3;
const ELECTION_BOUND: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// A private replica set of three members for one test. Each member can be killed, restarted and paused.
///
/// It needs MongoDB itself: a test with one does not run where only the stand-in is.
///
/// ```no_run
/// # async fn example() {
/// use smache_testkit::servers::MongoSet;
///
/// let set = MongoSet::start().await;
/// let killed = set.kill_primary().await;
/// set.primary().await; // another one
/// set.member(killed).restart().await;
/// # }
/// ```
pub struct MongoSet {
    members: Vec<ServerProcess>,
}

impl MongoSet {
    /// Starts three servers, makes them a set and waits until it has a primary and two secondaries.
    ///
    /// # Panics
    /// If there is no `mongod` (named by `SMACHE_MONGOD`, else on the `PATH`), or they do not answer in time.
    pub async fn start() -> Self {
        Self::start_as(Kind::Open, None).await
    }

    /// Starts one whose members have a key file and ask for passwords, with a user of the role `root`.
    ///
    /// # Panics
    /// See [`Self::start`].
    pub async fn start_guarded(user: &str, password: &str) -> Self {
        Self::start_as(Kind::Guarded, Some((user.to_owned(), password.to_owned()))).await
    }

    async fn start_as(kind: Kind, root: Option<(String, String)>) -> Self {
        let Some(program) = mongod::program() else {
            panic!(
                "a set of three needs MongoDB itself, and there is no mongod: `scripts/test` and `scripts/with-servers` fetch \
                 one where they can, else name one in SMACHE_MONGOD"
            )
        };
        let start = || async {
            let arguments = vec!["--oplogSize".into(), "64".into()];
            ServerProcess::start(mongod::member(program.clone(), kind, arguments)).await
        };
        let (first, second, third) = tokio::join!(start(), start(), start());
        let set = Self { members: vec![first, second, third] };
        let ports = set.ports();
        blocking(move || {
            // A busy machine may be late with the answer: a set that is made already is as good.
            wait_for("its configuration", || mongod::initiate(ports[0], &ports).is_ok());
            wait_for("two secondaries", || {
                ports.iter().filter(|port| mongod::is_secondary(**port)).count() == MEMBERS - 1
            });
            let primary = primary_of(&ports);
            if let Some((user, password)) = root {
                mongod::make_root(ports[primary], &user, &password).unwrap_or_else(|error| panic!("{error}"));
            }
        })
        .await;
        set
    }

    /// `mongodb://127.0.0.1:PORT,…/?replicaSet=rs0`.
    #[must_use]
    pub fn uri(&self) -> String {
        let hosts: Vec<_> = self.ports().iter().map(|port| format!("127.0.0.1:{port}")).collect();
        format!("mongodb://{}/?replicaSet={}", hosts.join(","), mongod::SET)
    }

    /// `mongodb://127.0.0.1:PORT/?directConnection=true` of one member.
    ///
    /// # Panics
    /// If there is no such member.
    #[must_use]
    pub fn uri_of(&self, member: usize) -> String {
        format!("mongodb://127.0.0.1:{}/?directConnection=true", self.members[member].port())
    }

    /// One of the members.
    ///
    /// # Panics
    /// If there is no such member.
    #[must_use]
    pub fn member(&self, member: usize) -> &ServerProcess {
        &self.members[member]
    }

    /// Waits until there is a primary, and returns its place among the members.
    ///
    /// # Panics
    /// If there is none in time.
    pub async fn primary(&self) -> usize {
        let ports = self.ports();
        blocking(move || primary_of(&ports)).await
    }

    /// Kills the primary, and returns its place. The others elect another one some two seconds later.
    ///
    /// # Panics
    /// If there is none in time.
    pub async fn kill_primary(&self) -> usize {
        let primary = self.primary().await;
        self.members[primary].kill().await;
        primary
    }

    /// Makes the primary hand over its role in an orderly way, waits until another one has it, and returns its place.
    ///
    /// # Panics
    /// If no other one has it in time, or the servers ask for passwords.
    pub async fn step_down(&self) -> usize {
        let ports = self.ports();
        blocking(move || {
            let before = primary_of(&ports);
            // A secondary that lags makes it refuse.
            wait_for("an orderly end of the primary's role", || mongod::step_down(ports[before]).is_ok());
            wait_for("another primary", || primary_of(&ports) != before);
            primary_of(&ports)
        })
        .await
    }

    fn ports(&self) -> Vec<u16> {
        self.members.iter().map(ServerProcess::port).collect()
    }
}

fn primary_of(ports: &[u16]) -> usize {
    let mut found = None;
    wait_for("a primary", || {
        found = ports.iter().position(|port| mongod::is_primary(*port));
        found.is_some()
    });
    found.unwrap_or_default()
}

fn wait_for(what: &str, mut is_there: impl FnMut() -> bool) {
    let deadline = Instant::now() + ELECTION_BOUND;
    while !is_there() {
        assert!(Instant::now() < deadline, "the replica set has not got {what} within {ELECTION_BOUND:?}");
        thread::sleep(POLL);
    }
}

impl fmt::Debug for MongoSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MongoSet").field("members", &self.members).finish()
    }
}
