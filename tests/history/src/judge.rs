//! The logs of all processes, brought together: a read is judged as soon as no earlier line of a writer can follow.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque},
};

use crate::{
    checker::{Checker, Figures, Violation},
    record::{Label, Line, Read, Time},
    world::{Item, Question},
};

/// So many violations are kept to be shown.
const SHOWN: usize = 20;
/// The bits of the number of a reader that tell its sequence from others of its process.
const SEQUENCES: u32 = 16;
/// So many of the last texts of processes are kept.
const TEXTS: usize = 60;

/// A read that waits, in the order of its end.
#[derive(Debug, PartialEq)]
struct Waiting(Read);

impl Eq for Waiting {}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0.answered, self.0.reader).cmp(&(other.0.answered, other.0.reader))
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// The checker behind the logs of the processes.
#[derive(Debug)]
pub(crate) struct Judge {
    checker: Checker,
    /// Up to when the log of each writing process is known.
    writers: BTreeMap<u64, Time>,
    waiting: BinaryHeap<Reverse<Waiting>>,
    /// Since when every answer has to settle, and the calls of each reading process that have not.
    settling: Option<(Time, BTreeSet<(u64, Question)>)>,
    pub(crate) violations: Vec<Violation>,
    /// What processes said beside their lines.
    pub(crate) texts: VecDeque<String>,
}

impl Judge {
    pub(crate) fn new(validity: Time) -> Self {
        Self {
            checker: Checker::new(validity),
            writers: BTreeMap::new(),
            waiting: BinaryHeap::new(),
            settling: None,
            violations: Vec::new(),
            texts: VecDeque::new(),
        }
    }

    pub(crate) fn figures(&self) -> Figures {
        self.checker.figures
    }

    /// A process that writes begins at that time.
    pub(crate) fn writer_begins(&mut self, process: u64, at: Time) {
        self.writers.insert(process, at);
    }

    /// The log of a process has ended.
    pub(crate) fn ends(&mut self, process: u64) {
        self.writers.remove(&process);
        self.advance();
        // The readers of a process share its number, see `reader_id`.
        self.checker.forget(|reader| reader >> SEQUENCES == process);
    }

    /// A line of the log of a process.
    pub(crate) fn line(&mut self, process: u64, line: Line) {
        match line {
            Line::Start(_, _, at) | Line::Written(_, _, at) | Line::Acked(_, _, at) | Line::Tick(at) => {
                self.checker.wrote(&line);
                if let Some(known) = self.writers.get_mut(&process) {
                    *known = at.max(*known);
                }
                self.advance();
            }
            Line::Read(read) => {
                self.waiting.push(Reverse(Waiting(read)));
                if self.writers.is_empty() {
                    self.advance();
                }
            }
            Line::Text(text) => {
                if self.texts.len() == TEXTS {
                    self.texts.pop_front();
                }
                self.texts.push_back(text);
            }
        }
    }

    fn advance(&mut self) {
        let known = self.writers.values().min().copied().unwrap_or(Time::MAX);
        while let Some(Reverse(Waiting(read))) = self.waiting.peek() {
            if read.answered >= known {
                return;
            }
            let found = self.checker.read(read);
            if let Some((since, left)) = &mut self.settling
                && read.asked > *since
            {
                for (question, label, _) in &read.answers {
                    if *label == Label::Fresh && found.is_empty() {
                        left.remove(&(read.reader >> SEQUENCES, *question));
                    }
                }
            }
            self.waiting.pop();
            for violation in found {
                if self.violations.len() < SHOWN {
                    self.violations.push(violation);
                }
            }
        }
    }

    /// The entities of a writer with the last number of each that has begun, for its successor, who repeats it.
    pub(crate) fn last(&self, items: impl Iterator<Item = Item>) -> Vec<(Item, i64)> {
        items.map(|item| (item, self.checker.last(item).0)).collect()
    }

    /// Entities whose last change is not acknowledged.
    pub(crate) fn pending(&self) -> Vec<Item> {
        Item::all().filter(|item| !self.checker.last(*item).1).collect()
    }

    /// From now on each call has to get a fresh answer in each of these processes; all changes are acknowledged, so that
    /// it is the final one.
    pub(crate) fn settle(&mut self, since: Time, processes: &[u64]) {
        let calls = |process: &u64| Question::all().map(|question| (*process, question)).collect::<Vec<_>>();
        self.settling = Some((since, processes.iter().flat_map(calls).collect()));
    }

    /// The calls without a fresh answer since then, each with the process that asks.
    pub(crate) fn unsettled(&self) -> Vec<(u64, Question)> {
        self.settling.iter().flat_map(|(_, left)| left.iter().copied()).collect()
    }

    /// How many reads wait for the log of a writer.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

/// The number of a sequence of reads of a process.
pub(crate) fn reader_id(process: u64, sequence: u64) -> u64 {
    process << SEQUENCES | sequence
}
