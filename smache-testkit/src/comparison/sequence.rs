//! One sequence on both sides.

use std::{
    collections::HashSet,
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use smache_core::{Backend, Epoch, Incarnation, JobWrites, Timestamp};

use super::{
    Shape,
    call::Call,
    expected::{Candidate, Stage},
    facts::{Answer, Facts},
    operation::Operation,
    subject::{Sight, Subject},
    world::Slots,
};
use crate::{
    BackendHarness,
    harness::random_namespace,
    reference::{Moment, Partition},
};

/// By how much times may differ where the clock is the server's: much less than the spans that a sequence has.
const REAL_SLACK: Duration = Duration::from_secs(60);

/// The most states that are followed at once.
const CANDIDATES: usize = 200;

/// Where the sides differ.
#[derive(Debug)]
pub(super) struct Difference {
    /// The operation after which they do.
    pub(super) step: usize,
    pub(super) lines: Vec<String>,
}

/// Whether a role is there: one that a backend does not have is `None`.
pub(super) fn open(backend: &dyn Backend, shape: Shape, namespace: &smache_core::Namespace) -> Option<Subject> {
    let subject = match shape {
        Shape::Together => {
            backend.both(namespace).map(|(store, queue)| Subject { store: Some(store), queue: Some(queue) })
        }
        Shape::StoreAlone => backend.store(namespace).map(|store| Subject { store: Some(store), queue: None }),
        Shape::QueueAlone => backend.queue(namespace).map(|queue| Subject { store: None, queue: Some(queue) }),
    };
    match subject {
        Ok(subject) => Some(subject),
        Err(error) if error.kind() == smache_core::ErrorKind::Unsupported => None,
        Err(error) => panic!("{shape:?}: {error:?}"),
    }
}

/// Plays a sequence in a new namespace. Returns where the sides differ, if they do.
pub(super) async fn play(harness: &BackendHarness, shape: Shape, operations: &[Operation]) -> Result<(), Difference> {
    let namespace = random_namespace();
    let handles = [Some(harness.role()), harness.second()];
    let subjects = handles.into_iter().flatten().filter_map(|backend| open(&**backend, shape, &namespace)).collect();
    let mut play = Play::begin(harness, subjects).await.map_err(|lines| Difference { step: 0, lines })?;
    for (step, operation) in operations.iter().enumerate() {
        play.operate(operation).await.map_err(|lines| Difference { step, lines })?;
    }
    play.resume().await.map_err(|lines| Difference { step: operations.len(), lines })
}

type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// An invalidation that was interrupted.
struct Pending {
    future: Answering,
    call: Call,
    between: u8,
    dies: bool,
}

struct Play<'a> {
    harness: &'a BackendHarness,
    subjects: Vec<Subject>,
    slots: Slots,
    candidates: Vec<Candidate>,
    /// The epochs that the tested side has shown.
    epochs: HashSet<Epoch>,
    now: Timestamp,
    here: Incarnation,
    slack: Duration,
    /// The longest time between two looks with a call in between: the protocol may have stored a time that is so much
    /// earlier than that of the tested side.
    doubt: Duration,
    pending: Option<Pending>,
}

impl<'a> Play<'a> {
    async fn begin(harness: &'a BackendHarness, subjects: Vec<Subject>) -> Result<Self, Vec<String>> {
        let slack = if harness.is_moved_by_hand() { Duration::ZERO } else { REAL_SLACK };
        let subject = &subjects[0];
        // A namespace that has nothing may have no epoch either.
        for call in [Call::NewEpoch, Call::Maintain] {
            subject.call(&call).await;
        }
        let Sight { seen, now, here } = subject.see().await.map_err(|error| failed(&error))?;
        let epoch = seen.validity.map_or(Epoch::from_bytes([1; Epoch::LEN]), |validity| validity.epoch);
        let mut partition = Partition::new(epoch);
        partition.revision = seen.stats.map_or(0, |stats| stats.revision);
        let reports = subject.store.as_ref().is_some_and(|store| store.job_writes() == JobWrites::Reported);
        if reports {
            partition.job_writes = JobWrites::Reported;
        }
        let mut first = Candidate::new(partition, slack);
        first.call(Moment { now, incarnation: &here }, &Call::Maintain, &Answer::Done, usize::MAX);
        let (epochs, candidates) = ([epoch].into(), vec![first]);
        let mut play = Self {
            harness,
            subjects,
            slots: Slots::default(),
            candidates,
            epochs,
            now,
            here,
            slack,
            doubt: Duration::ZERO,
            pending: None,
        };
        play.check(None).await?;
        Ok(play)
    }

    async fn operate(&mut self, operation: &Operation) -> Result<(), Vec<String>> {
        match self.pending.as_mut().map(|pending| pending.between.checked_sub(1)) {
            Some(Some(left)) => self.pending.iter_mut().for_each(|pending| pending.between = left),
            Some(None) => self.resume().await?,
            None => {}
        }
        match *operation {
            Operation::Pass { millis } => {
                self.harness.advance(Duration::from_millis(millis.into())).await;
                return self.check(None).await;
            }
            Operation::NewIncarnation if self.harness.has_new_incarnation() => {
                self.harness.new_incarnation().await;
                return self.check(None).await;
            }
            _ => {}
        }
        let Some(call) = Call::of(operation, &mut self.slots, self.now) else { return Ok(()) };
        if let Operation::Interrupted { polls, between, dies, .. } = *operation
            && self.pending.is_none()
            && self.harness.has_pauses()
        {
            return self.interrupt(call, polls, between, dies).await;
        }
        // A process whose invalidation is stopped does nothing else: its steps may have to take turns.
        let process = if self.pending.is_some() { 0 } else { operation.process() };
        let subject = &self.subjects[usize::from(process) % self.subjects.len()];
        let answer = subject.call(&call).await;
        call.learn(operation, &answer, &mut self.slots, &self.here);
        self.check(Some((&call, &answer))).await
    }

    /// Looks at what is stored, and keeps the states that agree with it and with the answer.
    async fn check(&mut self, asked: Option<(&Call, &Answer)>) -> Result<(), Vec<String>> {
        let Sight { seen, now, here } = self.subjects[0].see().await.map_err(|error| failed(&error))?;
        let before = std::mem::replace(&mut self.now, now);
        // A call happened before the look; without one, another incarnation may be there.
        let at_here = if asked.is_some() { self.here.clone() } else { here.clone() };
        self.here = here;
        if asked.is_some() {
            self.doubt = self.doubt.max(now.since(before));
        }
        let mut tested = Facts::default();
        tested.of_seen(&seen);
        if let Some((call, answer)) = asked {
            tested.of_answer(call, answer);
        }
        if let Some((_, Answer::Epoch(answered))) = asked {
            let kept = seen.validity.as_ref().map(|validity| validity.epoch);
            if kept != Some(*answered) {
                return Err(vec![format!("the backend answered the epoch {answered:?}, and keeps {kept:?}")]);
            }
        }
        // An entry that a change affects twice has one job for both, or that of the page that comes first.
        let in_pages = asked.is_some_and(|(call, _)| call.changes() > 1) && self.harness.has_pages();
        let pages: &[usize] = if in_pages { &[usize::MAX, 1] } else { &[usize::MAX] };
        let mut nearest: Option<Vec<String>> = None;
        for at in moments(before, now, self.doubt) {
            let at = Moment { now: at, incarnation: &at_here };
            let mut agree: Vec<Candidate> = Vec::new();
            for (candidate, page) in
                self.candidates.iter().flat_map(|candidate| pages.iter().map(move |page| (candidate, *page)))
            {
                let mut candidate = candidate.clone();
                let mut expected = Facts::default();
                let said = asked.map(|(call, answer)| (call, candidate.call(at, call, answer, page)));
                if let Some(validity) = &seen.validity {
                    candidate.take_epochs(validity, |epoch| self.epochs.contains(epoch));
                }
                expected.of_seen(&candidate.see(self.subjects[0].store.is_some(), self.subjects[0].queue.is_some()));
                if let Some((call, said)) = &said {
                    expected.of_answer(call, said);
                }
                let differences = expected.differences(&tested, self.slack.as_millis() as u64);
                if !differences.is_empty() {
                    if nearest.as_ref().is_none_or(|nearest| differences.len() < nearest.len()) {
                        nearest = Some(differences);
                    }
                } else if !agree.contains(&candidate) {
                    agree.push(candidate);
                }
            }
            if !agree.is_empty() {
                agree.truncate(CANDIDATES);
                self.candidates = agree;
                if let Some(validity) = &seen.validity {
                    self.epochs.insert(validity.epoch);
                    self.epochs.extend(validity.sources.values().map(|validity| validity.epoch));
                }
                return Ok(());
            }
        }
        Err(nearest.unwrap_or_default())
    }

    /// Polls an invalidation some times. Nothing goes on until it is polled again.
    async fn interrupt(&mut self, call: Call, polls: u8, between: u8, dies: bool) -> Result<(), Vec<String>> {
        let Call::Invalidate(invalidation) = &call else { return Ok(()) };
        let attempt = smache_core::InvalidationAttempt::next(invalidation.step.as_ref());
        for candidate in &mut self.candidates {
            candidate.walk = Some(Stage::Waiting(invalidation.clone(), attempt));
        }
        let subject = self.subjects[self.subjects.len() - 1].clone();
        let asked = call.clone();
        let mut future: Answering = Box::pin(async move { subject.call(&asked).await });
        let mut answer = None;
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..polls {
            if let Poll::Ready(ready) = future.as_mut().poll(&mut context) {
                answer = Some(ready);
                break;
            }
        }
        self.spread();
        match answer {
            Some(answer) => self.end(&call, &answer).await,
            None => {
                self.pending = Some(Pending { future, call, between, dies });
                self.check(None).await
            }
        }
    }

    /// Lets the interrupted invalidation go on to its end, or forgets it with its process.
    async fn resume(&mut self) -> Result<(), Vec<String>> {
        let Some(Pending { future, call, dies, .. }) = self.pending.take() else { return Ok(()) };
        if dies {
            drop(future);
            self.candidates.iter_mut().for_each(|candidate| candidate.walk = None);
            return self.check(None).await;
        }
        let answer = future.await;
        self.spread();
        self.end(&call, &answer).await
    }

    /// Adds the states that the interrupted invalidation can reach by itself.
    fn spread(&mut self) {
        let mut open = self.candidates.clone();
        while let Some(candidate) = open.pop() {
            for next in candidate.goes_on(Moment { now: self.now, incarnation: &self.here }) {
                if !self.candidates.contains(&next) {
                    self.candidates.push(next.clone());
                    open.push(next);
                }
            }
        }
    }

    /// The interrupted invalidation is over: keeps the states in which it is, with that answer.
    async fn end(&mut self, call: &Call, answer: &Answer) -> Result<(), Vec<String>> {
        let mut tested = Facts::default();
        tested.of_answer(call, answer);
        let mut nearest = Vec::new();
        let over = self.candidates.drain(..).filter_map(|mut candidate| {
            let Some(Stage::Over(ended)) = candidate.walk.take() else { return None };
            let mut expected = Facts::default();
            expected.of_answer(call, &ended.0);
            let differences = expected.differences(&tested, self.slack.as_millis() as u64);
            if differences.is_empty() {
                return Some(candidate);
            }
            nearest = differences;
            None
        });
        let over: Vec<Candidate> = over.collect();
        self.candidates = over;
        if self.candidates.is_empty() {
            return Err(nearest);
        }
        self.check(None).await
    }
}

/// The moments at which a call may have happened, the first one first; then those at which it would have happened as
/// long after the times of the protocol as it did after those of the tested side.
fn moments(before: Timestamp, after: Timestamp, doubt: Duration) -> impl Iterator<Item = Timestamp> {
    let (before, after) = (before.as_millis(), after.as_millis());
    let earlier = before.saturating_sub(doubt.as_millis() as u64)..before;
    (before..=after.max(before)).take(5_000).chain(earlier.rev().take(5_000)).map(Timestamp::from_millis)
}

fn failed(error: &smache_core::Error) -> Vec<String> {
    vec![format!("a look at what is stored failed: {error:?}")]
}
