//! Waits of runs for each other, as notes in the waiting run.

use std::collections::HashMap;

use futures_util::TryStreamExt;
use mongodb::bson::{Bson, Document, doc};
use smache_core::{
    EntryId, RecordWaits, Result, Timestamp, Token, WaitingRun,
    support::{WaitWalk, limits::WAITS},
};

use super::{Inner, runs::UNREADABLE};
use crate::{
    error::corrupt,
    expression::{after, literal, now},
    job::id_of,
    keys::binary,
    record::Fields,
};

/// A run with its notes.
struct Waiting {
    token: Token,
    /// The entry that the run waits for, and the token of that entry's run.
    notes: Vec<(EntryId, Token)>,
}

impl Inner {
    /// Writes the notes before it reads them: when two runs begin to wait for each other at the same moment, at least
    /// one of them sees both.
    pub(super) async fn record_waits_of_runs(&self, wait: &RecordWaits) -> Result<Vec<(EntryId, EntryId)>> {
        let before = self.waiting().await?;
        let mut by_run: HashMap<(EntryId, Token), Vec<&WaitingRun>> = HashMap::new();
        for run in &wait.runs {
            by_run.entry((run.id, run.token)).or_default().push(run);
        }
        let noted = !by_run.is_empty();
        for ((id, token), runs) in by_run {
            self.note(id, token, &runs, wait, &before).await?;
        }
        let all = if noted { self.waiting().await? } else { before };
        Ok(leading_on(wait.child, &all))
    }

    async fn note(
        &self,
        id: EntryId,
        token: Token,
        runs: &[&WaitingRun],
        wait: &RecordWaits,
        known: &HashMap<EntryId, Waiting>,
    ) -> Result<()> {
        let children: Vec<Bson> = runs.iter().map(|run| binary(run.child.as_bytes())).collect();
        let others = doc! { "$filter": {
            "input": { "$ifNull": ["$run.waits", []] },
            "cond": { "$and": [{ "$gt": ["$$this.until", now()] }, { "$not": [{ "$in": ["$$this.child", literal(children)] }] }] },
        } };
        let note = |run: &&WaitingRun| {
            let awaited = known.get(&run.child)?.token;
            let child = binary(run.child.as_bytes());
            let awaited = binary(awaited.as_bytes());
            Some(Bson::from(doc! { "child": child, "awaited": awaited, "until": after(wait.lease) }))
        };
        let notes: Vec<Bson> = if wait.lease.is_zero() { Vec::new() } else { runs.iter().filter_map(note).collect() };
        let all = doc! { "$slice": [{ "$concatArrays": [others, notes] }, -(WAITS as i64)] };
        let filter = doc! { "_id": self.keys.entry(&id), "run.token": binary(token.as_bytes()) };
        let update = vec![doc! { "$set": { "run.waits": all } }];
        self.link.run("record_waits", async { self.link.entries.update_one(filter, update).await }).await.map(drop)
    }

    /// All runs of the namespace, with the notes that have not expired.
    async fn waiting(&self) -> Result<HashMap<EntryId, Waiting>> {
        let pipeline = vec![
            doc! { "$match": { "run.n": self.keys.number } },
            doc! { "$project": { "token": "$run.token", "waits": "$run.waits", "now": now() } },
        ];
        let reading = async { self.link.entries.aggregate(pipeline).await?.try_collect::<Vec<Document>>().await };
        let runs = self.link.run("record_waits", reading).await?;
        runs.iter().map(|run| Ok((id_of(run)?, waiting(run)?))).collect()
    }
}

fn waiting(run: &Document) -> Result<Waiting> {
    let fields = Fields::new(run, UNREADABLE);
    let now: Timestamp = fields.time("now").ok_or_else(|| corrupt(UNREADABLE))?;
    let mut notes = Vec::new();
    for note in fields.documents("waits") {
        let note = Fields::new(note, UNREADABLE);
        if note.time("until").is_some_and(|until| until > now) {
            notes.push((EntryId::from_slice(note.bytes("child")?)?, note.token("awaited")?));
        }
    }
    Ok(Waiting { token: fields.token("token")?, notes })
}

/// The waits that lead on from a run, the nearest first. A note counts while the awaited run is the same.
fn leading_on(from: EntryId, all: &HashMap<EntryId, Waiting>) -> Vec<(EntryId, EntryId)> {
    let mut walk = WaitWalk::from(from);
    while let Some(id) = walk.next_run() {
        let Some(run) = all.get(&id) else { continue };
        let holds = |(child, awaited): &&(EntryId, Token)| all.get(child).is_some_and(|run| run.token == *awaited);
        walk.waits_for(id, run.notes.iter().filter(holds).map(|(child, _)| *child));
    }
    walk.into_waits()
}
