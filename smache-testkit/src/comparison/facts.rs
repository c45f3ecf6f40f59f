//! Answers and stored state as facts, which two sides can disagree about one by one.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use smache_core::{
    BeginOutcome, Begun, CommitOutcome, Dependency, Enqueued, EntryId, Epoch, ErrorKind, FoundJob, Invalidated,
    JobCounts, JobState, Leadership, ListedJob, Maintained, Position, Programs, Record, Reservation, Settled,
    StoreStats, Timestamp, Validity, Via,
    support::limits::{CAUSES, NAMED_CONFLICTS},
};

use super::call::Call;

/// The answer to a call.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    Begun(BeginOutcome),
    Committed(CommitOutcome),
    Held(Vec<bool>),
    Waits(Vec<(EntryId, EntryId)>),
    Invalidated(Invalidated),
    Led(Leadership),
    Done,
    Epoch(Epoch),
    Programs(Programs),
    Maintained(Maintained),
    Enqueued(Vec<Enqueued>),
    Reserved(Reservation),
    Settled(Vec<Settled>),
    Count(u64),
    /// A refusal that the protocol knows.
    Refused(ErrorKind),
    /// Any other error.
    Failed(String),
}

/// What is stored, as far as the traits show it.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    pub(super) validity: Option<Validity>,
    pub(super) records: Vec<Option<Record>>,
    pub(super) dependants: Vec<Vec<(EntryId, Via)>>,
    pub(super) stale: Vec<(EntryId, Timestamp)>,
    pub(super) positions: Vec<Option<Position>>,
    pub(super) stats: Option<StoreStats>,
    /// The dependencies that conflict with an older version, and with the present one: those have marks.
    pub(super) changed: Option<Changed>,
    pub(super) marked: BTreeSet<Dependency>,
    pub(super) programs: Vec<(smache_core::Token, Timestamp, bytes::Bytes)>,
    pub(super) counts: Option<JobCounts>,
    pub(super) listed: Vec<(JobState, Vec<ListedJob>)>,
    pub(super) found: Vec<Option<FoundJob>>,
}

/// Dependencies that conflict with an older version. A store may name more than have changed, as far as it has
/// forgotten changes.
#[derive(Debug, Clone)]
pub(super) enum Changed {
    Named(BTreeSet<Dependency>),
    Between { least: BTreeSet<Dependency>, most: BTreeSet<Dependency> },
}

/// The name of a fact: a thing, its number, and what of it.
type Name = (&'static str, usize, &'static str);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Fact {
    Text(String),
    At(u64),
    Among(BTreeSet<String>, BTreeSet<String>),
    /// Unknown where there are too many.
    Causes(Option<BTreeSet<String>>),
}

/// Facts by their names.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts(BTreeMap<Name, Fact>);

impl Facts {
    fn says(&mut self, name: Name, what: impl fmt::Debug) {
        self.0.insert(name, Fact::Text(format!("{what:?}")));
    }

    fn at(&mut self, name: Name, time: impl Into<Option<Timestamp>>) {
        if let Some(time) = time.into() {
            self.0.insert(name, Fact::At(time.as_millis()));
        }
    }

    fn lasts(&mut self, name: Name, span: impl Into<Option<Duration>>) {
        if let Some(span) = span.into() {
            self.0.insert(name, Fact::At(span.as_millis() as u64));
        }
    }

    /// What the tested side says differently. Times may differ by that many milliseconds.
    pub(super) fn differences(&self, tested: &Self, tolerance: u64) -> Vec<String> {
        let names: BTreeSet<&Name> = self.0.keys().chain(tested.0.keys()).collect();
        let differs = |name: &&&Name| match (self.0.get(**name), tested.0.get(**name)) {
            (Some(Fact::At(expected)), Some(Fact::At(tested))) => expected.abs_diff(*tested) > tolerance,
            (Some(Fact::Among(least, most)), Some(Fact::Among(named, _))) => {
                !(least.is_subset(named) && named.is_subset(most))
            }
            (Some(Fact::Causes(None)), Some(Fact::Causes(_))) | (Some(Fact::Causes(_)), Some(Fact::Causes(None))) => {
                false
            }
            (expected, tested) => expected != tested,
        };
        let line = |name: &&Name| {
            let (thing, number, what) = name;
            let [expected, tested] = [self.0.get(*name), tested.0.get(*name)].map(|fact| match fact {
                None => "nothing".to_owned(),
                Some(Fact::Text(text)) => text.clone(),
                Some(Fact::At(millis)) => format!("{millis} ms"),
                Some(Fact::Causes(causes)) => format!("{causes:?}"),
                Some(Fact::Among(least, most)) if least == most => format!("{least:?}"),
                Some(Fact::Among(least, most)) => format!("at least {least:?} and at most {most:?}"),
            });
            format!("{thing} {number}, {what}: the protocol says {expected}, the backend {tested}")
        };
        names.iter().filter(differs).map(line).collect()
    }

    /// The facts of an answer.
    pub(super) fn of_answer(&mut self, call: &Call, answer: &Answer) {
        let name = |what| ("answer", 0, what);
        match answer {
            Answer::Begun(BeginOutcome::Busy { remaining }) => self.lasts(name("busy for"), *remaining),
            Answer::Begun(BeginOutcome::Begun(begun)) => self.of_begun(begun),
            Answer::Committed(outcome) => self.of_commit(outcome),
            Answer::Waits(waits) => self.says(name("waits"), waits.iter().collect::<BTreeSet<_>>()),
            Answer::Invalidated(Invalidated { revision, marked, jobs }) => {
                self.says(name("revision"), revision);
                self.says(name("jobs"), jobs.iter().collect::<BTreeSet<_>>());
                // An entry that several changes affect may count once, or once for each.
                if call.changes() <= 1 {
                    self.says(name("marked"), marked);
                }
            }
            Answer::Led(Leadership::Leader { fence }) => self.says(name("leads under"), fence),
            Answer::Led(Leadership::Follower { retry_after }) => self.lasts(name("is led for"), *retry_after),
            Answer::Programs(Programs { known, .. }) => self.says(name("known"), known),
            Answer::Maintained(done) => {
                let Maintained { expired, reaped, trimmed: _, redone, marked, jobs, more: _ } = done;
                self.says(name("expired, reaped"), (expired, reaped));
                // How many changes it trims is a store's own affair: some keep each change, some the last of a dependency.
                self.says(name("redone, marked"), (redone, marked));
                self.says(name("jobs"), jobs.iter().collect::<BTreeSet<_>>());
            }
            Answer::Reserved(Reservation { jobs, next_due }) => {
                let mut jobs = jobs.clone();
                jobs.sort_by_key(|job| job.id);
                self.says(name("jobs"), jobs);
                self.lasts(name("next due"), *next_due);
            }
            Answer::Held(held) => self.says(name("held"), held),
            Answer::Enqueued(outcomes) => self.says(name("enqueued"), outcomes),
            Answer::Settled(outcomes) => self.says(name("settled"), outcomes),
            Answer::Count(count) => self.says(name("count"), count),
            Answer::Refused(kind) => self.says(name("refused"), kind),
            Answer::Failed(error) => self.says(name("failed"), error),
            Answer::Done | Answer::Epoch(_) => {}
        }
    }

    fn of_begun(&mut self, begun: &Begun) {
        let name = |what| ("answer", 0, what);
        self.says(name("start revision"), begun.start_revision);
        self.at(name("now"), begun.now);
        self.says(name("incarnation"), &begun.incarnation);
        self.of_validity("answer", &begun.validity);
        self.says(name("call"), &begun.call);
        self.says(name("used"), in_order(begun.used.iter().map(|used| (used.dependency, used.via))));
        self.says(name("conflicts, pending"), (begun.conflicts, begun.pending));
        if let Some(entry) = &begun.entry {
            self.says(name("value"), (&entry.value, &entry.meta, entry.version, entry.staleness, &entry.epochs));
            self.at(name("since"), entry.since);
            self.at(name("stored at"), entry.stored_at);
            self.at(name("expires"), entry.expires);
        }
    }

    fn of_commit(&mut self, outcome: &CommitOutcome) {
        let name = |what| ("answer", 0, what);
        let (said, now) = match outcome {
            CommitOutcome::Fresh { now } => ("fresh".to_owned(), Some(*now)),
            // Any of them may be named, where there are more.
            CommitOutcome::Conflicted { now, dependencies } if dependencies.len() >= NAMED_CONFLICTS => {
                ("conflicted with many".to_owned(), Some(*now))
            }
            CommitOutcome::Conflicted { now, dependencies } => {
                (format!("conflicted {:?}", dependencies.iter().collect::<BTreeSet<_>>()), Some(*now))
            }
            CommitOutcome::ConflictReported { now, revision, dependencies } => {
                let dependencies: BTreeSet<_> = dependencies.iter().collect();
                (format!("reported at {revision} {dependencies:?}"), Some(*now))
            }
            other => (format!("{other:?}"), None),
        };
        self.0.insert(name("outcome"), Fact::Text(said));
        self.at(name("now"), now);
    }

    fn of_validity(&mut self, thing: &'static str, validity: &Validity) {
        self.says((thing, 0, "epoch"), validity.epoch);
        for (number, (source, validity)) in validity.sources.iter().enumerate() {
            self.says((thing, number, "source"), (source, validity.epoch, &validity.caught_up_on));
            self.at((thing, number, "valid until"), validity.valid_until);
        }
        self.at((thing, 0, "attached until"), validity.attached_until);
    }

    /// The facts of what is stored.
    pub(super) fn of_seen(&mut self, seen: &Seen) {
        if let Some(validity) = &seen.validity {
            self.of_validity("validity", validity);
        }
        for (number, record) in seen.records.iter().enumerate() {
            if let Some(record) = record {
                self.of_record(number, record);
            }
        }
        for (number, dependants) in seen.dependants.iter().enumerate() {
            self.says(("edges of dependency", number, "dependants"), in_order(dependants.iter().copied()));
        }
        for (id, since) in &seen.stale {
            self.at(("stale listing", place(id), "since"), *since);
        }
        for (number, position) in seen.positions.iter().enumerate() {
            self.says(("source", number, "position"), position);
        }
        if let Some(stats) = &seen.stats {
            self.says(("statistics", 0, "all"), stats);
        }
        match &seen.changed {
            Some(Changed::Named(named)) => self.among(named, named),
            Some(Changed::Between { least, most }) => self.among(least, most),
            None => {}
        }
        self.says(("marks", 0, "on"), &seen.marked);
        for (id, until, notes) in &seen.programs {
            let number = usize::from(id.as_bytes()[0]);
            self.says(("program", number, "notes"), notes);
            self.at(("program", number, "until"), *until);
        }
        self.says(("jobs", 0, "counts"), seen.counts);
        for (state, jobs) in &seen.listed {
            for job in jobs {
                self.says(("listed job", place(&job.id), "state, error"), (state, &job.error));
                self.at(("listed job", place(&job.id), "at"), job.at);
            }
        }
        for (number, job) in seen.found.iter().enumerate() {
            if let Some(job) = job {
                let FoundJob { lane, state, at, errors, crashes, error, .. } = job;
                self.says(("job", number, "all"), (lane, state, errors, crashes, error));
                self.at(("job", number, "at"), *at);
            }
        }
    }

    fn of_record(&mut self, number: usize, record: &Record) {
        let name = |what| ("record", number, what);
        let entry = &record.entry;
        self.says(name("value"), (&entry.value, &entry.meta, &record.call));
        self.says(name("version"), entry.version);
        self.says(name("epochs"), &entry.epochs);
        self.says(name("staleness"), entry.staleness);
        self.at(name("since"), entry.since);
        self.at(name("stored at"), entry.stored_at);
        self.at(name("expires"), entry.expires);
        self.says(name("used"), in_order(record.used.iter().map(|used| (used.dependency, used.via))));
        // The causes of one step come in any order, so any of them may be left where a record has had more than it keeps.
        let causes = record.causes.iter().map(ToString::to_string).collect();
        self.0.insert(name("causes"), Fact::Causes(Some(causes).filter(|_| record.causes.len() < CAUSES)));
        self.says(name("lazy, conflicts, failures"), (record.lazy, record.conflicts, record.failures));
        if let Some(failure) = &record.last_failure {
            self.says(name("failure"), &failure.message);
            self.at(name("failed at"), failure.at);
        }
    }

    fn among(&mut self, least: &BTreeSet<Dependency>, most: &BTreeSet<Dependency>) {
        let [least, most] = [least, most].map(|set| set.iter().map(|one| format!("{one:?}")).collect());
        self.0.insert(("changes since a revision", 0, "dependencies"), Fact::Among(least, most));
    }
}

/// Each once, whatever order a backend keeps them in.
fn in_order<T: Ord + Copy>(items: impl Iterator<Item = (T, Via)>) -> Vec<(T, Via)> {
    let mut items: Vec<(T, Via)> = items.collect();
    items.sort_by_key(|(item, _)| *item);
    items.dedup();
    items
}

/// The number of an entry of a sequence.
fn place(id: &EntryId) -> usize {
    super::world::number_of(id)
}
