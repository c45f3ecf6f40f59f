//! Identifies the server of a connection, and checks that it can be used.

use redis::{Value, aio::MultiplexedConnection};
use smache_core::{ErrorKind, Incarnation, Result};

use crate::error::{failed, unexpected, wrong_server};

/// The server's answer to `INFO`.
pub(crate) struct Info(String);

impl Info {
    /// The sections, one by one, since only Redis 7 takes several at once.
    pub(crate) const SECTIONS: [&str; 5] = ["server", "replication", "memory", "persistence", "cluster"];

    /// Joins the answers.
    pub(crate) fn of(answers: Vec<Value>, server: &str) -> Result<Self> {
        let mut text = String::new();
        for answer in answers {
            match answer {
                Value::BulkString(bytes) => text.push_str(&String::from_utf8_lossy(&bytes)),
                Value::VerbatimString { text: section, .. } => text.push_str(&section),
                Value::ServerError(error) => {
                    let error = failed(error.into(), server);
                    let missing = error.kind() == ErrorKind::Permission;
                    return Err(if missing { error.with_context("grant", "+info") } else { error });
                }
                _ => return Err(unexpected("INFO")),
            }
            text.push('\n');
        }
        Ok(Self(text))
    }

    /// The value of a field, if there is one.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let value = self.0.lines().find_map(|line| line.trim_end().strip_prefix(name)?.strip_prefix(':'));
        value.filter(|value| !value.is_empty())
    }
}

impl From<String> for Info {
    fn from(text: String) -> Self {
        Self(text)
    }
}

/// Checks the server of a new connection before its first use.
pub(crate) async fn check_server(connection: &mut MultiplexedConnection, server: &str) -> Result<Incarnation> {
    let mut sections = redis::pipe();
    for section in Info::SECTIONS {
        sections.cmd("INFO").arg(section);
    }
    let answers = connection.send_packed_commands(&sections, 0, Info::SECTIONS.len()).await;
    judge(&Info::of(answers.map_err(|error| failed(error, server))?, server)?, server)
}

/// Whether a server is a primary, by its replication section; and whether it still has the history of an incarnation: a
/// former replica has another one.
pub(crate) fn still(info: &Info, incarnation: &Incarnation) -> (bool, bool) {
    let history = incarnation.as_str().split_once('/').map(|(_, history)| history);
    (info.field("role").is_none_or(|role| role == "master"), info.field("master_replid") == history)
}

fn judge(info: &Info, server: &str) -> Result<Incarnation> {
    let field = |name| info.field(name);
    let (Some(version), Some(run), Some(replication)) =
        (field("redis_version"), field("run_id"), field("master_replid"))
    else {
        return Err(wrong_server(
            "the server does not describe itself like a Redis: use Redis 6.2 or newer".to_owned(),
            server,
        ));
    };
    let mut numbers = version.split('.').map(|part| part.parse().unwrap_or(0_u32));
    if (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < (6, 2) {
        return Err(wrong_server(format!("the server is Redis {version}: use 6.2 or newer"), server));
    }
    if field("cluster_enabled") == Some("1") {
        return Err(wrong_server(
            "the server is in cluster mode, which is not supported: use a single primary".to_owned(),
            server,
        ));
    }
    if field("role").is_some_and(|role| role != "master") {
        return Err(wrong_server("the server is a replica: connect to the primary".to_owned(), server));
    }
    if let Some(policy) = field("maxmemory_policy").filter(|policy| policy.starts_with("allkeys-")) {
        let fix = "its bookkeeping may be evicted: set `maxmemory-policy` to `noeviction` or `volatile-lru`";
        return Err(wrong_server(format!("the server evicts any key (`{policy}`), so that {fix}"), server));
    }
    Ok(Incarnation::new(format!("{run}/{replication}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# Server\r\nredis_version:7.0.15\r\nrun_id:abc\r\nrole:master\r\nmaster_replid:def\r\n\
                        maxmemory_policy:noeviction\r\ncluster_enabled:0\r\n";

    #[test]
    fn an_incarnation_is_the_run_and_the_history_of_the_server() {
        assert_eq!(judge(&GOOD.to_owned().into(), "localhost").expect("a good server").as_str(), "abc/def");
        assert!(judge(&GOOD.replace("noeviction", "volatile-lru").into(), "localhost").is_ok());
        assert!(judge(&GOOD.replace("7.0.15", "6.2.0").into(), "localhost").is_ok());
    }

    #[test]
    fn a_demotion_and_what_came_after_it_are_noticed() {
        let known = judge(&GOOD.to_owned().into(), "localhost").expect("a good server");
        assert_eq!(still(&GOOD.to_owned().into(), &known), (true, true));
        assert_eq!(still(&GOOD.replace("role:master", "role:slave").into(), &known), (false, true));
        assert_eq!(still(&GOOD.replace("replid:def", "replid:xyz").into(), &known), (true, false));
    }

    #[test]
    fn a_server_that_cannot_be_used_is_refused_with_the_reason() {
        let table = [
            (("7.0.15", "6.0.16"), "6.2"),
            (("role:master", "role:slave"), "primary"),
            (("cluster_enabled:0", "cluster_enabled:1"), "cluster"),
            (("noeviction", "allkeys-lru"), "volatile-lru"),
            (("run_id:abc", "run_id:"), "Redis"),
        ];
        for ((good, bad), reason) in table {
            let error = judge(&GOOD.replace(good, bad).into(), "localhost").expect_err(bad);
            assert_eq!(error.kind(), ErrorKind::WrongServer, "{bad}");
            assert!(error.to_string().contains(reason), "{error}");
        }
    }
}
