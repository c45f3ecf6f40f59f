//! Histories that are right, and one for each way to be wrong.

use super::{Checker, Wrong};
use crate::{
    record::{Demand, Label, Line, Read},
    world::{Item, Part, Question, TEAMS, team_of},
};

const CELL: Item = Item::Cell(3);
const NOTE: Item = Item::Note(2);
/// How long a committed change may be missing.
const VALIDITY: u64 = 1_000;

/// A checker that knows of writes: entity, number, its begin, commit and acknowledgement.
fn after(writes: &[(Item, i64, u64, u64, u64)]) -> Checker {
    let mut checker = Checker::new(VALIDITY);
    for (item, n, started, written, acked) in writes {
        checker.wrote(&Line::Start(*item, *n, *started));
        checker.wrote(&Line::Written(*item, *n, *written));
        checker.wrote(&Line::Acked(*item, *n, *acked));
    }
    checker
}

/// The number 1 from 110 on, at the latest, and the number 2 from 210 on.
fn two_writes(item: Item) -> Checker {
    after(&[(item, 1, 100, 105, 110), (item, 2, 200, 205, 210)])
}

fn read(asked: u64, answered: u64, demand: Demand, answer: (Question, Label, Vec<i64>)) -> Read {
    Read { reader: 7, asked, answered, demand, answers: vec![answer] }
}

fn wrong(
    checker: &mut Checker,
    asked: u64,
    answered: u64,
    label: Label,
    question: Question,
    answer: &[i64],
) -> Option<Wrong> {
    let read = read(asked, answered, Demand::Nothing, (question, label, answer.to_vec()));
    checker.read(&read).pop().map(|violation| violation.wrong)
}

fn fresh(checker: &mut Checker, asked: u64, answered: u64, question: Question, answer: &[i64]) -> Option<Wrong> {
    wrong(checker, asked, answered, Label::Fresh, question, answer)
}

fn note(checker: &mut Checker, asked: u64, answered: u64, n: i64) -> Option<Wrong> {
    fresh(checker, asked, answered, Question::Note(2), &[n])
}

#[test]
fn every_state_between_acknowledgement_and_end_is_right() {
    for (asked, answered, n) in
        [(0, 50, 0), (105, 108, 0), (105, 108, 1), (111, 199, 1), (150, 205, 1), (150, 205, 2), (211, 220, 2)]
    {
        let mut checker = two_writes(NOTE);
        assert_eq!(note(&mut checker, asked, answered, n), None, "{n} from {asked} to {answered}");
        assert_eq!((checker.figures.fresh, checker.figures.violations), (1, 0));
    }
}

#[test]
fn an_acknowledged_change_that_is_missing_is_found_with_its_lines() {
    let mut checker = two_writes(NOTE);
    let found = checker.read(&read(211, 220, Demand::Nothing, (Question::Note(2), Label::Fresh, vec![1])));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].wrong, Wrong::Lost { item: NOTE, at_least: 2 });
    assert!(found[0].lines.contains(&Line::Acked(NOTE, 2, 210)) && matches!(found[0].lines[0], Line::Read(_)));
    assert!(found[0].to_string().contains(r#"{"Acked":[{"Note":2},2,210]}"#), "{}", found[0]);
    assert_eq!(checker.figures.violations, 1);
}

#[test]
fn a_change_counts_from_its_acknowledgement_and_not_from_its_commit() {
    let mut checker = two_writes(NOTE);
    assert_eq!(note(&mut checker, 210, 212, 1), None, "acknowledged while the read was under way");
    assert_eq!(note(&mut checker, 211, 212, 1), Some(Wrong::Lost { item: NOTE, at_least: 2 }));
}

#[test]
fn a_stale_or_unconfirmed_value_may_be_old() {
    for label in [Label::Stale, Label::Unconfirmed] {
        assert_eq!(wrong(&mut two_writes(NOTE), 900, 910, label, Question::Note(2), &[0]), None);
    }
}

#[test]
fn a_number_that_was_not_written_is_found_whatever_it_is_called() {
    for label in [Label::Fresh, Label::Stale, Label::Unconfirmed] {
        let found = wrong(&mut two_writes(NOTE), 120, 199, label, Question::Note(2), &[2]);
        assert_eq!(found, Some(Wrong::Future { item: NOTE, at_most: 1 }), "{label:?}");
        let found = wrong(&mut two_writes(NOTE), 120, 199, label, Question::Note(2), &[-1]);
        assert_eq!(found, Some(Wrong::Future { item: NOTE, at_most: 1 }), "an entity is always there: {label:?}");
    }
}

#[test]
fn a_reader_that_goes_back_is_found() {
    let mut checker = two_writes(NOTE);
    assert_eq!(note(&mut checker, 202, 204, 2), None);
    assert_eq!(note(&mut checker, 206, 207, 1), Some(Wrong::Back { item: NOTE, before: 2 }));
    assert_eq!(wrong(&mut checker, 206, 207, Label::Stale, Question::Note(2), &[1]), None, "it is not called fresh");
    let mut other = read(206, 207, Demand::Nothing, (Question::Note(2), Label::Fresh, vec![1]));
    other.reader = 8;
    assert!(checker.read(&other).is_empty(), "another reader has not seen it");
}

#[test]
fn a_process_that_is_gone_is_forgotten() {
    let mut checker = two_writes(NOTE);
    assert_eq!(note(&mut checker, 202, 204, 2), None);
    checker.forget(|reader| reader == 7);
    assert_eq!(note(&mut checker, 206, 207, 1), None);
}

#[test]
fn a_feed_that_is_behind_for_too_long_is_found() {
    let mut checker = Checker::new(VALIDITY);
    checker.wrote(&Line::Start(CELL, 1, 100));
    checker.wrote(&Line::Written(CELL, 1, 105));
    // It is never acknowledged.
    assert_eq!(fresh(&mut checker, 105 + VALIDITY, 2_000, Question::Number(3), &[0]), None);
    let late = fresh(&mut checker, 106 + VALIDITY, 2_000, Question::Number(3), &[0]);
    assert_eq!(late, Some(Wrong::Late { item: CELL, at_least: 1 }));
    checker.wrote(&Line::Start(NOTE, 1, 100));
    checker.wrote(&Line::Written(NOTE, 1, 105));
    assert_eq!(note(&mut checker, 9_000, 9_001, 0), None, "a report has no such bound");
}

#[test]
fn a_reader_gets_what_it_demanded_whatever_it_is_called() {
    let mut checker = two_writes(NOTE);
    let mut demanded = |demand, n| {
        let answer = (Question::Note(2), Label::Unconfirmed, vec![n]);
        checker.read(&read(230, 240, demand, answer)).pop().map(|violation| violation.wrong)
    };
    assert_eq!(demanded(Demand::Fresh, 1), Some(Wrong::Lost { item: NOTE, at_least: 2 }));
    assert_eq!(demanded(Demand::Fresh, 2), None);
    assert_eq!(demanded(Demand::AtLeast(NOTE, 2), 1), Some(Wrong::Own { item: NOTE, at_least: 2 }));
    assert_eq!(demanded(Demand::AtLeast(NOTE, 1), 1), None);
    assert_eq!(checker.figures.demanded, 4);
}

#[test]
fn half_a_number_stands_for_two_of_them() {
    let mut checker = two_writes(CELL);
    assert_eq!(fresh(&mut checker, 120, 130, Question::Half(3), &[0]), None);
    assert_eq!(fresh(&mut checker, 220, 230, Question::Half(3), &[0]), Some(Wrong::Lost { item: CELL, at_least: 2 }));
    assert_eq!(fresh(&mut checker, 120, 130, Question::Half(3), &[1]), Some(Wrong::Future { item: CELL, at_most: 1 }));
}

/// The answer about a team when the cell 3 has that number and all others have none.
fn members(team: i64, n: i64) -> Vec<i64> {
    let state = |id| if Item::Cell(id) == CELL { n } else { 0 };
    let cells = Item::all().filter_map(|item| if let Item::Cell(id) = item { Some(id) } else { None });
    let of_team: Vec<i64> =
        cells.filter(|id| team_of(*id, state(*id)) == team).flat_map(|id| [id, state(id)]).collect();
    let count = i64::try_from(of_team.len() / 2).expect("a small number");
    [vec![count], of_team].concat()
}

#[test]
fn a_cell_that_left_its_team_or_came_to_it_is_missed() {
    let next = (1..).find(|n| team_of(3, *n) != team_of(3, 0)).expect("a number");
    let (left, joined) = (team_of(3, 0), team_of(3, next));
    for team in 0..TEAMS {
        let mut checker = after(&[(CELL, next, 100, 105, 110)]);
        assert_eq!(fresh(&mut checker, 120, 130, Question::Team(team), &members(team, next)), None);
        let found = fresh(&mut checker, 120, 130, Question::Team(team), &members(team, 0));
        let lost = (team == left || team == joined).then_some(Wrong::Lost { item: CELL, at_least: next });
        assert_eq!(found, lost, "team {team}");
    }
}

/// The answer of a parent: half of the cell 0, half of another one, its group of cells, a team, and a flag.
fn nested(cell: i64, several: i64, flag: i64) -> Vec<i64> {
    let parts = Question::Parent(0).parts();
    let team = parts.iter().find_map(|part| if let Part::Team(team) = part { Some(*team) } else { None });
    [vec![cell / 2, 0, several], vec![0; 4], members(team.expect("a team"), 0), vec![flag]].concat()
}

#[test]
fn the_parts_of_a_nested_answer_are_judged_each() {
    let mut checker = after(&[(Item::Flag(0), 1, 100, 105, 110)]);
    assert_eq!(fresh(&mut checker, 120, 130, Question::Parent(0), &nested(0, 0, 1)), None);
    let lost = Wrong::Lost { item: Item::Flag(0), at_least: 1 };
    assert_eq!(fresh(&mut checker, 120, 130, Question::Parent(0), &nested(0, 0, 0)), Some(lost));
}

#[test]
fn two_parts_of_an_answer_may_differ_until_the_change_is_acknowledged() {
    let cell = Item::Cell(0);
    let mut checker = Checker::new(VALIDITY);
    checker.wrote(&Line::Start(cell, 1, 100));
    // The group was read after the write, and the team before it.
    for _ in 0..2 {
        assert_eq!(fresh(&mut checker, 120, 130, Question::Parent(0), &nested(1, 1, 0)), None);
    }
    let back = Wrong::Back { item: cell, before: 1 };
    assert_eq!(fresh(&mut checker, 120, 130, Question::Parent(0), &nested(1, 0, 0)), Some(back), "in the same part");
    checker.wrote(&Line::Acked(cell, 1, 140));
    let team = fresh(&mut checker, 150, 160, Question::Parent(0), &nested(1, 1, 0));
    assert_eq!(team, Some(Wrong::Lost { item: cell, at_least: 1 }));
}

#[test]
fn an_answer_that_no_function_gives_is_found() {
    let team = members(0, 0);
    for (question, answer) in [
        (Question::Note(2), vec![]),
        (Question::Note(2), vec![0, 0]),
        (Question::Several(0), vec![0; 4]),
        (Question::Team(0), team[..team.len() - 1].to_vec()),
        (Question::Team(1), team.clone()),
        (Question::Team(0), vec![1, 99, 0]),
    ] {
        assert_eq!(
            wrong(&mut two_writes(NOTE), 120, 130, Label::Stale, question, &answer),
            Some(Wrong::Form),
            "{question:?}"
        );
    }
}

#[test]
fn the_write_that_a_successor_repeats_is_the_same_write() {
    let mut checker = Checker::new(VALIDITY);
    checker.wrote(&Line::Start(NOTE, 1, 100));
    checker.wrote(&Line::Start(NOTE, 1, 300));
    checker.wrote(&Line::Written(NOTE, 1, 305));
    assert_eq!(note(&mut checker, 120, 130, 1), None, "the first attempt may have come through");
    assert_eq!(wrong(&mut checker, 310, 320, Label::Stale, Question::Note(2), &[0]), None);
    assert_eq!(checker.last(NOTE), (1, false), "the report is still to come");
    checker.wrote(&Line::Acked(NOTE, 1, 330));
    assert_eq!((checker.last(NOTE), checker.figures.changes), ((1, true), 1));
}

#[test]
fn answers_without_a_value_are_counted_only() {
    let mut checker = two_writes(NOTE);
    for label in [Label::Nothing, Label::Error] {
        assert_eq!(wrong(&mut checker, 900, 910, label, Question::Note(2), &[]), None);
    }
    assert_eq!((checker.figures.nothing, checker.figures.errors, checker.figures.fresh), (1, 1, 0));
}
