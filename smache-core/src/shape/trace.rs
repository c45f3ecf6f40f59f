//! The record of a type so far: the lines of its shape, and the samples that were tried.

use std::{
    any::type_name,
    collections::{BTreeMap, BTreeSet},
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

use serde::de::DeserializeOwned;

/// How often a type is deserialized at most: once per variant and once per sample that it refuses.
const ROUNDS: u32 = 4_000;
/// How many requests it may make in all.
const STEPS: u32 = 200_000;
/// How deep it may nest before it comes back to itself.
const OPEN: usize = 64;
/// How often a type may stand within itself before it counts as one without values.
const WITHIN_ITSELF: usize = 3;
/// How often an impossible variant is tried.
const TRIES: u32 = 8;

/// How integers are recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Integers {
    ByValue,
    AsTyped,
}

/// The type refuses the sample.
#[derive(Debug)]
pub(super) struct Refused;

pub(super) type Result<T> = std::result::Result<T, Refused>;

/// The options at a place: the variants of an enum, or the kinds that a type without a shape may take.
#[derive(Debug, Default)]
struct Choice {
    options: usize,
    explored: BTreeSet<usize>,
    tries: BTreeMap<usize, u32>,
    good: Option<usize>,
}

impl Choice {
    fn next(&self) -> Option<usize> {
        let tries = |option: &usize| self.tries.get(option).copied().unwrap_or_default();
        (0..self.options).filter(|option| !self.explored.contains(option)).min_by_key(tries)
    }
}

/// The last sample of a round.
#[derive(Debug)]
enum Last {
    Sample { path: String, of: usize },
    Kind { path: String },
}

/// The whole record of a type.
#[derive(Debug)]
pub(super) struct Trace {
    pub(super) integers: Integers,
    lines: BTreeSet<String>,
    pub(super) path: String,
    choices: BTreeMap<String, Choice>,
    samples: BTreeMap<String, usize>,
    /// The place where each type was met first. Visitors tell types apart, within this process alone.
    known: BTreeMap<&'static str, String>,
    /// For types that contain themselves: a variant that does not.
    ends: BTreeMap<&'static str, usize>,
    open: Vec<&'static str>,
    /// Above zero where the shape is known already and only a value is needed.
    minimal: u32,
    chosen: Vec<(String, usize)>,
    last: Option<Last>,
    incomplete: bool,
    round: u32,
    steps: u32,
}

impl Trace {
    pub(super) fn new(integers: Integers) -> Self {
        Self {
            integers,
            lines: BTreeSet::new(),
            path: String::new(),
            choices: BTreeMap::new(),
            samples: BTreeMap::new(),
            known: BTreeMap::new(),
            ends: BTreeMap::new(),
            open: Vec::new(),
            minimal: 0,
            chosen: Vec::new(),
            last: None,
            incomplete: false,
            round: 0,
            steps: 0,
        }
    }

    pub(super) fn into_lines(self) -> Vec<String> {
        self.lines.into_iter().collect()
    }

    /// Deserializes the type until every choice is explored. Says whether its shape is complete.
    pub(super) fn run<T: DeserializeOwned>(&mut self) -> bool {
        while self.round < ROUNDS && self.steps < STEPS {
            self.round += 1;
            (self.minimal, self.last) = (0, None);
            self.path.clear();
            self.open.clear();
            self.chosen.clear();
            // A `Deserialize` that panics tells as little as one that refuses.
            let made = catch_unwind(AssertUnwindSafe(|| T::deserialize(&mut *self).is_ok())).unwrap_or(false);
            if made {
                if self.choices.values().all(|choice| choice.next().is_none()) {
                    return !self.incomplete;
                }
                if self.chosen.is_empty() {
                    return false;
                }
            } else if !self.learn() {
                return false;
            }
        }
        false
    }

    /// After a round in which the type refused a sample: chooses another one for the next round.
    fn learn(&mut self) -> bool {
        let chosen = std::mem::take(&mut self.chosen);
        let mut retried = &chosen[..];
        let learnt = match self.last.take() {
            Some(Last::Sample { path, of }) => {
                let next = self.samples.entry(path).or_default();
                *next += 1;
                *next < of
            }
            // The refusals are the answer here: they tell which kinds the type takes.
            Some(Last::Kind { path }) => {
                retried = chosen.split_last().map_or(&[], |(_, others)| others);
                self.incomplete |= chosen.last().is_none_or(|(last, _)| *last != path);
                self.incomplete = true;
                !chosen.is_empty()
            }
            None => false,
        };
        for (path, option) in retried {
            let Some(choice) = self.choices.get_mut(path) else { continue };
            let tries = choice.tries.entry(*option).or_default();
            *tries += u32::from(!learnt);
            if *tries < TRIES {
                choice.explored.remove(option);
            } else {
                self.incomplete = true;
            }
        }
        learnt || !chosen.is_empty()
    }

    /// Records a line at the present place.
    pub(super) fn line(&mut self, what: impl fmt::Display) {
        if self.minimal == 0 {
            self.lines.insert(format!("{} {what}", self.path));
        }
    }

    /// Notes that a part of the type hides its shape.
    pub(super) fn hides(&mut self) {
        self.incomplete = true;
    }

    /// Whether any value will do here.
    pub(super) fn is_minimal(&self) -> bool {
        self.minimal > 0
    }

    pub(super) fn step(&mut self) -> Result<()> {
        self.steps += 1;
        if self.steps > STEPS { Err(Refused) } else { Ok(()) }
    }

    /// Visits a part below the present place.
    pub(super) fn below<R>(&mut self, part: impl fmt::Display, body: impl FnOnce(&mut Self) -> Result<R>) -> Result<R> {
        use fmt::Write as _;
        let length = self.path.len();
        let _ = write!(self.path, "{part}");
        let made = body(self);
        self.path.truncate(length);
        made
    }

    /// A type that may contain itself, by its visitor: once its shape is recorded, it only gets a value.
    pub(super) fn one_deeper<V, R>(&mut self, body: impl FnOnce(&mut Self) -> Result<R>) -> Result<R> {
        let name = type_name::<V>();
        if self.open.len() >= OPEN || self.open.iter().filter(|open| **open == name).count() >= WITHIN_ITSELF {
            return Err(Refused);
        }
        let again = self.open.iter().rposition(|open| *open == name);
        let first = self.known.entry(name).or_insert_with(|| self.path.clone());
        let seen = match again {
            Some(at) => Some(format!("again {}", self.open.len() - at)),
            None if *first != self.path => Some(format!("as {first}")),
            None => None,
        };
        if let Some(seen) = &seen {
            self.line(seen);
        }
        self.minimal += u32::from(seen.is_some());
        self.open.push(name);
        let made = body(self);
        self.open.pop();
        self.minimal -= u32::from(seen.is_some());
        made
    }

    /// The number of the sample for this place.
    pub(super) fn sample(&mut self, of: usize) -> usize {
        let next = self.samples.get(&self.path).copied().unwrap_or_default().min(of - 1);
        self.last = Some(Last::Sample { path: self.path.clone(), of });
        next
    }

    /// The number of the variant for this place; `part` is how a variant is written in a path.
    pub(super) fn variant<V>(&mut self, options: usize, part: impl Fn(usize) -> String) -> usize {
        if self.minimal > 0 {
            let turn = self.round as usize % options;
            return self.ends.get(type_name::<V>()).copied().unwrap_or(turn);
        }
        self.choose(options, part)
    }

    /// Notes that a variant was made.
    pub(super) fn made<V>(&mut self, option: usize) {
        self.ends.entry(type_name::<V>()).or_insert(option);
        if let Some(choice) = self.choices.get_mut(&self.path) {
            choice.good.get_or_insert(option);
        }
    }

    /// The number of the kind for a type that takes any.
    pub(super) fn kind(&mut self, options: usize) -> usize {
        let kind = self.choose(options, |_| String::new());
        self.last = Some(Last::Kind { path: self.path.clone() });
        kind
    }

    fn choose(&mut self, options: usize, part: impl Fn(usize) -> String) -> usize {
        let choice = self.choices.entry(self.path.clone()).or_default();
        choice.options = options;
        if let Some(option) = choice.next() {
            choice.explored.insert(option);
            self.chosen.push((self.path.clone(), option));
            return option;
        }
        let good = choice.good.unwrap_or_default();
        let leads_on = |option: &usize| {
            let prefix = format!("{}{}", self.path, part(*option));
            let below = |path: &String| path.len() > self.path.len() && path.starts_with(&prefix);
            self.choices.iter().any(|(path, choice)| below(path) && choice.next().is_some())
        };
        (0..options).find(leads_on).unwrap_or(good)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the type refuses the sample")
    }
}

impl std::error::Error for Refused {}

impl serde::de::Error for Refused {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}
