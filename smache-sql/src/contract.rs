//! The part that the stores on both databases have in common: which of their methods is which step.

/// The contract of a store for a type with the fields `link`, `name` and `jobs`, and a method for every step. The
/// methods are in several files by subject, which the methods of a trait cannot be.
macro_rules! cache_store {
    ($store:ident) => {
        const _: () = {
            use std::{fmt, time::Duration};

            use async_trait::async_trait;
            use smache_core::{
                Abort, Begin, BeginOutcome, ChangedSince, Commit, CommitOutcome, Dependants, Dependency, EntryId,
                EntryStore, Epoch, Examination, FeedId, FeedStep, FeedStore, FullRecord, InspectStore, Invalidated,
                Invalidation, InvalidationStore, JobWrites, Leadership, Lookup, Maintained, Page, Positions,
                ProgramStep, Programs, Record, RecordWaits, Result, Scanned, SourceId, StoreStats, Token,
            };

            impl $store {
                fn writes_jobs(&self) -> bool {
                    self.jobs == JobWrites::SameStep
                }
            }

            #[async_trait]
            impl EntryStore for $store {
                fn job_writes(&self) -> JobWrites {
                    self.jobs
                }

                async fn lookup(&self, ids: &[EntryId]) -> Result<Lookup> {
                    self.look_up(ids).await
                }

                async fn read_record(&self, id: &EntryId) -> Result<FullRecord> {
                    self.read_full_record(id).await
                }

                async fn begin(&self, begin: Begin) -> Result<BeginOutcome> {
                    self.begin_run(&begin).await
                }

                async fn commit(&self, commit: Commit) -> Result<CommitOutcome> {
                    self.commit_run(&commit).await
                }

                async fn changed_since(&self, revision: u64, dependencies: &[Dependency]) -> Result<ChangedSince> {
                    self.changes_since(revision, dependencies).await
                }

                async fn abort(&self, abort: Abort) -> Result<bool> {
                    self.abort_run(&abort).await
                }

                async fn extend(&self, runs: &[(EntryId, Token)], lease: Duration) -> Result<Vec<bool>> {
                    self.extend_runs(runs, lease).await
                }

                async fn record_waits(&self, wait: RecordWaits) -> Result<Vec<(EntryId, EntryId)>> {
                    self.record_waits_of_runs(&wait).await
                }

                async fn remove(&self, id: &EntryId, token: Option<Token>) -> Result<bool> {
                    self.remove_entry(id, token).await
                }
            }

            #[async_trait]
            impl InvalidationStore for $store {
                async fn invalidate(&self, invalidation: Invalidation) -> Result<Invalidated> {
                    self.invalidate_all(&invalidation).await
                }

                async fn new_epoch(&self) -> Result<Epoch> {
                    self.start_epoch().await
                }

                async fn maintain(&self, limit: usize) -> Result<Maintained> {
                    self.run_maintenance(limit).await
                }
            }

            #[async_trait]
            impl FeedStore for $store {
                async fn attach(&self, sources: &[SourceId]) -> Result<()> {
                    self.attach_sources(sources).await
                }

                async fn keep_attached(&self, valid_for: Duration) -> Result<()> {
                    self.keep_sources_attached(valid_for).await
                }

                async fn lead(&self, feed: &FeedId, holder: Token, lease: Duration) -> Result<Leadership> {
                    self.lead_feed(feed, holder, lease).await
                }

                async fn resign(&self, feed: &FeedId, fence: u64) -> Result<()> {
                    self.resign_feed(feed, fence).await
                }

                async fn positions(&self, sources: &[SourceId]) -> Result<Positions> {
                    self.saved_positions(sources).await
                }

                async fn restart(&self, step: FeedStep) -> Result<()> {
                    self.restart_sources(&step).await
                }

                async fn programs(&self, step: ProgramStep) -> Result<Programs> {
                    self.step_of_programs(&step).await
                }
            }

            #[async_trait]
            impl InspectStore for $store {
                async fn stale(&self, page: Page) -> Result<Scanned> {
                    self.stale_page(&page).await
                }

                async fn inspect(&self, id: &EntryId) -> Result<Option<Record>> {
                    self.read_full_record(id).await.map(|full| full.record)
                }

                async fn dependants(&self, dependency: &Dependency, page: Page) -> Result<Dependants> {
                    self.dependants_page(dependency, &page).await
                }

                async fn examine(&self) -> Result<Examination> {
                    self.link.examine().await
                }

                async fn stats(&self) -> Result<StoreStats> {
                    self.numbers().await
                }
            }

            impl fmt::Debug for $store {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.debug_struct(stringify!($store))
                        .field("namespace", &self.name)
                        .field("jobs", &self.jobs)
                        .field("link", &self.link)
                        .finish_non_exhaustive()
                }
            }
        };
    };
}

pub(crate) use cache_store;
