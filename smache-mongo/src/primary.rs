//! The primary of a replica set: whether a server is one, and its time.

use std::time::Duration;

use mongodb::{
    Database,
    bson::{Document, doc},
};
use smache_core::{Error, ErrorKind, Result};

use crate::{
    error::{bounded, standalone},
    position::ClusterTime,
};

/// The primary's answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Primary {
    /// The name of its replica set.
    pub(crate) set: String,
    /// The members of the set.
    pub(crate) hosts: Vec<String>,
    /// The cluster's clock: no write before the question has a later time.
    pub(crate) time: ClusterTime,
}

impl Primary {
    /// Asks the server of a database.
    ///
    /// # Errors
    /// `WrongServer` when it has no replica set or is a router of a sharded cluster, `Unavailable` when it cannot be
    /// reached or is not the primary.
    pub(crate) async fn ask(database: &Database, limit: Duration, doing: &str) -> Result<Self> {
        let hello = async { database.run_command(doc! { "hello": 1 }).await };
        let reply = bounded(limit, ErrorKind::Unavailable, doing, hello).await?;
        Self::read(&reply).map_err(|error| Error::new(error.kind(), format!("{doing}: {}", error.message())))
    }

    /// The server of a direct connection: it is sure to stay the primary only in a set of one.
    ///
    /// # Errors
    /// `Config` when it is one of several. Through a direct connection the driver asks the server in any role, so a
    /// former primary would go on answering from an old state.
    pub(crate) fn alone(self) -> Result<Self> {
        if self.hosts.len() < 2 {
            return Ok(self);
        }
        let fix = format!("use `replicaSet={}` in the URL, and leave `directConnection=true` away", self.set);
        let message = format!(
            "the server is one of {} in its replica set, and the URL leads to it alone: {fix}",
            self.hosts.len()
        );
        Err(Error::new(ErrorKind::Config, message))
    }

    fn read(reply: &Document) -> Result<Self> {
        if reply.get_str("msg") == Ok("isdbgrid") {
            // Its clock may be behind that of a shard that another router has written to, so nothing proves that a
            // stream through it is complete.
            let message = "the server is a router of a sharded cluster, whose change streams cannot confirm that they are complete: \
                           use a replica set";
            return Err(Error::new(ErrorKind::WrongServer, message));
        }
        // A server with authentication sends no `operationTime` until it has the keys to sign it.
        let last_write = || reply.get_document("lastWrite")?.get_document("opTime")?.get_timestamp("ts");
        let time = reply.get_timestamp("operationTime").or_else(|_| last_write());
        let (Ok(set), Ok(time)) = (reply.get_str("setName"), time) else {
            return Err(Error::new(ErrorKind::WrongServer, standalone()));
        };
        if !reply.get_bool("isWritablePrimary").unwrap_or(false) {
            // A direct connection, or a primary that has just stepped down.
            let message =
                "the server is not the primary of its replica set: connect to the set, not to one member of it";
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
        let hosts = reply.get_array("hosts").into_iter().flatten();
        let mut hosts: Vec<String> = hosts.filter_map(|host| host.as_str().map(str::to_owned)).collect();
        hosts.sort_unstable();
        Ok(Self { set: set.to_owned(), hosts, time: time.into() })
    }
}

#[cfg(test)]
mod tests {
    use mongodb::bson::Timestamp;

    use super::*;

    fn reply() -> Document {
        let time = Timestamp { time: 7, increment: 2 };
        doc! { "setName": "rs0", "hosts": ["b:1", "a:1"], "isWritablePrimary": true, "operationTime": time }
    }

    #[test]
    fn a_primary_tells_its_set_and_its_time() {
        let primary = Primary::read(&reply()).expect("a primary");
        assert_eq!((primary.set.as_str(), primary.hosts.join(",").as_str()), ("rs0", "a:1,b:1"));
        assert_eq!(primary.time, Timestamp { time: 7, increment: 2 }.into());
    }

    #[test]
    fn a_primary_that_has_no_keys_yet_tells_the_time_of_its_last_write() {
        let mut young = reply();
        let time = Timestamp { time: 9, increment: 1 };
        young.remove("operationTime");
        young.insert("lastWrite", doc! { "opTime": { "ts": time, "t": 1_i64 } });
        assert_eq!(Primary::read(&young).expect("a primary").time, time.into());
    }

    #[test]
    fn direct_way_to_one_of_several_is_refused_with_the_fix() {
        let mut one = reply();
        one.insert("hosts", vec!["a:1"]);
        assert!(Primary::read(&one).and_then(Primary::alone).is_ok());
        let error = Primary::read(&reply()).and_then(Primary::alone).expect_err("one of two");
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.message().contains("`replicaSet=rs0`"), "{error}");
    }

    #[test]
    fn other_servers_are_refused_with_the_fix() {
        let mut secondary = reply();
        secondary.insert("isWritablePrimary", false);
        let mut standalone = reply();
        standalone.remove("setName");
        let mut router = reply();
        router.insert("msg", "isdbgrid");
        for (reply, kind, fix) in [
            (secondary, ErrorKind::Unavailable, "connect to the set"),
            (standalone, ErrorKind::WrongServer, "rs.initiate()"),
            (router, ErrorKind::WrongServer, "use a replica set"),
        ] {
            let error = Primary::read(&reply).expect_err("not a primary");
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(fix), "{error}");
        }
    }
}
