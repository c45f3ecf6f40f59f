//! A run that changes have overtaken may have seen them: what they concern is read again, and the same answers show it.
//!
//! The store tells at which clock it has compared and names all that changed until then. What is read after that is as good as
//! what a run reads that begins at this clock; all else has not changed until then. So a value that is made of the same is the
//! value of a run that began there, and changes from there on conflict with it as with any other.

use std::{panic::AssertUnwindSafe, time::Duration};

use futures_util::FutureExt;

use super::Run;
use crate::{
    Begun, Commit, Cx, Dependency, Overtaken, Result,
    cx::{Again, Read},
    system::{CallKey, Compared, Meta, Nest, count},
};

impl Run<'_> {
    /// The commit of a value that changes have overtaken until a clock: as of that clock if the run had seen them, and otherwise
    /// as it was, to be stored as stale.
    pub(super) async fn confirmed(
        &self,
        begun: &Begun,
        key: &CallKey,
        (cx, elapsed): (&Cx, Duration),
        commit: Commit,
        (clock, changed): (u64, &[Dependency]),
    ) -> Commit {
        let stale = Commit { overtaken: Overtaken::Store, ..commit };
        let Some(again) = self.again(cx, changed) else { return stale };
        // Whatever becomes of it, the value is there.
        let found = self.read_again(cx, again, clock).await;
        let Some(now) = found.and_then(Result::ok).and_then(Compared::same) else { return stale };
        now.tracked().calls_all(cx.tracked().called());
        // A child may have come to the same value through other functions.
        let meta = match Meta::read(&stale.meta) {
            Some(meta) => Meta { called: now.tracked().called(), ..meta }.write(),
            None => return stale,
        };
        match self.what_to_commit(begun, key, &now, stale.value.clone(), meta, elapsed) {
            Ok(commit) => {
                count(&self.inner.tally.confirmed);
                Commit { version: clock, ..commit }
            }
            Err(_) => stale,
        }
    }

    /// What shows, read again, whether the run had seen some changes; `None` if nothing does.
    pub(super) fn again(&self, cx: &Cx, changed: &[Dependency]) -> Option<Again> {
        cx.tracked().again(changed).filter(|again| again.reads.iter().all(|read| self.is_told_of(read)))
    }

    /// What the run uses at a clock, if it is the same; nothing if a source panics or does not answer in time.
    pub(super) async fn read_again(&self, cx: &Cx, again: Again, clock: u64) -> Option<Result<Compared<Cx>>> {
        let reading = AssertUnwindSafe(self.finds_the_same(cx, again, clock)).catch_unwind();
        tokio::time::timeout(self.inner.settings.store_timeout, reading).await.ok()?.ok()
    }

    /// Whether a feed tells of its changes: it tells of each, and of nothing else. What the application reports may mean more
    /// than what the entity shows.
    fn is_told_of(&self, read: &Read) -> bool {
        self.inner.routes.of(read.source()).is_some_and(|route| route.fed)
    }

    /// What the run uses now, if it is the same.
    async fn finds_the_same(&self, cx: &Cx, again: Again, clock: u64) -> Result<Compared<Cx>> {
        for read in &again.reads {
            let Some(source) = self.inner.sources.get(read.source()) else { return Ok(Compared::Unknown) };
            if !read.finds_the_same(source).await? {
                return Ok(Compared::Changed);
            }
        }
        let now = Cx::new(self.inner.clone(), Nest { started: Some(clock), ..cx.nest() });
        now.tracked().take_over(again.own);
        Ok(match self.inner.kids_are_unchanged(&now, &again.kids).await? {
            Compared::Same(()) => Compared::Same(now),
            Compared::Changed => Compared::Changed,
            Compared::Unknown => Compared::Unknown,
        })
    }
}
