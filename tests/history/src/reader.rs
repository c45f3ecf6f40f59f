//! A sequence of reads.

use std::time::Duration;

use smache::{Cached, Call, Computed, Freshness, Result, Smache};
use tokio::{sync::watch, time::sleep};

use crate::{
    chance::Chance,
    clock::now,
    judge::reader_id,
    node::{Log, Phase, Setup},
    record::{Demand, Label, Line, Read},
    world::{CELLS, FLAGS, NOTES, PARENTS, Question, SEVERAL, TEAMS, flag, half, note, number, parent, several, team},
};

/// The pause between the rounds of a reader that looks at every call until all are fresh.
const ROUND: Duration = Duration::from_millis(50);
const AFTER_AN_ERROR: Duration = Duration::from_millis(20);

/// How a call is read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Verb {
    Get,
    Peek,
    Fresh,
}

/// What a reader got.
pub(crate) type Answer = (Question, Label, Vec<i64>);

pub(crate) struct Reader {
    id: u64,
    chance: Chance,
    smache: Smache,
    log: Log,
    lies: bool,
}

impl Reader {
    pub(crate) fn new(setup: &Setup, sequence: u64, seed: u64, smache: Smache, log: Log) -> Self {
        let id = reader_id(setup.process, sequence);
        Self { id, chance: Chance::new(seed), smache, log, lies: setup.lies }
    }

    pub(crate) async fn run(mut self, phase: watch::Receiver<Phase>) {
        loop {
            let now = *phase.borrow();
            match now {
                Phase::Run => self.one().await,
                Phase::Settle | Phase::Explain => self.all(now == Phase::Explain).await,
                Phase::End => return,
            }
        }
    }

    async fn one(&mut self) {
        let dice = self.chance.below(100);
        let asked = now();
        let (answers, demand) = if dice < 60 {
            (self.many().await, Demand::Nothing)
        } else {
            let questions: Vec<Question> = Question::all().collect();
            let Some(question) = self.chance.of(&questions).copied() else { return };
            let (verb, demand) = match dice {
                60..80 => (Verb::Get, Demand::Nothing),
                80..97 => (Verb::Peek, Demand::Nothing),
                _ => (Verb::Fresh, Demand::Fresh),
            };
            (vec![ask(&self.smache, question, verb).await], demand)
        };
        let failed = answers.iter().any(|(_, label, _)| *label == Label::Error);
        self.tell(asked, demand, answers);
        if failed {
            sleep(AFTER_AN_ERROR).await;
        }
    }

    /// All calls of a function in one look-up.
    async fn many(&mut self) -> Vec<Answer> {
        let smache = &self.smache;
        match self.chance.below(8) {
            0..2 => ask_many(smache, 0..CELLS, Question::Number, number).await,
            2..4 => ask_many(smache, 0..CELLS, Question::Half, half).await,
            4 => ask_many(smache, 0..NOTES, Question::Note, note).await,
            5 => ask_many(smache, 0..FLAGS, Question::Flag, flag).await,
            6 => {
                let mut answers = ask_many(smache, 0..SEVERAL, Question::Several, several).await;
                answers.extend(ask_many(smache, 0..TEAMS, Question::Team, team).await);
                answers
            }
            _ => ask_many(smache, 0..PARENTS, Question::Parent, parent).await,
        }
    }

    /// Looks at every call, and computes only what is not there.
    async fn all(&mut self, explains: bool) {
        for question in Question::all() {
            let asked = now();
            let answer = ask(&self.smache, question, Verb::Peek).await;
            let label = answer.1;
            self.tell(asked, Demand::Nothing, vec![answer]);
            match label {
                Label::Fresh => {}
                Label::Nothing => {
                    let asked = now();
                    let answer = ask(&self.smache, question, Verb::Get).await;
                    self.tell(asked, Demand::Nothing, vec![answer]);
                }
                _ if explains => self.explain(question).await,
                _ => {}
            }
        }
        sleep(ROUND).await;
    }

    async fn explain(&self, question: Question) {
        let why = why(&self.smache, question).await;
        self.log.later(&Line::Text(format!("{question:?} is not fresh: {why}")));
    }

    fn tell(&self, asked: u64, demand: Demand, mut answers: Vec<Answer>) {
        if self.lies {
            for (_, label, _) in answers.iter_mut().filter(|(_, label, _)| *label == Label::Stale) {
                *label = Label::Fresh;
            }
        }
        self.log.later(&Line::Read(Read { reader: self.id, asked, answered: now(), demand, answers }));
    }
}

fn label(freshness: Freshness) -> Label {
    match freshness {
        Freshness::Fresh { .. } => Label::Fresh,
        Freshness::Stale { .. } => Label::Stale,
        _ => Label::Unconfirmed,
    }
}

pub(crate) fn answer(question: Question, result: Result<Option<Cached<Vec<i64>>>>) -> Answer {
    match result {
        Ok(Some(cached)) => (question, label(cached.freshness()), cached.into_inner()),
        Ok(None) => (question, Label::Nothing, Vec::new()),
        Err(_) => (question, Label::Error, Vec::new()),
    }
}

async fn read<F: Computed<Output = Vec<i64>>>(
    smache: &Smache,
    call: Call<F>,
    verb: Verb,
) -> Result<Option<Cached<Vec<i64>>>> {
    match verb {
        Verb::Get => smache.get(call).await.map(Some),
        Verb::Peek => smache.peek(call).await,
        Verb::Fresh => smache.get(call.fresh()).await.map(Some),
    }
}

/// One answer.
pub(crate) async fn ask(smache: &Smache, question: Question, verb: Verb) -> Answer {
    let result = match question {
        Question::Number(id) => read(smache, number(id), verb).await,
        Question::Half(id) => read(smache, half(id), verb).await,
        Question::Note(id) => read(smache, note(id), verb).await,
        Question::Flag(id) => read(smache, flag(id), verb).await,
        Question::Several(group) => read(smache, several(group), verb).await,
        Question::Team(number) => read(smache, team(number), verb).await,
        Question::Parent(id) => read(smache, parent(id), verb).await,
    };
    answer(question, result)
}

async fn ask_many<F: Computed<Output = Vec<i64>>>(
    smache: &Smache,
    ids: std::ops::Range<i64>,
    question: fn(i64) -> Question,
    call: fn(i64) -> Call<F>,
) -> Vec<Answer> {
    let results = smache.get_many(ids.clone().map(call)).await;
    ids.zip(results).map(|(id, result)| answer(question(id), result.map(Some))).collect()
}

async fn why(smache: &Smache, question: Question) -> String {
    let inspect = smache.inspect();
    let why = match question {
        Question::Number(id) => inspect.why(number(id)).await,
        Question::Half(id) => inspect.why(half(id)).await,
        Question::Note(id) => inspect.why(note(id)).await,
        Question::Flag(id) => inspect.why(flag(id)).await,
        Question::Several(group) => inspect.why(several(group)).await,
        Question::Team(number) => inspect.why(team(number)).await,
        Question::Parent(id) => inspect.why(parent(id)).await,
    };
    why.map_or_else(|error| error.report(), |why| why.to_string())
}
