//! The writes of one entity.

use std::collections::VecDeque;

use crate::{
    record::{Line, Time},
    world::Item,
};

/// So many writes are remembered: more than an hour at the usual rate. A read that began before the oldest of them is
/// judged by less, never wrongly.
const REMEMBERED: usize = 8_192;
/// So many lines around a read prove what is wrong about it.
const AROUND: usize = 8;

#[derive(Clone, Copy, Debug)]
struct Write {
    n: i64,
    started: Time,
    written: Option<Time>,
    acked: Option<Time>,
}

/// What the only writer of an entity has done, by its numbers, which grow.
#[derive(Debug, Default)]
pub(super) struct Writes(VecDeque<Write>);

impl Writes {
    /// A repetition of a number, by a successor of its writer, is the same write.
    pub(super) fn started(&mut self, n: i64, at: Time) {
        if self.0.back().is_some_and(|last| last.n >= n) {
            return;
        }
        self.0.push_back(Write { n, started: at, written: None, acked: None });
        if self.0.len() > REMEMBERED {
            self.0.pop_front();
        }
    }

    pub(super) fn written(&mut self, n: i64, at: Time) {
        if let Some(write) = self.find(n) {
            write.written.get_or_insert(at);
        }
    }

    /// Whether it was not acknowledged before.
    pub(super) fn acked(&mut self, n: i64, at: Time) -> bool {
        match self.find(n) {
            Some(write) if write.acked.is_none() => {
                write.acked = Some(at);
                true
            }
            _ => false,
        }
    }

    fn find(&mut self, n: i64) -> Option<&mut Write> {
        self.0.iter_mut().rev().find(|write| write.n == n)
    }

    pub(super) fn last(&self) -> (i64, bool) {
        self.0.back().map_or((0, true), |last| (last.n, last.acked.is_some()))
    }

    /// The last number whose write had begun by then.
    pub(super) fn begun(&self, by: Time) -> i64 {
        self.0.iter().rev().find(|write| write.started <= by).map_or(0, |write| write.n)
    }

    /// The last number that was acknowledged before.
    pub(super) fn acknowledged(&self, before: Time) -> i64 {
        let acknowledged = |write: &&Write| write.acked.is_some_and(|at| at < before);
        self.0.iter().rev().find(acknowledged).map_or(0, |write| write.n)
    }

    /// The last number that was committed before.
    pub(super) fn committed(&self, before: Time) -> i64 {
        let committed = |write: &&Write| write.written.is_some_and(|at| at < before);
        self.0.iter().rev().find(committed).map_or(0, |write| write.n)
    }

    /// The lines of the last writes that had begun by the end of a read, from before its begin.
    pub(super) fn around(&self, item: Item, asked: Time, answered: Time) -> Vec<Line> {
        let end = self.0.partition_point(|write| write.started <= answered);
        let before = self.0.iter().take(end).rev().skip_while(|write| write.acked.is_none_or(|at| at >= asked));
        let begin = before.count().saturating_sub(3).max(end.saturating_sub(AROUND));
        let lines = |write: &Write| {
            let Write { n, started, written, acked } = *write;
            let written = written.map(|at| Line::Written(item, n, at));
            let acked = acked.map(|at| Line::Acked(item, n, at));
            [Some(Line::Start(item, n, started)), written, acked].into_iter().flatten()
        };
        self.0.iter().take(end).skip(begin).flat_map(lines).collect()
    }
}
