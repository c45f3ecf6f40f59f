//! How a `mongod` is started.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::super::process::search_program;
use super::super::recipe::{Recipe, Started};
use super::wire::{Document, ask, order};
use super::{Kind, MongoServerBuilder};

/// The name of every replica set here.
pub(super) const SET: &str = "rs0";

/// The shared secret of the members of a set.
const KEY: &str = "c21hY2hlLXRlc3RraXQtc2V0LW9mLXRlc3RzLW9ubHk=";

/// MongoDB's own server.
pub(super) fn program() -> Option<PathBuf> {
    search_program("SMACHE_MONGOD", "mongod")
}

pub(super) fn recipe(program: PathBuf, builder: MongoServerBuilder) -> Recipe {
    let MongoServerBuilder { port, kind, arguments: extra } = builder;
    Recipe {
        name: "mongod".to_owned(),
        program,
        port,
        arguments: Box::new(move |port, data| arguments(port, data, kind, &extra)),
        ready: Box::new(move |started| {
            listens(started)?;
            if kind == Kind::Standalone { Ok(()) } else { is_primary_of_one(started.port) }
        }),
        stop: "TERM",
        // It keeps the writes that it acknowledged with its journal in either case.
        may_be_killed: true,
    }
}

/// A member of a set that is made when all of its members run.
pub(super) fn member(program: PathBuf, kind: Kind, extra: Vec<OsString>) -> Recipe {
    Recipe {
        name: "mongod".to_owned(),
        program,
        port: None,
        arguments: Box::new(move |port, data| arguments(port, data, kind, &extra)),
        ready: Box::new(listens),
        stop: "TERM",
        may_be_killed: true,
    }
}

fn arguments(port: u16, data: &Path, kind: Kind, extra: &[OsString]) -> Vec<OsString> {
    let began_before = fs::read_dir(data).is_ok_and(|mut files| files.next().is_some());
    let mut all: Vec<OsString> =
        ["--bind_ip", "127.0.0.1", "--nounixsocket", "--wiredTigerCacheSizeGB", "0.25"].map(Into::into).into();
    all.extend(["--port".into(), port.to_string().into(), "--dbpath".into(), data.into()]);
    // The tests read no diagnostic data, and their machine is small; a primary would wait 15 s for others before it
    // ends.
    for parameter in ["diagnosticDataCollectionEnabled=false", "shutdownTimeoutMillisForSignaledShutdown=0"] {
        all.extend(["--setParameter".into(), parameter.into()]);
    }
    if kind != Kind::Standalone {
        all.extend(["--replSet".into(), SET.into()]);
    }
    if kind == Kind::Guarded || (kind == Kind::GuardedOnceRestarted && began_before) {
        all.extend(["--keyFile".into(), key_file(&data.with_file_name("key")).into()]);
    }
    if !extra.iter().any(|argument| argument == "--oplogSize") {
        all.extend(["--oplogSize".into(), "128".into()]);
    }
    all.extend(extra.iter().cloned());
    all
}

/// A file that only its owner reads, as the server demands.
fn key_file(path: &Path) -> PathBuf {
    let outcome = fs::write(path, KEY).and_then(|()| owners_alone(path));
    if let Err(error) = outcome {
        panic!("cannot write {}: {error}", path.display());
    }
    path.to_owned()
}

#[cfg(unix)]
fn owners_alone(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
}

#[cfg(not(unix))]
fn owners_alone(_: &Path) -> std::io::Result<()> {
    Ok(())
}

/// Its own log says that it listens, which no other server on the port can fake, and it answers.
fn listens(started: &Started<'_>) -> Result<(), String> {
    if !started.log.contains("\"msg\":\"Waiting for connections\"") {
        return Err("it does not listen yet".to_owned());
    }
    order(started.port, &hello()).map(drop)
}

fn hello() -> Document {
    Document::new().number("hello", 1)
}

/// Makes the set, if there is none yet, and looks whether it has its primary.
fn is_primary_of_one(port: u16) -> Result<(), String> {
    let answer = order(port, &hello())?;
    if answer.is("isWritablePrimary") {
        return Ok(());
    }
    // One that has a set does not say its name before it has read its configuration: a second set is refused then.
    if answer.text("setName").is_none() {
        initiate(port, &[port])?;
    }
    Err("it is not the primary yet".to_owned())
}

/// Whether the server is the primary of its set; false as well if it does not answer.
pub(super) fn is_primary(port: u16) -> bool {
    ask(port, &hello()).is_ok_and(|answer| answer.is("isWritablePrimary"))
}

/// Whether the server is a secondary of its set.
pub(super) fn is_secondary(port: u16) -> bool {
    ask(port, &hello()).is_ok_and(|answer| answer.is("secondary"))
}

/// Makes a set of servers, by a command to one of them. A primary that is lost has a successor within some two seconds.
pub(super) fn initiate(port: u16, members: &[u16]) -> Result<(), String> {
    let member = |(id, port): (usize, &u16)| {
        Document::new().number("_id", i32::try_from(id).unwrap_or(i32::MAX)).text("host", &format!("127.0.0.1:{port}"))
    };
    let settings = Document::new().number("electionTimeoutMillis", 2_000).number("heartbeatIntervalMillis", 500);
    let config = Document::new()
        .text("_id", SET)
        .list("members", members.iter().enumerate().map(member))
        .document("settings", &settings);
    let answer = ask(port, &Document::new().document("replSetInitiate", &config)).map_err(|error| error.to_string())?;
    let message = answer.text("errmsg").unwrap_or_default();
    if answer.is("ok") || message.contains("already initialized") {
        return Ok(());
    }
    Err(format!("the set cannot be made: {message}"))
}

/// Makes the first user, with all rights.
pub(super) fn make_root(port: u16, name: &str, password: &str) -> Result<(), String> {
    let role = Document::new().text("role", "root").text("db", "admin");
    let user = Document::new().text("createUser", name).text("pwd", password).list("roles", [role]);
    let concern = Document::new().text("w", "majority");
    order(port, &user.document("writeConcern", &concern)).map(drop)
}

/// Makes a primary give its role away.
pub(super) fn step_down(port: u16) -> Result<(), String> {
    let command = Document::new().number("replSetStepDown", 10).number("secondaryCatchUpPeriodSecs", 8);
    order(port, &command).map(drop)
}
