//! Invalidation: one script if everything fits into it, and otherwise page by page under an announcement.

use std::{
    collections::{HashMap, HashSet},
    slice::Chunks,
    time::Instant,
};

use smache_core::{
    ChangedDependency, Dependency, EntryId, FeedStep, Invalidated, Invalidation, InvalidationAttempt, Result,
    support::{
        UNFINISHED, clip,
        limits::{CAUSE_BYTES, MARK_RENEWAL},
    },
};

use super::{RedisStore, feeds::step_args, ids};
use crate::{
    connection::Live,
    reply::Reply,
    script::{INVALIDATE, WITHDRAW},
};

/// Changed dependencies and entries per call: one script takes them as arguments.
const PER_CALL: usize = 500;
/// Edges in a call: some two milliseconds of the server's time.
const EDGES: usize = 220;

/// The mark of an unfinished attempt, as maintenance read it.
pub(super) struct Unfinished {
    /// The dependency and the attempt's name, as the server keeps them.
    pub(super) mark: Vec<u8>,
    pub(super) dependency: Dependency,
    /// The deadline that the server wrote; a renewed mark has another one.
    pub(super) deadline: Vec<u8>,
}

/// The part of an invalidation that fits into one set of arguments.
#[derive(Clone, Copy)]
struct Part<'a> {
    changed: &'a [ChangedDependency],
    entries: &'a [EntryId],
}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    All,
    Announce,
    Walk,
    Finish,
}

/// An invalidation under way, on one connection: another one might lead to another server.
struct Walk<'a> {
    store: &'a RedisStore,
    live: &'a Live,
    all: &'a Invalidation,
    /// The causes for named entries: the entries' dependencies are among the changed ones.
    causes: HashMap<Dependency, &'a str>,
    attempt: InvalidationAttempt,
    began: Instant,
    renewed: Instant,
    done: Invalidated,
    jobs: HashSet<EntryId>,
}

impl RedisStore {
    pub(super) async fn invalidate_all(&self, invalidation: &Invalidation) -> Result<Invalidated> {
        let live = self.link.live().await?;
        if let Some(step) = &invalidation.step {
            step.check_incarnation(&live.incarnation)?;
        }
        self.walk(&live, invalidation).await
    }

    /// Redoes changes that other processes announced and did not finish, under a mark of this attempt. At the end it
    /// withdraws the marks that it read, unless their author has renewed them meanwhile: then the author is alive, and
    /// ends them.
    pub(super) async fn redo(&self, live: &Live, unfinished: &[Unfinished]) -> Result<Invalidated> {
        let changed = |mark: &Unfinished| ChangedDependency { dependency: mark.dependency, cause: UNFINISHED.into() };
        let invalidation =
            Invalidation { changed: unfinished.iter().map(changed).collect(), ..Invalidation::default() };
        let done = self.walk(live, &invalidation).await?;
        let mut call = self.step(&WITHDRAW);
        for seen in unfinished {
            call.arg(&seen.mark).arg(&seen.deadline);
        }
        live.call(&call).await?;
        Ok(done)
    }

    async fn walk(&self, live: &Live, all: &Invalidation) -> Result<Invalidated> {
        let attempt = InvalidationAttempt::next(all.step.as_ref());
        let named: HashSet<_> = all.entries.iter().map(Dependency::entry).collect();
        let of_named = all.changed.iter().filter(|changed| named.contains(&changed.dependency));
        let causes = of_named.map(|changed| (changed.dependency, clip(&changed.cause, CAUSE_BYTES))).collect();
        let done = Invalidated::default();
        let jobs = HashSet::new();
        let mut walk = Walk {
            store: self,
            live,
            all,
            causes,
            attempt,
            began: Instant::now(),
            renewed: Instant::now(),
            done,
            jobs,
        };
        let parts: Vec<_> = parts(all).collect();
        match parts.as_slice() {
            [part] => walk.through(*part, Phase::All, true).await?,
            parts => {
                // In this order all announcements come before the first rise of the revision, and the positions are
                // saved last.
                for phase in [Phase::Announce, Phase::Walk, Phase::Finish] {
                    for (place, part) in parts.iter().enumerate() {
                        walk.renew(parts, phase).await?;
                        walk.through(*part, phase, phase == Phase::Finish && place + 1 == parts.len()).await?;
                    }
                }
            }
        }
        Ok(walk.done)
    }
}

/// Pairs of pieces of the changed dependencies and of the entries; at least one.
fn parts(all: &Invalidation) -> impl Iterator<Item = Part<'_>> {
    fn nth<'a, T>(mut pieces: Chunks<'a, T>, place: usize) -> &'a [T] {
        pieces.nth(place).unwrap_or_default()
    }
    let count = all.changed.len().max(all.entries.len()).div_ceil(PER_CALL).max(1);
    (0..count).map(|place| Part {
        changed: nth(all.changed.chunks(PER_CALL), place),
        entries: nth(all.entries.chunks(PER_CALL), place),
    })
}

impl Walk<'_> {
    /// Renews the announcement where the last one was long ago: maintenance must not take a long walk as given up. With
    /// one part every page renews it.
    async fn renew(&mut self, parts: &[Part<'_>], phase: Phase) -> Result<()> {
        if phase == Phase::Walk && self.renewed.elapsed() >= MARK_RENEWAL {
            for part in parts {
                self.through(*part, Phase::Announce, false).await?;
            }
            self.renewed = Instant::now();
        }
        Ok(())
    }

    /// Calls the script until the end of a part.
    async fn through(&mut self, part: Part<'_>, phase: Phase, last: bool) -> Result<()> {
        let mut place = 1;
        let mut cursor = b"0".to_vec();
        while place != 0 {
            (place, cursor) = self.page(part, phase, last, place, &cursor).await?;
        }
        Ok(())
    }

    async fn page(
        &mut self,
        part: Part<'_>,
        phase: Phase,
        last: bool,
        place: u64,
        cursor: &[u8],
    ) -> Result<(u64, Vec<u8>)> {
        let mut call = self.store.step(&INVALIDATE);
        call.arg(match phase {
            Phase::All => "all",
            Phase::Announce => "announce",
            Phase::Walk => "walk",
            Phase::Finish => "finish",
        });
        call.arg(self.attempt.as_bytes())
            .arg(place)
            .arg(cursor)
            .arg(EDGES)
            .arg(part.changed.len())
            .arg(part.entries.len());
        call.arg(match (&self.all.step, last) {
            (None, _) => 0,
            (Some(_), false) => 1,
            (Some(_), true) => 2,
        });
        for changed in part.changed {
            call.arg(changed.dependency.as_bytes()).arg(clip(&changed.cause, CAUSE_BYTES));
        }
        for id in part.entries {
            call.arg(id.as_bytes()).arg(self.causes.get(&Dependency::entry(id)).copied().unwrap_or_default());
        }
        if let Some(step) = &self.all.step {
            step_args(&mut call, step, self.began.elapsed());
        }
        let mut reply = Reply::new(call.operation(), self.live.call(&call).await?)?;
        let next = reply.value()?;
        if next == redis::Value::Int(-1) {
            return Err(self.all.step.as_ref().map_or_else(|| reply.unexpected(), FeedStep::fenced));
        }
        let place = crate::reply::number(&next).ok_or_else(|| reply.unexpected())?;
        let cursor = reply.bytes()?;
        self.done.revision = reply.number()?;
        self.done.marked += reply.number()?;
        for id in ids(reply.list()?)? {
            if self.jobs.insert(id) {
                self.done.jobs.push(id);
            }
        }
        Ok((place, cursor))
    }
}
