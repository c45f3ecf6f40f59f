//! A server's answers to `doctor`.

use smache_core::{Examination, Finding, Result, Severity};

use super::link::Link;
use crate::{
    error::{failed, unexpected},
    examine::postgres::{ASK, Server, deaf, is_heard},
};

const NOTIFY: &str = "SELECT pg_notify($1, '')";

impl Link {
    /// Asks the server how it is set up, and whether workers of other processes are heard.
    pub(super) async fn examine(&self) -> Result<Examination> {
        let rows = self.read("examine", ASK, |query| query).await?;
        let row = rows.first().ok_or_else(|| unexpected("examine"))?;
        let server = Server::read(row).map_err(|error| failed(error, &self.server))?;
        let options = self.options();
        let notify =
            async |channel: String| self.step("examine", NOTIFY, |query| query.bind(channel.clone())).await.map(drop);
        let heard = is_heard(&options, notify).await;
        let (given, connections) = self.connections();
        let what = format!("PostgreSQL {} at {}", server.version(), self.server);
        // Waiting workers have one more, which they keep.
        let needed = if given { connections } else { connections.saturating_add(1) };
        let examination = server
            .judge(Examination::new(what), &options)
            .finding(given && connections < 2, || {
                let problem = "the pool has one connection, which workers keep while they wait for jobs: every step waits in \
                               vain then";
                Finding::new(Severity::Danger, problem, "give the pool at least two connections")
            })
            .finding(!given && connections < 2, || {
                let problem = "there is one connection: a long step makes all others wait";
                Finding::new(Severity::Advice, problem, "raise `connections`")
            })
            .finding(heard == Some(false), || deaf(Severity::Warning, "workers find the jobs of other processes by looking"));
        Ok(match server.lacks(needed) {
            None => examination,
            Some(most) => examination.finding(true, || {
                let problem = format!("this program may open {needed} connections and the server has {most} for all");
                Finding::new(Severity::Warning, problem, "raise its `max_connections`, or lower `connections`")
            }),
        })
    }
}
