//! SecantusDB, which speaks MongoDB's protocol and keeps a replica set's history of changes, in place of MongoDB.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use super::super::process::find_program;
use super::super::recipe::{Recipe, Started, takes_connections};
use super::{Kind, MongoServerBuilder};

pub(super) fn recipe(builder: MongoServerBuilder) -> Recipe {
    let MongoServerBuilder { port, kind, arguments: extra } = builder;
    Recipe {
        name: "secantusd-py".to_owned(),
        program: find_program("SMACHE_SECANTUSD", "secantusd-py"),
        port,
        arguments: Box::new(move |port, data| {
            let began_before = fs::read_dir(data).is_ok_and(|mut files| files.next().is_some());
            let mut all = arguments(port, data);
            match kind {
                Kind::Standalone => all.push("--standalone".into()),
                Kind::Guarded => all.push("--auth".into()),
                Kind::GuardedOnceRestarted if began_before => all.push("--auth".into()),
                Kind::Open | Kind::GuardedOnceRestarted => {}
            }
            all.extend(extra.iter().cloned());
            all
        }),
        ready: Box::new(ready),
        stop: "TERM",
        // It keeps acknowledged writes in either case.
        may_be_killed: true,
    }
}

fn arguments(port: u16, data: &Path) -> Vec<OsString> {
    // An empty configuration file keeps it from reading one in the home folder.
    let config = data.with_file_name("secantusd.toml");
    if let Err(error) = fs::write(&config, "") {
        panic!("cannot write {}: {error}", config.display());
    }
    let mut all: Vec<OsString> = vec!["--host".into(), "127.0.0.1".into(), "--port".into(), port.to_string().into()];
    all.extend(["--config".into(), config.into(), "--storage-path".into(), data.into()]);
    // Without it a killed server loses the writes that it acknowledged in its last fraction of a second, and reuses the
    // places of the lost changes in its history: a stream that is resumed from a lost change then skips the new ones in
    // silence.
    all.push("--sync-on-commit".into());
    all
}

/// Its own log says that it listens, which no other server on the port can fake, and the port takes connections.
fn ready(started: &Started<'_>) -> Result<(), String> {
    if !started.log.contains(&format!("listening on 127.0.0.1:{}", started.port)) {
        return Err("it does not listen yet".to_owned());
    }
    takes_connections(started)
}
