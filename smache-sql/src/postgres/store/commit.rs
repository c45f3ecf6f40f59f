//! The commit of a run, one call of a function, which compares and stores; and `changed_since`.

use smache_core::{
    ChangedSince, Commit, CommitOutcome, Dependency, Result, Timestamp, UsedDependency,
    support::{distinct, edges, limits::NAMED_CONFLICTS},
};

use super::{PostgresStore, runs::bytes};
use crate::{
    cells::{millis, number, time},
    changed,
    error::unexpected,
    record::via_number,
};

const COMMIT: &str = concat!(
    "SELECT * FROM smache_commit(",
    name!(),
    ", $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)"
);
const CHANGED_SINCE: &str = include_str!("../../../queries/postgres/changed_since.sql");

impl PostgresStore {
    pub(super) async fn commit_run(&self, commit: &Commit) -> Result<CommitOutcome> {
        let dependencies: Vec<&[u8]> = commit.used.iter().map(|used| used.dependency.as_bytes().as_slice()).collect();
        let vias: Vec<i64> = commit.used.iter().map(|used| via_number(used.via)).collect();
        let bind = |query: super::Statement| {
            query
                .bind(bytes(&commit.id))
                .bind(commit.token.as_bytes().to_vec())
                .bind(number(commit.start_revision))
                .bind(number(commit.version))
                .bind(commit.most_reported() as i64)
                .bind(commit.incarnation.as_str().to_owned())
                .bind(commit.epochs.encode())
                .bind(&commit.call[..])
                .bind(&commit.value[..])
                .bind(&commit.meta[..])
                .bind(UsedDependency::encode_edges(&edges(&commit.used)))
                .bind(&dependencies)
                .bind(&vias)
                .bind(commit.ttl.map(millis))
                .bind(commit.not_after.map(time))
                .bind(commit.tainted)
                .bind(commit.lazy)
                .bind(millis(commit.conflict_delay))
                .bind(self.writes_jobs())
        };
        let answer = self.step("commit", COMMIT, bind).await?;
        let now = Timestamp::from_millis(answer.number("now")?);
        let conflicts: Option<Vec<Vec<u8>>> = answer.get("conflicts")?;
        let conflicts = conflicts.unwrap_or_default();
        let conflicts = conflicts.iter().map(|dependency| Dependency::from_slice(dependency));
        Ok(match answer.number("outcome")? {
            0 => CommitOutcome::Fresh { now },
            1 => {
                if self.writes_jobs() && !commit.lazy {
                    self.notifier.notify();
                }
                let changed = conflicts.collect::<Result<Vec<_>>>()?;
                CommitOutcome::Conflicted { now, dependencies: distinct(changed, NAMED_CONFLICTS) }
            }
            4 => CommitOutcome::ConflictReported {
                now,
                revision: answer.number("revision")?,
                dependencies: conflicts.collect::<Result<Vec<_>>>()?,
            },
            2 => CommitOutcome::Lost,
            3 => CommitOutcome::OtherIncarnation,
            _ => return Err(unexpected("commit")),
        })
    }

    pub(super) async fn changes_since(&self, revision: u64, of: &[Dependency]) -> Result<ChangedSince> {
        let all: Vec<&[u8]> = of.iter().map(|dependency| dependency.as_bytes().as_slice()).collect();
        for _ in 0..2 {
            let bind = |query: super::Statement| query.bind(self.name.clone()).bind(&all).bind(number(revision));
            let rows = self.link.read("changed_since", CHANGED_SINCE, bind).await?;
            if let Some(found) = changed::read(&rows, &self.link.server, (revision, of))? {
                return Ok(found);
            }
            // The look-up makes the namespace.
            self.look_up(&[]).await?;
        }
        Err(unexpected("changed_since"))
    }
}
