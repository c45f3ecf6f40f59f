//! The data, and the functions of it whose results are checked.
//!
//! An entity's whole state follows from a number that its only writer counts up. A function answers the numbers that it
//! has read, so that an answer tells exactly which state of each entity it stands for.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use smache::{Builder, Cx, Entity, Failure, State, computed, tag};

use crate::{chance::mixed, clock::now, data::Data};

pub(crate) const CELLS: i64 = 24;
pub(crate) const NOTES: i64 = 8;
pub(crate) const FLAGS: i64 = 8;
pub(crate) const TEAMS: i64 = 4;
pub(crate) const SEVERAL: i64 = 6;
pub(crate) const PARENTS: i64 = 8;
/// How many cells one result of `several` reads.
pub(crate) const TOGETHER: i64 = CELLS / SEVERAL;

/// An entity of the source that has a feed.
#[derive(Clone, Debug, Serialize, Deserialize, Entity)]
#[entity(source = "cells")]
pub(crate) struct Cell {
    #[serde(rename = "_id")]
    #[entity(id)]
    pub(crate) id: i64,
    pub(crate) n: i64,
    #[entity(index)]
    pub(crate) team: i64,
}

impl Cell {
    pub(crate) fn new(id: i64, n: i64) -> Self {
        Self { id, n, team: team_of(id, n) }
    }
}

/// An entity of the source whose changes the application reports: by id, or, for a flag, by its tag.
#[derive(Clone, Debug, Serialize, Deserialize, Entity)]
#[entity(source = "notes")]
pub(crate) struct Note {
    #[serde(rename = "_id")]
    #[entity(id)]
    pub(crate) id: i64,
    pub(crate) n: i64,
}

/// Cells change their team with each write.
pub(crate) fn team_of(id: i64, n: i64) -> i64 {
    let hash = mixed(id.unsigned_abs() << 32 | n.unsigned_abs());
    i64::try_from(hash % TEAMS.unsigned_abs()).unwrap_or_default()
}

/// One entity of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Item {
    Cell(i64),
    Note(i64),
    Flag(i64),
}

impl Item {
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let cells = (0..CELLS).map(Self::Cell);
        cells.chain((0..NOTES).map(Self::Note)).chain((0..FLAGS).map(Self::Flag))
    }
}

/// The tag by which changes of a flag are reported.
pub(crate) fn tag_of(flag: i64) -> String {
    format!("flag-{flag}")
}

/// A call of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Question {
    Number(i64),
    Half(i64),
    Note(i64),
    Flag(i64),
    Several(i64),
    Team(i64),
    Parent(i64),
}

/// A part of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The number of an entity.
    Whole(Item),
    /// Half of the number of an entity: it changes with every other write.
    Half(Item),
    /// The cells of a team: how many, then id and number of each.
    Team(i64),
}

impl Question {
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let cells = (0..CELLS).flat_map(|id| [Self::Number(id), Self::Half(id)]);
        let reported = (0..NOTES).map(Self::Note).chain((0..FLAGS).map(Self::Flag));
        let groups = (0..SEVERAL).map(Self::Several).chain((0..TEAMS).map(Self::Team));
        cells.chain(reported).chain(groups).chain((0..PARENTS).map(Self::Parent))
    }

    /// What an answer consists of, in order.
    pub(crate) fn parts(self) -> Vec<Part> {
        match self {
            Self::Number(id) => vec![Part::Whole(Item::Cell(id))],
            Self::Half(id) => vec![Part::Half(Item::Cell(id))],
            Self::Note(id) => vec![Part::Whole(Item::Note(id))],
            Self::Flag(id) => vec![Part::Whole(Item::Flag(id))],
            Self::Several(group) => {
                let cells = members(group).map(Item::Cell);
                cells.chain([Item::Note(group % NOTES)]).map(Part::Whole).collect()
            }
            Self::Team(team) => vec![Part::Team(team)],
            Self::Parent(id) => children(id).into_iter().flat_map(Self::parts).collect(),
        }
    }
}

fn members(group: i64) -> impl Iterator<Item = i64> {
    (0..TOGETHER).map(move |at| group * TOGETHER + at)
}

/// The calls that a parent makes.
fn children(parent: i64) -> [Question; 5] {
    [
        Question::Half(parent),
        Question::Half(parent + PARENTS),
        Question::Several(parent % SEVERAL),
        Question::Team(parent % TEAMS),
        Question::Flag(parent % FLAGS),
    ]
}

/// How slow the functions are, so that changes meet their runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// How many milliseconds a pause has at most.
    pub(crate) pause: u64,
}

impl Pace {
    async fn pause(&self) {
        let random = mixed(now());
        // A slow run now and then, so that some end early because changes have overtaken them.
        let millis = if random.is_multiple_of(200) { 700 } else { random % (self.pause + 1) };
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }
}

/// The direct read of an entity.
#[computed]
pub(crate) async fn number(cell: Entity<Cell>) -> Vec<i64> {
    vec![cell.n]
}

/// It comes out equal after every other change: the callers of it need not run then.
#[computed]
pub(crate) async fn half(cell: Entity<Cell>, pace: State<Pace>) -> Vec<i64> {
    pace.pause().await;
    vec![cell.n / 2]
}

/// The direct read of an entity whose changes are reported.
#[computed]
pub(crate) async fn note(note: Entity<Note>) -> Vec<i64> {
    vec![note.n]
}

/// A read by a client of the function, which a tag stands for.
#[computed]
pub(crate) async fn flag(cx: &Cx, id: i64, data: State<Data>) -> Result<Vec<i64>, Failure> {
    cx.depends_on(tag(tag_of(id)))?;
    Ok(vec![data.flag(id).await.map_err(Failure::transient)?])
}

/// Several entities, one after the other.
#[computed(reads(Cell, Note))]
pub(crate) async fn several(cx: &Cx, group: i64, pace: State<Pace>) -> Result<Vec<i64>, Failure> {
    let mut seen = Vec::new();
    for id in members(group) {
        let cell = cx.load::<Cell>(&id).await?;
        seen.push(cell.map_or(-1, |cell| cell.n));
        pace.pause().await;
    }
    let note = cx.load::<Note>(&(group % NOTES)).await?;
    seen.push(note.map_or(-1, |note| note.n));
    Ok(seen)
}

/// A predicate: cells come and go with each write.
#[computed(reads(Cell))]
pub(crate) async fn team(cx: &Cx, team: i64, pace: State<Pace>) -> Result<Vec<i64>, Failure> {
    let mut cells: Vec<(i64, i64)> = cx.find(Cell::TEAM.eq(team)).await?.iter().map(|cell| (cell.id, cell.n)).collect();
    pace.pause().await;
    cells.sort_unstable();
    let count = i64::try_from(cells.len()).unwrap_or(-1);
    Ok([count].into_iter().chain(cells.into_iter().flat_map(|(id, n)| [id, n])).collect())
}

/// A result of results.
#[computed(calls(half, several, team, flag))]
pub(crate) async fn parent(cx: &Cx, id: i64) -> Result<Vec<i64>, Failure> {
    let mut seen = Vec::new();
    for child in children(id) {
        let part = match child {
            Question::Half(id) => cx.get(half(id)).await?,
            Question::Several(group) => cx.get(several(group)).await?,
            Question::Team(number) => cx.get(team(number)).await?,
            Question::Flag(id) => cx.get(flag(id)).await?,
            other => return Err(Failure::permanent(format!("{other:?} is no child"))),
        };
        seen.extend(part.iter());
    }
    Ok(seen)
}

/// All functions of a process.
pub(crate) fn register(builder: Builder) -> Builder {
    builder
        .register::<number>()
        .register::<half>()
        .register::<note>()
        .register::<flag>()
        .register::<several>()
        .register::<team>()
        .register::<parent>()
}
