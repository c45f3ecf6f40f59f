//! Examines a server.

use redis::ConnectionAddr;
use smache_core::{Examination, Finding, Result, Severity, is_remote, support::limits::ALMOST_FULL};

use crate::{connection::Link, handshake::Info};

/// The data on a server, which is lost with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holds {
    /// Results, which can be computed again, and jobs.
    Results,
    /// The entities of a source, which are nowhere else.
    Data,
}

impl Link {
    /// Asks the server how it is set up.
    pub(crate) async fn examine(&self, holds: Holds) -> Result<Examination> {
        let mut sections = redis::pipe();
        for section in Info::SECTIONS {
            sections.cmd("INFO").arg(section);
        }
        let (values, _) = self.read(&sections).await?;
        let info = Info::of(values, self.server())?;
        Ok(judge(&info, self.server(), Way::to(self.client().get_connection_info().addr()), holds))
    }
}

/// The attacks that the connection allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Safe,
    /// Read the data.
    Clear,
    /// Answer in the server's place.
    Unverified,
}

impl Way {
    fn to(address: &ConnectionAddr) -> Self {
        match address {
            ConnectionAddr::Tcp(host, _) if is_remote(host) => Self::Clear,
            ConnectionAddr::TcpTls { host, insecure: true, .. } if is_remote(host) => Self::Unverified,
            _ => Self::Safe,
        }
    }
}

fn judge(info: &Info, server: &str, way: Way, holds: Holds) -> Examination {
    let version = info.field("redis_version").unwrap_or("of an unknown version");
    let number = |name| info.field(name).and_then(|value| value.parse::<f64>().ok());
    let policy = info.field("maxmemory_policy").unwrap_or("noeviction");
    let used = number("used_memory").zip(number("maxmemory")).filter(|(_, limit)| *limit > 0.0);
    let share = used.map_or(0.0, |(used, limit)| used / limit);
    Examination::new(format!("Redis {version} at {server}"))
        .finding(policy.starts_with("allkeys-"), || {
            let problem = format!("the server evicts any key (`{policy}`), bookkeeping included");
            Finding::new(Severity::Danger, problem, "set `maxmemory-policy` to `noeviction`")
        })
        .finding(way == Way::Clear, || Finding::in_the_clear("use TLS: `rediss://…`"))
        .finding(way == Way::Unverified, || {
            Finding::unverified("leave `#insecure` away from the URL, and give the server a certificate of its name")
        })
        .finding(info.field("rdb_last_bgsave_status") == Some("err"), || {
            let problem = "the last snapshot failed, so that the server may refuse writes";
            Finding::new(Severity::Warning, problem, "make room on its disk, or see its log")
        })
        .finding(share >= ALMOST_FULL, || {
            let problem =
                format!("{:.0} % of `maxmemory` are used; when it is full, writes are refused", share * 100.0);
            let fix = match holds {
                Holds::Results => "raise `maxmemory`, or give results a `ttl`",
                Holds::Data => "raise `maxmemory`, or remove entities",
            };
            Finding::new(Severity::Warning, problem, fix)
        })
        .finding(info.field("aof_enabled") == Some("0"), || {
            let (severity, problem) = match holds {
                Holds::Results => (
                    Severity::Advice,
                    "results do not survive a restart of the server: everything is computed again, and dead letters are \
                     forgotten",
                ),
                Holds::Data => (
                    Severity::Danger,
                    "entities do not survive a restart of the server, but for those of its last snapshot",
                ),
            };
            Finding::new(severity, problem, "set `appendonly yes`")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(info: &str, way: Way) -> Vec<(Severity, String)> {
        let examination = judge(&Info::from(info.to_owned()), "db:6379", way, Holds::Results);
        assert_eq!(examination.what, "Redis 7.0.15 at db:6379");
        examination
            .findings
            .into_iter()
            .map(|finding| (finding.severity, finding.problem + "; " + &finding.fix))
            .collect()
    }

    const GOOD: &str = "redis_version:7.0.15\r\nmaxmemory_policy:noeviction\r\nmaxmemory:0\r\nused_memory:100\r\n\
                        aof_enabled:1\r\nrdb_last_bgsave_status:ok\r\n";

    #[test]
    fn a_durable_server_on_this_machine_has_nothing_against_it() {
        assert_eq!(found(GOOD, Way::Safe), []);
    }

    #[test]
    fn data_that_are_lost_with_the_server_are_worse_than_results() {
        let info = Info::from(GOOD.replace("aof_enabled:1", "aof_enabled:0").replace("maxmemory:0", "maxmemory:110"));
        let severities = |holds| {
            let findings = judge(&info, "db:6379", Way::Safe, holds).findings;
            findings.into_iter().map(|finding| (finding.severity, finding.fix)).collect::<Vec<_>>()
        };
        let results = severities(Holds::Results);
        let data = severities(Holds::Data);
        assert_eq!((results[1].0, data[1].0), (Severity::Advice, Severity::Danger));
        assert!(results[0].1.contains("ttl") && data[0].1.contains("remove entities"), "{results:?} {data:?}");
    }

    #[test]
    fn whatever_is_unsafe_is_found_with_its_fix() {
        let table = [
            (("noeviction", "allkeys-lru"), Severity::Danger, "maxmemory-policy"),
            (("maxmemory:0", "maxmemory:110"), Severity::Warning, "ttl"),
            (("aof_enabled:1", "aof_enabled:0"), Severity::Advice, "appendonly"),
            (("status:ok", "status:err"), Severity::Warning, "disk"),
        ];
        for ((good, bad), severity, fix) in table {
            let found = found(&GOOD.replace(good, bad), Way::Safe);
            assert_eq!((found.len(), found[0].0), (1, severity), "{bad}");
            assert!(found[0].1.contains(fix), "{found:?}");
        }
        let clear = found(GOOD, Way::Clear);
        assert!(clear.len() == 1 && clear[0].0 == Severity::Danger && clear[0].1.contains("rediss://"), "{clear:?}");
        let unverified = found(GOOD, Way::Unverified);
        assert!(unverified.len() == 1 && unverified[0].0 == Severity::Danger, "{unverified:?}");
        assert!(unverified[0].1.contains("not verified") && unverified[0].1.contains("#insecure"), "{unverified:?}");
    }

    #[test]
    fn a_way_is_safe_where_it_is_verified_or_stays_on_this_machine() {
        let tls =
            |host: &str, insecure| ConnectionAddr::TcpTls { host: host.into(), port: 6379, insecure, tls_params: None };
        for (address, way) in [
            (ConnectionAddr::Tcp("db.example.org".into(), 6379), Way::Clear),
            (ConnectionAddr::Tcp("localhost".into(), 6379), Way::Safe),
            (tls("db.example.org", true), Way::Unverified),
            (tls("db.example.org", false), Way::Safe),
            (tls("localhost", true), Way::Safe),
        ] {
            assert_eq!(Way::to(&address), way, "{address:?}");
        }
    }
}
