//! The only writers of their entities.

use std::time::Duration;

use smache::{ChangeToken, Result, Smache};
use tokio::{sync::watch, time::sleep};

use crate::{
    chance::{Chance, mixed},
    clock::now,
    data::Data,
    judge::reader_id,
    node::{Log, Phase, Setup},
    reader::answer,
    record::{Demand, Label, Line, Read},
    world::{Cell, Item, Note, Question, flag, note, number, tag_of},
};

/// How many writers a process has; no two of them write one entity.
const HANDS: usize = 3;
/// The numbers of their sequences of reads, behind those of the readers.
const READS: u64 = 1 << 12;
const AGAIN: Duration = Duration::from_millis(50);

/// A writer: it writes, waits for the acknowledgement, and sometimes reads its own write.
pub(crate) struct Hand {
    items: Vec<(Item, i64)>,
    chance: Chance,
    reader: u64,
    pause: u64,
    smache: Smache,
    data: Data,
    log: Log,
}

/// The writers of a process.
pub(crate) fn hands(setup: &Setup, smache: &Smache, data: &Data, log: &Log) -> Vec<Hand> {
    let hand = |at: usize| Hand {
        items: setup.writes.iter().copied().skip(at).step_by(HANDS).collect(),
        chance: Chance::new(mixed(setup.seed ^ mixed(setup.process) ^ at as u64)),
        reader: reader_id(setup.process, READS + at as u64),
        pause: setup.pause,
        smache: smache.clone(),
        data: data.clone(),
        log: log.clone(),
    };
    (0..HANDS).map(hand).filter(|hand| !hand.items.is_empty()).collect()
}

impl Hand {
    pub(crate) async fn run(mut self, phase: watch::Receiver<Phase>) {
        // The last write of a predecessor that was killed may have been lost, or not reported.
        let unfinished: Vec<(Item, i64)> = self.items.iter().copied().filter(|(_, n)| *n > 0).collect();
        self.write(&unfinished).await;
        while *phase.borrow() == Phase::Run {
            let burst = 1 + self.chance.below(4);
            let mut writes: Vec<(Item, i64)> = Vec::new();
            for _ in 0..burst {
                let at = usize::try_from(self.chance.below(self.items.len() as u64)).unwrap_or_default();
                let (item, n) = self.items[at];
                // One after the other for each entity.
                if writes.iter().all(|(other, _)| *other != item) {
                    self.items[at].1 = n + 1;
                    writes.push((item, n + 1));
                }
            }
            self.write(&writes).await;
            sleep(self.chance.millis(0, 2 * self.pause + 1)).await;
        }
    }

    /// Writes, in order, and returns when everything is acknowledged.
    async fn write(&mut self, writes: &[(Item, i64)]) {
        for (item, n) in writes {
            self.log.now(|at| Line::Start(*item, *n, at));
            while let Err(error) = self.data.raise(*item, *n).await {
                self.log.later(&Line::Text(format!("{item:?} {n} is not written yet: {error}")));
                sleep(AGAIN).await;
            }
            self.log.now(|at| Line::Written(*item, *n, at));
        }
        let cells: Vec<(Item, i64)> =
            writes.iter().copied().filter(|(item, _)| matches!(item, Item::Cell(_))).collect();
        let others = writes.iter().copied().filter(|(item, _)| !matches!(item, Item::Cell(_)));
        // One barrier for all entities behind the feed, and a report for each of the others.
        for changed in others.map(|other| vec![other]).chain([cells].into_iter().filter(|cells| !cells.is_empty())) {
            let token = self.acknowledged(&changed).await;
            for (item, n) in &changed {
                self.log.now(|at| Line::Acked(*item, *n, at));
                if self.chance.percent(30) {
                    self.read_own(*item, *n, token).await;
                }
            }
        }
    }

    async fn acknowledged(&self, changed: &[(Item, i64)]) -> ChangeToken {
        loop {
            match self.acknowledge(changed).await {
                Ok(token) => return token,
                Err(error) => {
                    self.log.later(&Line::Text(format!("{changed:?} is not acknowledged yet: {}", error.report())));
                    sleep(AGAIN).await;
                }
            }
        }
    }

    async fn acknowledge(&self, changed: &[(Item, i64)]) -> Result<ChangeToken> {
        match changed.first() {
            Some((Item::Note(id), _)) => self.smache.changed::<Note>(id).await,
            Some((Item::Flag(id), _)) => self.smache.changed_tag(&tag_of(*id)).await,
            _ => self.smache.caught_up_on::<Cell>().await,
        }
    }

    async fn read_own(&self, item: Item, n: i64, token: ChangeToken) {
        let asked = now();
        let answer = match item {
            Item::Cell(id) => answer(Question::Number(id), self.smache.get(number(id).at_least(token)).await.map(Some)),
            Item::Note(id) => answer(Question::Note(id), self.smache.get(note(id).at_least(token)).await.map(Some)),
            Item::Flag(id) => answer(Question::Flag(id), self.smache.get(flag(id).at_least(token)).await.map(Some)),
        };
        if answer.1 != Label::Error {
            let demand = Demand::AtLeast(item, n);
            self.log.later(&Line::Read(Read {
                reader: self.reader,
                asked,
                answered: now(),
                demand,
                answers: vec![answer],
            }));
        }
    }
}
