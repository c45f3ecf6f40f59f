//! Removing the entries and jobs of a function that no living program has.

use bytes::Bytes;
use futures_util::future::try_join_all;

use crate::{
    Dependency, EntryId, Error, ErrorKind, FunctionKey, JobState, JobWrites, Page, ProgramStep, Result,
    engine::{Engine, Functions},
};

/// How many entries and jobs are listed in one step.
const STEP: usize = 200;
/// How many entries are removed at the same time.
const AT_ONCE: usize = 16;

impl Engine {
    /// Removes all entries and jobs of a function by its id and version. Returns how many entries.
    pub(crate) async fn forget(&self, function: &str) -> Result<u64> {
        let name = function.rsplit_once('@').filter(|(id, version)| !id.is_empty() && version.parse::<u32>().is_ok());
        if name.is_none() {
            let message =
                format!("`{function}` names no version of a function: write its id and version, as `greeting@1`");
            return Err(Error::new(ErrorKind::Argument, message));
        }
        let programs = self.programs_step(ProgramStep::default()).await?;
        let functions = Functions::of(&programs);
        let named: Vec<_> = functions.0.iter().filter(|(_, known)| known.name == function).collect();
        let (living, dead): (Vec<_>, Vec<_>) = named.into_iter().partition(|(_, known)| known.until > programs.now);
        if let (Some((_, known)), true) = (living.first(), dead.is_empty()) {
            let message = format!(
                "the function `{function}` is one of the program `{}`, which is alive: end all programs that have it first",
                known.program
            );
            return Err(Error::new(ErrorKind::Argument, message));
        }
        let mut removed = 0;
        for (&key, _) in dead {
            removed += self.forget_function(key).await?;
        }
        Ok(removed)
    }

    async fn forget_function(&self, function: FunctionKey) -> Result<u64> {
        let mut removed = 0;
        loop {
            let (mut cursor, mut in_this_pass) = (None, 0);
            loop {
                let (some, next) = self.forget_page(function, cursor).await?;
                in_this_pass += some;
                cursor = next;
                if cursor.is_none() {
                    break;
                }
            }
            removed += in_this_pass;
            // A page may miss entries that move meanwhile.
            if in_this_pass == 0 {
                break;
            }
        }
        for state in [JobState::Queued, JobState::DeadLetter] {
            let mut cursor: Option<Bytes> = None;
            loop {
                let page = self.timed("list", self.queue.list(state, cursor, STEP)).await?;
                let ids: Vec<EntryId> =
                    page.jobs.iter().map(|job| job.id).filter(|id| id.function() == function).collect();
                if !ids.is_empty() {
                    self.timed("discard", self.queue.discard(&ids)).await?;
                }
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
            }
        }
        Ok(removed)
    }

    /// Removes a page of the entries of a function. Returns how many, and where the next page begins. A caller of a
    /// removed entry keeps the dependencies of that entry, and runs again if it is stale.
    pub(super) async fn forget_page(
        &self,
        function: FunctionKey,
        cursor: Option<Bytes>,
    ) -> Result<(u64, Option<Bytes>)> {
        let dependency = Dependency::function(function);
        let page = Page { cursor, limit: STEP };
        let page = self.timed("dependants", self.store.dependants(&dependency, page)).await?;
        let ids: Vec<EntryId> = page.entries.iter().map(|(id, _)| *id).filter(|id| id.function() == function).collect();
        let mut removed = 0;
        for some in ids.chunks(AT_ONCE) {
            let removals: Vec<_> = some
                .iter()
                .map(|&id| async move { self.timed("remove", self.store.remove(&id, None)).await })
                .collect();
            removed += try_join_all(removals).await?.into_iter().filter(|removed| *removed).count() as u64;
        }
        if !ids.is_empty() && self.store.job_writes() == JobWrites::Reported {
            self.timed("discard", self.queue.discard(&ids)).await?;
        }
        Ok((removed, page.next))
    }
}
