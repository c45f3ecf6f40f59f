//! The last step of a run.

use bytes::Bytes;
use smache_core::{Commit, CommitOutcome, OnConflict, UsedDependency, Via};

use super::{Again, End, Run, child, ended, parent};
use crate::{
    config::{Config, Reach, Rule},
    world::{LEASE, Name, SOURCE, World, row, token},
};

/// Commits, and notes what follows from the answer.
pub(super) fn commit(config: &Config, world: &mut World, index: usize) {
    let now = world.now();
    let run = &world.runs[index];
    let part = config.part_of(run.entry);
    let value = match (&run.old, &run.child, run.entry) {
        (Some(old), ..) => old.value.clone(),
        (None, Some(read), Name::Parent) => parent(config.functions, read.clone(), run.rows[1].unwrap_or(0)),
        _ => child(config.functions, run.rows[0].unwrap_or(0), run.rows[1].unwrap_or(0)),
    };
    let mut used = run.used.clone();
    used.push(UsedDependency { dependency: run.entry.dependency(), via: Via::Guard });
    let at_commit = config.breaks(Rule::EpochAtCommit);
    let epochs = if at_commit { world.parts[part].store.validity.epochs([&*SOURCE]) } else { run.epochs.clone() };
    let reports = config.rereads && config.is_fed() && run.again.is_none() && run.old.is_none();
    let commit = Commit {
        id: run.entry.id(),
        token: token(run.token),
        start_revision: run.start,
        version: run.again.as_ref().map_or(run.start, |(revision, _)| *revision),
        on_conflict: if reports { OnConflict::Report } else { OnConflict::StoreStale },
        incarnation: run.incarnation.clone(),
        epochs: epochs.clone(),
        call: Bytes::new(),
        value: value.into(),
        meta: Bytes::new(),
        used,
        ttl: None,
        not_after: None,
        tainted: run.tainted,
        lazy: false,
        conflict_delay: LEASE,
    };
    let marked = commit.used.iter().any(|used| {
        let marks = &world.parts[part].store.marks;
        marks.keys().any(|(marked, _)| *marked == used.dependency)
    });
    let has_epochs = world.parts[part].store.validity.has_epochs(&epochs);
    let outcome = world.parts[part].step(now, |store, at| store.commit(at, commit));
    let run = &mut world.runs[index];
    let named = match &outcome {
        CommitOutcome::Conflicted { dependencies, .. } | CommitOutcome::ConflictReported { dependencies, .. } => {
            dependencies.as_slice()
        }
        _ => &[],
    };
    let groundless = named.iter().any(|named| !run.changed.contains(named));
    if groundless && has_epochs && !run.forgotten {
        world.broken = Some("a run conflicts with what has not changed");
    }
    match outcome {
        CommitOutcome::Fresh { .. } => {
            if run.again.is_some() {
                config.reach(Reach::Reread);
            }
            if run.old.is_some() {
                config.reach(Reach::CutOff);
            }
            stored(world, index);
            ended(world, index, End::Done);
        }
        CommitOutcome::Conflicted { .. } => {
            config.reach(if marked { Reach::ConflictOfMark } else { Reach::Conflict });
            stored(world, index);
            ended(world, index, End::Release(LEASE));
        }
        CommitOutcome::ConflictReported { revision, dependencies, .. } => {
            let mut reads = Vec::new();
            let is_named = |via: Via| move |used: &&UsedDependency| used.via == via;
            let hit = |used: &&UsedDependency| dependencies.contains(&used.dependency);
            for which in 0..2 {
                if run.used.iter().filter(is_named(Via::Direct)).filter(hit).any(|used| used.dependency == row(which)) {
                    reads.push(Again::Row(which));
                }
            }
            if run.used.iter().filter(is_named(Via::Child)).any(|used| hit(&used)) {
                reads.push(Again::Child);
            }
            // Its own invalidation says nothing of a read.
            let unread = reads.is_empty();
            run.again = Some(if unread { (run.start, reads) } else { (revision, reads) });
        }
        CommitOutcome::Lost => {
            config.reach(Reach::Lost);
            ended(world, index, End::Release(LEASE));
        }
        CommitOutcome::OtherIncarnation => {
            config.reach(Reach::OtherIncarnation);
            ended(world, index, End::Release(LEASE));
        }
    }
}

/// The value of a run is in the store.
fn stored(world: &mut World, index: usize) {
    let Run { entry, age, overtaken, .. } = world.runs[index];
    if overtaken {
        world.broken = Some("a run replaces the result of one that began later");
    }
    for run in world.runs.iter_mut().filter(|run| run.entry == entry) {
        run.overtaken |= run.age > age;
    }
}
