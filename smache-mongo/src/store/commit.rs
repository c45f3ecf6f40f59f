//! Commits a value in three steps: beside the stored one, then checked, then in its place.
//!
//! One step cannot check and store a value, because the check reads other documents. So a commit takes three:
//!
//! 1. It puts the value beside the stored one, with its edges, on condition that the run is the present one. Readers
//!    still see the stored value, as fresh or stale as it is.
//! 2. It reads the namespace, and the changes of the used dependencies. An invalidation announces its change before it
//!    looks for dependants: either this step reads that change, or the invalidation finds the edges and notes on the
//!    document that it affects them.
//! 3. It moves the value to its place and ends the run: as fresh if the check found no change and no invalidation left
//!    a note, and else as stale.
//!
//! A commit has a name, so that a late command of one commit never takes effect on the value of another. A run that has
//! received a conflict report cannot commit with `OnConflict::Report` again: the notes on its value are gone with the
//! value.
//!
//! A crash before the third step has stored nothing: the run lapses, and the next `begin` or maintenance drops the
//! value beside the stored one. The run lasts until the last step, so no other run begins in between, and maintenance
//! keeps the changes with which this one compares.

#[cfg(test)]
mod tests;

use std::collections::HashSet;

use futures_util::TryStreamExt;
use mongodb::bson::{Bson, Document, doc};
use smache_core::{
    ChangedSince, Commit, CommitOutcome, Dependency, JobWrites, OnConflict, Result,
    support::{distinct, limits::NAMED_CONFLICTS},
};

use super::{Inner, runs::drop_next};
use crate::{
    error::corrupt,
    expression::{after, cond, gone, has_record, keep, literal, millis, now, number, tidy, time},
    job,
    keys::{STATE, binary, changed_of},
    namespace::{NamespaceDoc, Seen, and, look},
    record::edges,
};

/// The most dependencies in one command.
const PER_COMMAND: usize = 500;

/// The result of a check.
struct Checked {
    namespace: NamespaceDoc,
    conflicts: HashSet<Dependency>,
    /// 0 fresh, 1 maybe stale, 2 stale.
    level: i64,
    /// Whether the answer is a report of these changes.
    is_reported: bool,
}

/// The name of a commit. A run makes at most one commit that asks for a report, and one for each version that does not.
fn name_of(commit: &Commit) -> Vec<u8> {
    let asks = u8::from(commit.on_conflict == OnConflict::Report);
    [&commit.token.as_bytes()[..], &commit.version.to_be_bytes(), &[asks]].concat()
}

impl Checked {
    /// The conflict report for a commit that asks for one. A change that the check has not read is announced after it,
    /// so its revision is later than the one that the check read.
    fn report(&self, commit: &Commit) -> Option<CommitOutcome> {
        self.is_reported.then(|| CommitOutcome::ConflictReported {
            now: self.namespace.now,
            revision: self.namespace.revision,
            dependencies: self.named(commit, OnConflict::MAX_REPORTED),
        })
    }

    /// The conflicts in the order of use, each once.
    fn named(&self, commit: &Commit, most: usize) -> Vec<Dependency> {
        let used = commit.used.iter().map(|used| used.dependency);
        distinct(used.filter(|used| self.conflicts.contains(used)), most)
    }
}

impl Inner {
    pub(super) async fn commit_run(&self, commit: &Commit) -> Result<CommitOutcome> {
        // A repeated commit, while the first is still on its way, has the same name: either may end it.
        let by = &name_of(commit);
        if !self.put_beside(commit, by).await? {
            if commit.on_conflict == OnConflict::Report && self.was_told(commit).await? {
                return self.told_again(commit).await;
            }
            let namespace = look(&self.link, &self.keys, "commit", Vec::new()).await?.namespace;
            let other = namespace.incarnation != commit.incarnation;
            return Ok(if other { CommitOutcome::OtherIncarnation } else { CommitOutcome::Lost });
        }
        let mut checked = self.check(commit).await?;
        if checked.namespace.incarnation != commit.incarnation {
            self.take_away(commit, by).await?;
            return Ok(CommitOutcome::OtherIncarnation);
        }
        if checked.level == 0 {
            if self.put_in_place(commit, by, 0, true).await? {
                return Ok(CommitOutcome::Fresh { now: checked.namespace.now });
            }
            // An invalidation has affected the value in between; the check can read its change now.
            checked = self.check(commit).await?;
        }
        if let Some(report) = checked.report(commit) {
            self.take_away(commit, by).await?;
            return Ok(report);
        }
        if !self.put_in_place(commit, by, checked.level, false).await? {
            return Ok(CommitOutcome::Lost);
        }
        if self.writes_jobs() && !commit.lazy {
            self.notifier.notify();
        }
        let dependencies = checked.named(commit, NAMED_CONFLICTS);
        Ok(CommitOutcome::Conflicted { now: checked.namespace.now, dependencies })
    }

    /// Whether the run has received a conflict report before.
    async fn was_told(&self, commit: &Commit) -> Result<bool> {
        let mut filter = self.of_run(commit);
        filter.insert("run.told", true);
        let found = async { self.link.entries.find_one(filter).projection(doc! { "_id": 1 }).await };
        self.link.run("commit", found).await.map(|found| found.is_some())
    }

    /// The answer was lost, and more may have changed since: the run gets a new report, or stores its value as stale.
    async fn told_again(&self, commit: &Commit) -> Result<CommitOutcome> {
        let checked = self.check(commit).await?;
        if checked.namespace.incarnation != commit.incarnation {
            return Ok(CommitOutcome::OtherIncarnation);
        }
        match checked.report(commit) {
            Some(report) => Ok(report),
            None => Box::pin(self.commit_run(&Commit { on_conflict: OnConflict::StoreStale, ..commit.clone() })).await,
        }
    }

    /// The entry, as long as the run is the present one.
    fn of_run(&self, commit: &Commit) -> Document {
        doc! {
            "_id": self.keys.entry(&commit.id), "run.token": binary(commit.token.as_bytes()),
            "run.start_revision": number(commit.start_revision),
        }
    }

    /// The first step. Whether the run is the present one, and may commit in this way.
    pub(super) async fn put_beside(&self, commit: &Commit, by: &[u8]) -> Result<bool> {
        let mut filter = self.of_run(commit);
        if commit.on_conflict == OnConflict::Report {
            filter.insert("run.told", Bson::Null);
        }
        let next = doc! {
            "by": binary(by), "value": binary(&commit.value[..]), "meta": binary(&commit.meta[..]),
            "call": binary(&commit.call[..]), "epochs": binary(commit.epochs.encode()),
            "deps": edges(&self.keys, &commit.used),
        };
        let was = doc! { "$ifNull": ["$next.was", { "$ifNull": ["$deps", []] }] };
        // Notes on the same commit still count: the first of the two may have been checked before.
        let noted = cond(
            doc! { "$eq": ["$next.by", binary(by)] },
            doc! { "affected": "$next.affected", "causes": "$next.causes" },
            doc! {},
        );
        let update = vec![
            doc! { "$set": { "next": { "$mergeObjects": [literal(next), { "was": was }, noted] } } },
            doc! { "$set": { "deps": { "$setUnion": ["$next.was", "$next.deps"] } } },
        ];
        let put = self.link.run("commit", async { self.link.entries.update_one(filter, update).await }).await?;
        Ok(put.matched_count > 0)
    }

    /// The second step. The namespace first: it shows the low watermark of all trims before the later reads.
    async fn check(&self, commit: &Commit) -> Result<Checked> {
        let used = distinct(commit.used.iter().map(|used| used.dependency), usize::MAX);
        let (namespace, conflicts) = self.changed_after(commit.version, &used, "commit").await?;
        let has_epochs = namespace.validity().has_epochs(&commit.epochs);
        let changed = commit.used.iter().filter(|used| conflicts.contains(&used.dependency));
        let level = commit.staleness(has_epochs, changed) as i64;
        let is_reported = commit.is_reported(has_epochs, namespace.low_watermark, conflicts.len());
        Ok(Checked { namespace, conflicts, level, is_reported })
    }

    /// The dependencies that were invalidated after a revision, are being invalidated, or may have been; and the
    /// namespace, which was read before them.
    async fn changed_after(
        &self,
        version: u64,
        dependencies: &[Dependency],
        operation: &'static str,
    ) -> Result<(NamespaceDoc, HashSet<Dependency>)> {
        let keys: Vec<Bson> = dependencies.iter().map(|dependency| self.keys.changed(dependency)).collect();
        let asked = |keys: &[Bson]| {
            vec![
                doc! { "$match": { "deps": { "$in": keys }, "k": { "$gt": number(version) } } },
                doc! { "$unwind": "$deps" },
                doc! { "$match": { "deps": { "$in": keys } } },
                doc! { "$group": { "_id": "$deps" } },
            ]
        };
        let mut pieces = keys.chunks(PER_COMMAND);
        let more = pieces.next().map(|keys| vec![and(STATE, asked(keys))]).unwrap_or_default();
        let Seen { namespace, more: mut changed } = look(&self.link, &self.keys, operation, more).await?;
        for keys in pieces {
            let reading = async { self.link.state.aggregate(asked(keys)).await?.try_collect::<Vec<Document>>().await };
            changed.extend(self.link.run(operation, reading).await?);
        }
        if version < namespace.low_watermark {
            return Ok((namespace, dependencies.iter().copied().collect()));
        }
        let dependency = |changed: &Document| {
            let key = changed.get_binary_generic("_id").ok().and_then(|key| changed_of(key));
            key.ok_or_else(|| corrupt("a change cannot be read: remove its document of `smache_state`"))
        };
        let changed = changed.iter().map(dependency).collect::<Result<_>>()?;
        Ok((namespace, changed))
    }

    pub(super) async fn changes_since(&self, revision: u64, dependencies: &[Dependency]) -> Result<ChangedSince> {
        let (namespace, changed) = self.changed_after(revision, dependencies, "changed_since").await?;
        let NamespaceDoc { incarnation, revision, .. } = namespace;
        Ok(ChangedSince { incarnation, revision, dependencies: changed.into_iter().collect() })
    }

    /// The third step, if no other commit has put a value beside meanwhile. `untouched`: only if no change has affected
    /// it.
    async fn put_in_place(&self, commit: &Commit, by: &[u8], level: i64, untouched: bool) -> Result<bool> {
        let mut filter = self.of_run(commit);
        filter.insert("next.by", binary(by));
        if commit.on_conflict == OnConflict::Report {
            filter.insert("run.told", Bson::Null);
        }
        if untouched {
            filter.insert("next.affected", Bson::Null);
        }
        let update = self.in_place(commit, level);
        let put = self.link.run("commit", async { self.link.entries.update_one(filter, update).await }).await?;
        Ok(put.matched_count > 0)
    }

    fn in_place(&self, commit: &Commit, level: i64) -> Vec<Document> {
        let is_stale = || -> Bson { doc! { "$gt": ["$level", 0] }.into() };
        let stale = |then: Bson, otherwise: Bson| cond(is_stale(), then, otherwise);
        let was_stale = doc! { "$gt": ["$stale", 0] };
        let expires = match (commit.ttl, commit.not_after) {
            (None, None) => gone(),
            // A missing value is not the smallest number.
            (ttl, not_after) => {
                let ends = ttl.map_or(Bson::Null, |ttl| doc! { "$add": [now(), millis(ttl)] }.into());
                doc! { "$min": [ends, not_after.map_or(Bson::Null, |end| time(end).into())] }.into()
            }
        };
        let mut stored = doc! {
            "n": self.keys.number, "value": "$next.value", "meta": "$next.meta", "call": "$next.call",
            "epochs": "$next.epochs", "deps": "$next.deps", "version": number(commit.version), "stored": now(), "expires": expires,
            "lazy": commit.lazy, "failures": 0_i64, "failure": gone(), "failed": gone(), "stale": "$level",
            "since": stale(cond(was_stale, doc! { "$ifNull": ["$since", now()] }, now()), gone()),
            "conflicts": stale(doc! { "$add": [{ "$ifNull": ["$conflicts", 0_i64] }, 1_i64] }.into(), 0_i64.into()),
            // An invalidation notes a cause on a stored value and on the one beside it.
            "causes": stale(
                cond(has_record(), doc! { "$ifNull": ["$causes", []] }, doc! { "$ifNull": ["$next.causes", []] }),
                Bson::Array(Vec::new()),
            ),
            "run": gone(), "next": gone(), "level": gone(),
        };
        if self.jobs == JobWrites::SameStep {
            let lane = doc! { "$subtract": ["$level", 1] }.into();
            let wanted = if commit.lazy {
                keep("$job")
            } else {
                job::needed(self.keys.number, &lane, job::USUAL, &after(commit.conflict_delay))
            };
            stored.insert("job", stale(wanted, cond(crate::expression::is_there("$job"), job::taken_back(), gone())));
        }
        let level = doc! { "$max": [level, "$next.affected"] };
        [doc! { "$set": { "level": level } }, doc! { "$set": stored }]
            .into_iter()
            .chain(tidy(self.keys.number))
            .collect()
    }

    /// Removes the value beside the stored one. The run stays; a late commit gets no second report.
    async fn take_away(&self, commit: &Commit, by: &[u8]) -> Result<()> {
        let mut filter = self.of_run(commit);
        filter.insert("next.by", binary(by));
        let mut taken = drop_next();
        taken.insert("run", doc! { "$mergeObjects": ["$run", { "told": true }] });
        let update: Vec<Document> = [doc! { "$set": taken }].into_iter().chain(tidy(self.keys.number)).collect();
        self.link.run("commit", async { self.link.entries.update_one(filter, update).await }).await.map(drop)
    }
}
