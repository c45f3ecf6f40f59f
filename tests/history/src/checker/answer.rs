//! What an answer says about each entity.

use crate::world::{Item, Part, Question, team_of};

/// What a part of an answer says about an entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Observed {
    /// Its number.
    Whole(Item, i64),
    /// Half of its number.
    Half(Item, i64),
    /// The cell of that id is not in that team.
    NotInTeam(i64, i64),
}

impl Observed {
    pub(super) fn item(self) -> Item {
        match self {
            Self::Whole(item, _) | Self::Half(item, _) => item,
            Self::NotInTeam(id, _) => Item::Cell(id),
        }
    }

    /// The numbers that the entity may have had.
    pub(super) fn range(self) -> Option<(i64, i64)> {
        match self {
            Self::Whole(_, n) => Some((n, n)),
            Self::Half(_, half) => Some((2 * half, 2 * half + 1)),
            Self::NotInTeam(..) => None,
        }
    }

    /// Whether the entity may have had a number between the two, which are included.
    pub(super) fn is_possible(self, at_least: i64, at_most: i64) -> bool {
        match (self, self.range()) {
            (Self::NotInTeam(id, team), _) => (at_least..=at_most).any(|n| team_of(id, n) != team),
            (_, Some((low, high))) => low <= at_most && high >= at_least,
            (_, None) => false,
        }
    }
}

/// Everything that an answer says, each with the number of the part that says it; `None` if no answer to the question
/// looks so.
pub(super) fn observe(question: Question, answer: &[i64]) -> Option<Vec<(usize, Observed)>> {
    let mut rest = answer.iter().copied();
    let mut observed = Vec::with_capacity(answer.len());
    for (at, part) in question.parts().into_iter().enumerate() {
        match part {
            Part::Whole(item) => observed.push((at, Observed::Whole(item, rest.next()?))),
            Part::Half(item) => observed.push((at, Observed::Half(item, rest.next()?))),
            Part::Team(team) => observed.extend(in_team(team, &mut rest)?.into_iter().map(|seen| (at, seen))),
        }
    }
    rest.next().is_none().then_some(observed)
}

fn in_team(team: i64, rest: &mut impl Iterator<Item = i64>) -> Option<Vec<Observed>> {
    let mut observed = Vec::new();
    let count = rest.next()?;
    let mut missing = Item::all().filter_map(|item| if let Item::Cell(id) = item { Some(id) } else { None });
    for _ in 0..count {
        let (id, n) = (rest.next()?, rest.next()?);
        // Ordered by id: the cells before it are missing.
        loop {
            let expected = missing.next()?;
            if expected == id {
                break;
            }
            observed.push(Observed::NotInTeam(expected, team));
        }
        if team_of(id, n) != team {
            return None;
        }
        observed.push(Observed::Whole(Item::Cell(id), n));
    }
    observed.extend(missing.map(|id| Observed::NotInTeam(id, team)));
    Some(observed)
}
