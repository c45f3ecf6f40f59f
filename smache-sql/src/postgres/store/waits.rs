//! Runs that wait for runs of other processes.

use smache_core::{EntryId, RecordWaits, Result, support::limits::WAITS};

use super::PostgresStore;
use crate::{
    cells::{id_list, millis},
    waits::leading_on,
};

const RECORD_WAITS: &str = concat!("SELECT ids, children FROM smache_record_waits(", name!(), ", $2, $3, $4, $5, $6)");

impl PostgresStore {
    pub(super) async fn record_waits_of_runs(&self, wait: &RecordWaits) -> Result<Vec<(EntryId, EntryId)>> {
        let ids: Vec<EntryId> = wait.runs.iter().map(|run| run.id).collect();
        let children: Vec<EntryId> = wait.runs.iter().map(|run| run.child).collect();
        let tokens: Vec<Vec<u8>> = wait.runs.iter().map(|run| run.token.as_bytes().to_vec()).collect();
        let bind = |query: super::Statement| {
            let query = query.bind(id_list(&ids)).bind(&tokens).bind(id_list(&children));
            query.bind(millis(wait.lease)).bind(WAITS as i64)
        };
        let answer = self.step("record_waits", RECORD_WAITS, bind).await?;
        let ids: Option<Vec<Vec<u8>>> = answer.get("ids")?;
        let children: Option<Vec<Vec<u8>>> = answer.get("children")?;
        let id = |bytes: &Vec<u8>| EntryId::from_slice(bytes);
        let pairs = ids.iter().flatten().zip(children.iter().flatten());
        let all = pairs.map(|(run, child)| Ok((id(run)?, id(child)?))).collect::<Result<Vec<_>>>()?;
        Ok(leading_on(wait.child, &all))
    }
}
