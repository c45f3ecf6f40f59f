//! Judges answers by the writes around them.
//!
//! Each entity has one writer, which counts its number up, one write after the other. So the states that an entity may
//! have had during a read are a range of numbers: from the last one that was acknowledged before the read began to the
//! last one whose write had begun when the read ended. An answer called fresh is right if each number in it lies in the
//! range of its entity. The ranges of different entities are independent: SMache promises that a result reflects every
//! acknowledged change, and no snapshot of several entities at one instant.

mod answer;
mod writes;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
};

use self::{
    answer::{Observed, observe},
    writes::Writes,
};
use crate::{
    record::{Demand, Label, Line, Read, Time},
    world::{Item, Question},
};

/// Why an answer is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// An acknowledged change is missing.
    Lost { item: Item, at_least: i64 },
    /// A change is missing that was committed longer ago than a feed may be behind.
    Late { item: Item, at_least: i64 },
    /// A number whose write had not begun, or that no entity ever has.
    Future { item: Item, at_most: i64 },
    /// A reader had a later state of the same call before, and both are called fresh.
    Back { item: Item, before: i64 },
    /// The change of the reader's token is missing.
    Own { item: Item, at_least: i64 },
    /// No answer of this function has that form, whatever the data.
    Form,
}

/// A wrong answer, and the lines that prove it.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    pub(crate) wrong: Wrong,
    pub(crate) question: Question,
    pub(crate) lines: Vec<Line>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "VIOLATION {:?}: {:?}", self.question, self.wrong)?;
        for line in &self.lines {
            writeln!(f, "  {}", serde_json::to_string(line).unwrap_or_else(|_| format!("{line:?}")))?;
        }
        Ok(())
    }
}

/// The figures of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    /// Answers called fresh, each of which was checked.
    pub(crate) fresh: u64,
    /// Answers with another name to readers that demanded a fresh one, or one that has their own change: checked too.
    pub(crate) demanded: u64,
    pub(crate) stale: u64,
    pub(crate) unconfirmed: u64,
    pub(crate) nothing: u64,
    pub(crate) errors: u64,
    /// Acknowledged changes.
    pub(crate) changes: u64,
    pub(crate) violations: u64,
}

/// A part of an answer, and the entity that it is about.
type Place = (usize, Item);

/// The checker: it takes the lines in any order that keeps each reader's own.
#[derive(Debug)]
pub(crate) struct Checker {
    items: HashMap<Item, Writes>,
    /// The latest fresh answers of each reader: what it has seen at least, in which part of the answer. Two parts of a
    /// nested answer may have different states of an entity, as long as the change is not acknowledged.
    seen: HashMap<(u64, Question), BTreeMap<Place, i64>>,
    /// How long a committed change may be missing from fresh answers of a feed.
    validity: Time,
    pub(crate) figures: Figures,
}

impl Checker {
    /// For feeds that may be behind for so long, with the imprecision of clocks.
    pub(crate) fn new(validity: Time) -> Self {
        let items = Item::all().map(|item| (item, Writes::default())).collect();
        Self { items, seen: HashMap::new(), validity, figures: Figures::default() }
    }

    /// Takes a line of a writer.
    pub(crate) fn wrote(&mut self, line: &Line) {
        match *line {
            Line::Start(item, n, at) => self.writes(item).started(n, at),
            Line::Written(item, n, at) => self.writes(item).written(n, at),
            Line::Acked(item, n, at) => {
                if self.writes(item).acked(n, at) {
                    self.figures.changes += 1;
                }
            }
            Line::Tick(_) | Line::Read(_) | Line::Text(_) => {}
        }
    }

    /// The last number whose write has begun, and whether it is acknowledged.
    pub(crate) fn last(&self, item: Item) -> (i64, bool) {
        self.items.get(&item).map_or((0, true), Writes::last)
    }

    fn writes(&mut self, item: Item) -> &mut Writes {
        self.items.entry(item).or_default()
    }

    /// Judges a read. Every write that began before its end has to be known.
    pub(crate) fn read(&mut self, read: &Read) -> Vec<Violation> {
        let mut violations = Vec::new();
        for (question, label, answer) in &read.answers {
            let counter = match label {
                Label::Fresh => &mut self.figures.fresh,
                Label::Stale => &mut self.figures.stale,
                Label::Unconfirmed => &mut self.figures.unconfirmed,
                Label::Nothing => &mut self.figures.nothing,
                Label::Error => &mut self.figures.errors,
            };
            *counter += 1;
            if matches!(label, Label::Nothing | Label::Error) {
                continue;
            }
            if *label != Label::Fresh && read.demand != Demand::Nothing {
                self.figures.demanded += 1;
            }
            if let Some(wrong) = self.judge(read, *question, *label, answer) {
                self.figures.violations += 1;
                violations.push(self.violation(read, *question, *label, answer, wrong));
            }
        }
        violations
    }

    fn judge(&mut self, read: &Read, question: Question, label: Label, answer: &[i64]) -> Option<Wrong> {
        let Some(observed) = observe(question, answer) else { return Some(Wrong::Form) };
        let called_fresh = label == Label::Fresh;
        for (_, seen) in &observed {
            let item = seen.item();
            let writes = self.items.get(&item)?;
            let at_most = writes.begun(read.answered);
            if !seen.is_possible(0, at_most) {
                return Some(Wrong::Future { item, at_most });
            }
            if let Demand::AtLeast(own, n) = read.demand
                && own == item
                && !seen.is_possible(n, at_most)
            {
                return Some(Wrong::Own { item, at_least: n });
            }
            if called_fresh || read.demand == Demand::Fresh {
                let at_least = writes.acknowledged(read.asked);
                if !seen.is_possible(at_least, at_most) {
                    return Some(Wrong::Lost { item, at_least });
                }
            }
            if called_fresh && matches!(item, Item::Cell(_)) {
                let at_least = writes.committed(read.asked.saturating_sub(self.validity));
                if !seen.is_possible(at_least, at_most) {
                    return Some(Wrong::Late { item, at_least });
                }
            }
        }
        if called_fresh { self.monotone(read.reader, question, &observed) } else { None }
    }

    fn monotone(&mut self, reader: u64, question: Question, observed: &[(usize, Observed)]) -> Option<Wrong> {
        let before = self.seen.entry((reader, question)).or_default();
        for (part, seen) in observed {
            if let Some((low, high)) = seen.range() {
                let item = seen.item();
                let least = before.entry((*part, item)).or_insert(low);
                if high < *least {
                    return Some(Wrong::Back { item, before: *least });
                }
                *least = low.max(*least);
            }
        }
        None
    }

    /// Forgets what a process has seen that is gone.
    pub(crate) fn forget(&mut self, is_gone: impl Fn(u64) -> bool) {
        self.seen.retain(|(reader, _), _| !is_gone(*reader));
    }

    fn violation(&self, read: &Read, question: Question, label: Label, answer: &[i64], wrong: Wrong) -> Violation {
        let item = match wrong {
            Wrong::Lost { item, .. }
            | Wrong::Late { item, .. }
            | Wrong::Future { item, .. }
            | Wrong::Back { item, .. }
            | Wrong::Own { item, .. } => Some(item),
            Wrong::Form => None,
        };
        let only = Read { answers: vec![(question, label, answer.to_vec())], ..read.clone() };
        let mut lines = vec![Line::Read(only)];
        if let Some(item) = item
            && let Some(writes) = self.items.get(&item)
        {
            lines.extend(writes.around(item, read.asked, read.answered));
        }
        Violation { wrong, question, lines }
    }
}
