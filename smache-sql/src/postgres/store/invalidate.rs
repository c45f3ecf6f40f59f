//! Invalidation: one call of a function, whatever the number of dependants.

use std::collections::HashMap;

use smache_core::{Dependency, EntryId, Invalidated, Invalidation, Result, support::limits::CAUSE_BYTES};

use super::{PostgresStore, Statement, feeds::positions};
use crate::{
    cells::{clip, id_list, millis, number},
    step::refused,
};

const INVALIDATE: &str = concat!(
    "SELECT * FROM smache_invalidate(",
    name!(),
    ", $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)"
);

/// The marks of an invalidation, as arrays.
pub(in crate::postgres) struct Marks<'a> {
    dependencies: Vec<&'a [u8]>,
    causes: Vec<String>,
    entries: Vec<&'a [u8]>,
    own: Vec<Option<String>>,
}

impl<'a> Marks<'a> {
    pub(in crate::postgres) fn of(Invalidation { changed, entries, .. }: &'a Invalidation) -> Self {
        let dependencies = changed.iter().map(|changed| changed.dependency.as_bytes().as_slice()).collect();
        let causes: Vec<String> = changed.iter().map(|changed| clip(&changed.cause, CAUSE_BYTES)).collect();
        // Why entries were named: their own dependencies are among the changed dependencies.
        let own: HashMap<&Dependency, &String> =
            changed.iter().map(|changed| &changed.dependency).zip(&causes).collect();
        let own = entries.iter().map(|id| own.get(&Dependency::entry(id)).copied().cloned()).collect();
        Self { dependencies, causes, entries: id_list(entries), own }
    }

    pub(in crate::postgres) fn bind(&self, query: Statement) -> Statement {
        query.bind(&self.dependencies).bind(&self.causes).bind(&self.entries).bind(&self.own)
    }
}

impl PostgresStore {
    pub(super) async fn invalidate_all(&self, invalidation: &Invalidation) -> Result<Invalidated> {
        let marks = Marks::of(invalidation);
        let step = &invalidation.step;
        let bind = |query: Statement| {
            let query = marks.bind(query.bind(self.writes_jobs()));
            match step {
                Some(step) => {
                    let query = query.bind(step.feed.as_str().to_owned()).bind(number(step.fence));
                    let query = query.bind(millis(step.leadership)).bind(step.incarnation.as_str().to_owned());
                    let deadline = step.deadline.map(|deadline| number(deadline.as_millis()));
                    positions(query, step).bind(step.valid_for.map(millis)).bind(deadline).bind(step.caught_up)
                }
                None => query
                    .bind(None::<String>)
                    .bind(None::<i64>)
                    .bind(None::<i64>)
                    .bind(None::<String>)
                    .bind(None::<Vec<String>>)
                    .bind(None::<Vec<Vec<u8>>>)
                    .bind(None::<Vec<Vec<u8>>>)
                    .bind(None::<i64>)
                    .bind(None::<i64>)
                    .bind(None::<bool>),
            }
        };
        let answer = self.step("invalidate", INVALIDATE, bind).await?;
        if let Some(step) = step {
            refused(answer.number("outcome")?, step)?;
        }
        let needy = answer.ids("needy")?;
        let invalidated =
            Invalidated { revision: answer.number("revision")?, marked: answer.number("marked")?, jobs: needy };
        Ok(Invalidated { jobs: self.reported(invalidated.jobs), ..invalidated })
    }

    /// The ids that the caller has to queue; where the step wrote the jobs, wakes their workers instead.
    pub(super) fn reported(&self, needy: Vec<EntryId>) -> Vec<EntryId> {
        if !self.writes_jobs() {
            return needy;
        }
        if !needy.is_empty() {
            self.notifier.notify();
        }
        Vec::new()
    }
}
