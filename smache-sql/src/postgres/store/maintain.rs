//! Maintenance.

use smache_core::{Maintained, Result};

use super::PostgresStore;

const MAINTAIN: &str = concat!("SELECT * FROM smache_maintain(", name!(), ", $2, $3)");

impl PostgresStore {
    pub(super) async fn run_maintenance(&self, limit: usize) -> Result<Maintained> {
        let limit = i64::try_from(limit.max(1)).unwrap_or(i64::MAX).min(10_000);
        let answer = self.step("maintain", MAINTAIN, |query| query.bind(limit).bind(self.writes_jobs())).await?;
        Ok(Maintained {
            expired: answer.number("expired")?,
            reaped: answer.number("reaped")?,
            trimmed: answer.number("trimmed")?,
            redone: 0,
            marked: answer.number("marked")?,
            more: answer.get("more")?,
            jobs: self.reported(answer.ids("needy")?),
        })
    }
}
