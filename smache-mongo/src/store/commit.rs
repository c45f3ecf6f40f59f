//! Storing a value: beside the one that is there, then checked, then put in its place.
//!
//! A value cannot be checked and stored in one step, since what it is checked against is in other documents. So it comes in
//! three:
//!
//! 1. It is put beside the stored value, with its edges, on condition that the run is the present one. Readers still see
//!    the value from before, as fresh or stale as it is.
//! 2. What confirms is read, and the changes of what was used. An invalidation announces its change before it looks for
//!    dependants: either its change is read here, or it finds the edges, and notes on the document that it affects them.
//! 3. It takes its place and the run ends: as fresh if nothing was found and nothing was noted, and else as stale.
//!
//! A commit has a name, so that what is late of one never takes effect on what another one has put beside. A run that was told
//! what changed commits in no other way that asks: a note on what it had put beside is gone with that.
//!
//! A crash before the third step has stored nothing: the run lapses, and who begins next or reaps it drops what lies
//! beside. Because the run goes on to the last step, nobody begins another one in between, and maintenance keeps what this one
//! compares with.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};

use futures_util::TryStreamExt;
use mongodb::bson::{Bson, Document, doc};
use smache_core::{ChangedSince, Commit, CommitOutcome, Dependency, JobWrites, OnConflict, Result, Via};

use super::{Inner, runs::drop_next};
use crate::{
    error::corrupt,
    expression::{after, cond, gone, has_record, keep, literal, millis, now, number, tidy, time},
    job,
    keys::{STATE, binary, changed_of},
    namespace::{NamespaceDoc, Seen, and, look},
    record::{edges, encode_epochs},
};

/// How many dependencies one command asks for.
const PER_COMMAND: usize = 500;

/// How many dependencies a conflict names.
const NAMED: usize = 8;

/// What a commit is checked against.
struct Checked {
    namespace: NamespaceDoc,
    conflicts: HashSet<Dependency>,
    /// 0 fresh, 1 maybe stale, 2 stale.
    level: i64,
    /// Whether these changes are all that speaks against the value.
    only_by_changes: bool,
}

/// What a commit has put beside is its own: a run makes at most one that asks, and one for each version that does not.
fn name_of(commit: &Commit) -> Vec<u8> {
    let asks = u8::from(commit.on_conflict == OnConflict::Report);
    [&commit.token.as_bytes()[..], &commit.version.to_be_bytes(), &[asks]].concat()
}

impl Checked {
    /// The answer to a commit that asks to be told, if changes of few dependencies are all that speaks against its value. A
    /// change that the check has not read is written down after it, and its revision is later than the one that was read.
    fn told(&self, commit: &Commit) -> Option<CommitOutcome> {
        if commit.on_conflict != OnConflict::Report || !self.only_by_changes {
            return None;
        }
        let dependencies: Vec<_> = self.named(commit).collect();
        let (now, revision) = (self.namespace.now, self.namespace.revision);
        let few = (1..=OnConflict::MAX_REPORTED).contains(&dependencies.len());
        few.then_some(CommitOutcome::ConflictReported { now, revision, dependencies })
    }

    /// The conflicts in the order of use, each once.
    fn named(&self, commit: &Commit) -> impl Iterator<Item = Dependency> {
        let mut named = HashSet::new();
        let used = commit.used.iter().map(|used| used.dependency);
        used.filter(move |used| self.conflicts.contains(used) && named.insert(*used))
    }
}

impl Inner {
    pub(super) async fn commit_run(&self, commit: &Commit) -> Result<CommitOutcome> {
        // A commit that is made again, while the first one is still on its way, is the same one: either may end it.
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
            // It was affected in between: its change can be read by now.
            checked = self.check(commit).await?;
        }
        if let Some(told) = checked.told(commit) {
            self.take_away(commit, by).await?;
            return Ok(told);
        }
        if !self.put_in_place(commit, by, checked.level, false).await? {
            return Ok(CommitOutcome::Lost);
        }
        if self.writes_jobs() && !commit.lazy {
            self.notifier.notify();
        }
        let dependencies = checked.named(commit).take(NAMED).collect();
        Ok(CommitOutcome::Conflicted { now: checked.namespace.now, dependencies })
    }

    /// Whether the run has asked before, and was told what changed.
    async fn was_told(&self, commit: &Commit) -> Result<bool> {
        let mut filter = self.of_run(commit);
        filter.insert("run.told", true);
        let found = async { self.link.entries.find_one(filter).projection(doc! { "_id": 1 }).await };
        self.link.run("commit", found).await.map(|found| found.is_some())
    }

    /// The answer got lost, and more may have changed since: the run is told of all, or its value is stored as stale.
    async fn told_again(&self, commit: &Commit) -> Result<CommitOutcome> {
        let checked = self.check(commit).await?;
        if checked.namespace.incarnation != commit.incarnation {
            return Ok(CommitOutcome::OtherIncarnation);
        }
        match checked.told(commit) {
            Some(told) => Ok(told),
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
            "call": binary(&commit.call[..]), "epochs": binary(encode_epochs(&commit.epochs)),
            "deps": edges(&self.keys, &commit.used),
        };
        let was = doc! { "$ifNull": ["$next.was", { "$ifNull": ["$deps", []] }] };
        // What was noted on the same commit still counts: the first of the two may have been checked before.
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

    /// The second step: what confirms first, so that nothing that is read later was trimmed without it saying so.
    async fn check(&self, commit: &Commit) -> Result<Checked> {
        let mut vias: HashMap<Dependency, bool> = HashMap::with_capacity(commit.used.len());
        for used in &commit.used {
            *vias.entry(used.dependency).or_default() |= used.via != Via::Child;
        }
        let used: Vec<Dependency> = vias.keys().copied().collect();
        let (namespace, conflicts) = self.changed_after(commit.version, &used, "commit").await?;
        let must_run = conflicts.iter().any(|conflict| vias.get(conflict).is_none_or(|direct| *direct));
        let otherwise_right = !commit.tainted && namespace.validity().has_epochs(&commit.epochs);
        let level = if must_run || !otherwise_right { 2 } else { i64::from(!conflicts.is_empty()) };
        let only_by_changes = otherwise_right && commit.version >= namespace.low_watermark;
        Ok(Checked { namespace, conflicts, level, only_by_changes })
    }

    /// Which dependencies were invalidated after a revision, are being invalidated, or may have been; and the namespace, which was
    /// read before them.
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

    /// The third step, if nobody has put something else beside meanwhile. `untouched`: and if no change has affected it.
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
            // What is missing is no smallest number.
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
            // What was noted on a value from before was noted beside it as well.
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

    /// Takes back what was put beside; the run stays, and is told no second time by a commit that is late.
    async fn take_away(&self, commit: &Commit, by: &[u8]) -> Result<()> {
        let mut filter = self.of_run(commit);
        filter.insert("next.by", binary(by));
        let mut taken = drop_next();
        taken.insert("run", doc! { "$mergeObjects": ["$run", { "told": true }] });
        let update: Vec<Document> = [doc! { "$set": taken }].into_iter().chain(tidy(self.keys.number)).collect();
        self.link.run("commit", async { self.link.entries.update_one(filter, update).await }).await.map(drop)
    }
}
