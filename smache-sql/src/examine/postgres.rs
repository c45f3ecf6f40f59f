//! How a PostgreSQL server is set up, and how it is reached.

use std::time::Duration;

use smache_core::{Examination, Finding, Severity, Token, is_remote};
use sqlx::{
    Row,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions, PgRow, PgSslMode},
};

/// The questions to a server. Every role may see the answers.
pub(crate) const ASK: &str = "SELECT current_setting('server_version'), current_setting('fsync') = 'on', \
     current_setting('full_page_writes') = 'on', current_setting('synchronous_commit'), \
     current_setting('autovacuum') = 'on' AND current_setting('track_counts') = 'on', \
     current_setting('max_connections')::bigint - current_setting('superuser_reserved_connections')::bigint, \
     coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false), pg_is_in_recovery()";

/// How long a notification may take to arrive.
const HEARD_WITHIN: Duration = Duration::from_secs(2);

/// The answers of a server.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    version: String,
    synced: bool,
    whole_pages: bool,
    commits: String,
    vacuums: bool,
    connections: i64,
    encrypted: bool,
    standby: bool,
}

impl Server {
    pub(crate) fn read(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            version: row.try_get(0)?,
            synced: row.try_get(1)?,
            whole_pages: row.try_get(2)?,
            commits: row.try_get(3)?,
            vacuums: row.try_get(4)?,
            connections: row.try_get(5)?,
            encrypted: row.try_get(6)?,
            standby: row.try_get(7)?,
        })
    }

    /// `15.3`, without what a distribution adds.
    pub(crate) fn version(&self) -> &str {
        self.version.split(' ').next().unwrap_or_default()
    }

    /// How the server keeps acknowledged writes, and whether the network on the way can read them.
    pub(crate) fn judge(&self, examination: Examination, options: &PgConnectOptions) -> Examination {
        let remote = options.get_socket().is_none() && is_remote(options.get_host());
        // `prefer` and `require` encrypt without a look at the certificate.
        let verifies = matches!(options.get_ssl_mode(), PgSslMode::VerifyCa | PgSslMode::VerifyFull);
        examination
            .finding(remote && !self.encrypted, || Finding::in_the_clear("set `sslmode=verify-full` in the URL"))
            .finding(remote && self.encrypted && !verifies, || {
                Finding::unverified(
                    "set `sslmode=verify-full` in the URL, and `sslrootcert` for an authority of your own",
                )
            })
            .finding(!self.synced, || {
                let problem =
                    "the server does not wait for its disk: a power cut may lose or damage what it acknowledged";
                Finding::new(Severity::Danger, problem, "set `fsync = on`")
            })
            .finding(!self.whole_pages, || {
                let problem = "a power cut may leave half-written pages behind";
                Finding::new(Severity::Danger, problem, "set `full_page_writes = on`")
            })
            .finding(self.commits == "off", || {
                let problem = "the server acknowledges commits before they are on its disk: a crash forgets them";
                Finding::new(Severity::Danger, problem, "set `synchronous_commit = on` for the role")
            })
            .finding(!self.vacuums, || {
                let problem = "no process cleans up behind updates and deletions: the tables grow without end";
                Finding::new(Severity::Warning, problem, "set `autovacuum = on` and `track_counts = on`")
            })
    }

    /// Whether it follows another one, and is behind.
    pub(crate) fn is_standby(&self) -> bool {
        self.standby
    }

    /// Whether a pool may open more connections than there are; `own` is how many it has at most.
    pub(crate) fn lacks(&self, own: u32) -> Option<i64> {
        (i64::from(own) > self.connections).then_some(self.connections)
    }
}

/// Whether notifications arrive. A pooler that gives each transaction another connection lets none through. `None`
/// where the probe could not listen or notify.
pub(crate) async fn is_heard<E>(
    options: &PgConnectOptions,
    notify: impl AsyncFnOnce(String) -> Result<(), E>,
) -> Option<bool> {
    let channel = format!("smache_probe_{}", Token::random());
    let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(HEARD_WITHIN);
    let pool = pool.connect_lazy_with(options.clone());
    let listen = async {
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.listen(&channel).await?;
        Ok::<_, sqlx::Error>(listener)
    };
    let mut listener = tokio::time::timeout(HEARD_WITHIN, listen).await.ok()?.ok()?;
    notify(channel).await.ok()?;
    Some(matches!(tokio::time::timeout(HEARD_WITHIN, listener.try_recv()).await, Ok(Ok(Some(_)))))
}

/// The finding for a server whose notifications do not arrive.
pub(crate) fn deaf(severity: Severity, consequence: &str) -> Finding {
    let problem = format!("notifications do not arrive: {consequence}");
    Finding::new(severity, problem, "connect past the pooler, or have it keep a client on one connection")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Server {
        Server {
            version: "15.3 (Debian 15.3-1)".into(),
            synced: true,
            whole_pages: true,
            commits: "on".into(),
            vacuums: true,
            connections: 97,
            encrypted: false,
            standby: false,
        }
    }

    fn found(server: &Server, host: &str) -> Vec<Finding> {
        let options = PgConnectOptions::new_without_pgpass().host(host);
        server.judge(Examination::new("a server"), &options).findings
    }

    #[test]
    fn whatever_is_unsafe_is_found_with_its_fix() {
        assert_eq!(found(&good(), "localhost"), []);
        assert_eq!(found(&good(), "/run/postgresql"), []);
        let table = [
            (good(), "db.example.org", Severity::Danger, "sslmode"),
            (Server { synced: false, ..good() }, "localhost", Severity::Danger, "fsync"),
            (Server { whole_pages: false, ..good() }, "localhost", Severity::Danger, "full_page_writes"),
            (Server { commits: "off".into(), ..good() }, "localhost", Severity::Danger, "synchronous_commit"),
            (Server { vacuums: false, ..good() }, "localhost", Severity::Warning, "autovacuum"),
        ];
        for (server, host, severity, fix) in table {
            let [finding] = &found(&server, host)[..] else { panic!("{server:?}") };
            assert_eq!(finding.severity, severity, "{finding:?}");
            assert!(finding.fix.contains(fix), "{finding:?}");
        }
    }

    #[test]
    fn tls_that_verifies_nothing_is_found() {
        let encrypted = Server { encrypted: true, ..good() };
        let found = |mode, host: &str| {
            let options = PgConnectOptions::new_without_pgpass().host(host).ssl_mode(mode);
            encrypted.judge(Examination::new("a server"), &options).findings
        };
        for mode in [PgSslMode::Allow, PgSslMode::Prefer, PgSslMode::Require] {
            let [finding] = &found(mode, "db.example.org")[..] else { panic!("{mode:?} verifies nothing") };
            assert!(finding.severity == Severity::Danger && finding.problem.contains("not verified"), "{finding:?}");
            assert!(finding.fix.contains("sslmode=verify-full"), "{finding:?}");
            assert_eq!(found(mode, "localhost"), []);
        }
        for mode in [PgSslMode::VerifyCa, PgSslMode::VerifyFull] {
            assert_eq!(found(mode, "db.example.org"), []);
        }
    }

    #[test]
    fn a_server_has_a_short_version_and_a_number_of_connections() {
        assert_eq!(good().version(), "15.3");
        assert_eq!((good().lacks(97), good().lacks(98)), (None, Some(97)));
    }
}
