//! A run that changes have overtaken may have seen them: it reads the affected data again, and the same answers prove
//! it.
//!
//! The store names the revision of its comparison and everything that changed up to it. A read after that is as good as
//! a read of a run that begins at this revision, and everything else has not changed up to it. So a value made of the
//! same answers is the value of a run that began there, and later changes conflict with it as with any other.

use std::{panic::AssertUnwindSafe, time::Duration};

use futures_util::FutureExt;

use super::Run;
use crate::{
    Commit, Cx, Dependency, OnConflict, Result,
    counters::count,
    engine::nested::Compared,
    tracking::{Again, CallFrame, Meta, Read},
};

impl Run<'_> {
    /// The commit of a value that changes up to a revision have overtaken: as of that revision if the run had seen
    /// them; otherwise unchanged, to be stored as stale.
    pub(super) async fn reread(
        &self,
        (cx, elapsed): (&Cx, Duration),
        commit: Commit,
        (revision, changed): (u64, &[Dependency]),
    ) -> Commit {
        let stale = Commit { on_conflict: OnConflict::StoreStale, ..commit };
        let Some(again) = self.again(cx, changed) else { return stale };
        // An error or a timeout here does no harm: the value is there.
        let found = self.read_again(cx, again, revision).await;
        let Some(now) = found.and_then(Result::ok).and_then(Compared::same) else { return stale };
        now.tracked().calls_all(cx.tracked().called());
        // A child may have computed the same value through other functions.
        let meta = match Meta::read(&stale.meta) {
            Some(meta) => Meta { called: now.tracked().called(), ..meta }.write(),
            None => return stale,
        };
        match self.what_to_commit(&now, stale.value.clone(), meta, elapsed) {
            Ok(commit) => {
                count(&self.engine.tally.reread);
                Commit { version: revision, ..commit }
            }
            Err(_) => stale,
        }
    }

    /// The reads whose repetition shows whether the run had seen some changes; `None` if there are none.
    pub(super) fn again(&self, cx: &Cx, changed: &[Dependency]) -> Option<Again> {
        cx.tracked().again(changed).filter(|again| again.reads.iter().all(|read| self.is_told_of(read)))
    }

    /// The uses of the run at a revision, if they are the same; `None` if a source panics or does not answer in time.
    pub(super) async fn read_again(&self, cx: &Cx, again: Again, revision: u64) -> Option<Result<Compared<Cx>>> {
        let reading = AssertUnwindSafe(self.finds_the_same(cx, again, revision)).catch_unwind();
        tokio::time::timeout(self.engine.settings.store_timeout, reading).await.ok()?.ok()
    }

    /// Whether a feed delivers the changes of the read's source: a feed delivers all changes and nothing else. A report
    /// of the application may mean more than the entity shows.
    fn is_told_of(&self, read: &Read) -> bool {
        self.engine.routes.of(read.source()).is_some_and(|route| route.fed)
    }

    /// The present uses of the run, if they are the same.
    async fn finds_the_same(&self, cx: &Cx, again: Again, revision: u64) -> Result<Compared<Cx>> {
        for read in &again.reads {
            let Some(source) = self.engine.sources.get(read.source()) else { return Ok(Compared::Unknown) };
            if !read.finds_the_same(source).await? {
                return Ok(Compared::Changed);
            }
        }
        let now = Cx::new(self.engine.clone(), CallFrame { start_revision: Some(revision), ..cx.frame() });
        now.tracked().take_over(again.own);
        Ok(match self.engine.children_are_unchanged(&now, &again.child_calls).await? {
            Compared::Same(()) => Compared::Same(now),
            Compared::Changed => Compared::Changed,
            Compared::Unknown => Compared::Unknown,
        })
    }
}
