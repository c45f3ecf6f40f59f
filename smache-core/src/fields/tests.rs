//! Which values are equal, and which index a predicate depends on.

use super::*;
use crate::{Dependency, Image, SourceId};

struct Grade {
    id: u64,
    course: u64,
    points: f64,
}

const COURSE: Field<Grade, u64> = Field::new("course_id", |grade| &grade.course);
const POINTS: Field<Grade, f64> = Field::new("points", |grade| &grade.points);

impl EntityType for Grade {
    type Id = u64;
    const SOURCE: &'static str = "grades";

    fn id(&self) -> &u64 {
        &self.id
    }

    fn indexes() -> Vec<Index<Self>> {
        vec![Index::on(COURSE), Index::on(POINTS).and(COURSE), Index::on(COURSE).and(POINTS)]
    }
}

fn grade(course: u64, points: f64) -> Image {
    Image::new(Grade { id: 1, course, points })
}

fn source() -> SourceId {
    SourceId::new(Grade::SOURCE).expect("a good name")
}

/// Whether a change of an image affects a predicate, by the index that the predicate depends on.
fn affects(predicate: &Predicate<Grade>, image: &Image) -> bool {
    let indexes = RawIndex::all::<Grade>();
    let filter = predicate.clone().into_filter().expect("comparable values");
    let (index, dependency) = filter.dependency(&source(), &indexes).expect("an index covers it");
    let affected = Dependency::predicate(
        &index.id,
        &source(),
        &index.values(image, &Comparisons::as_written()).expect("comparable values"),
    );
    assert_eq!(
        affected == dependency,
        filter.matches(image).expect("the type is right"),
        "the index and the filter agree"
    );
    affected == dependency
}

#[test]
fn an_entity_affects_the_predicates_that_it_fulfils() {
    assert!(affects(&COURSE.eq(7_u64), &grade(7, 1.0)));
    assert!(!affects(&COURSE.eq(7_u64), &grade(8, 1.0)));
    let both = COURSE.eq(7_u64) & POINTS.eq(0.0);
    assert!(affects(&both, &grade(7, 0.0)));
    assert!(affects(&both, &grade(7, -0.0)), "they are equal in Rust");
    assert!(!affects(&both, &grade(7, 1.0)));
    assert!(!affects(&both, &grade(8, 0.0)));
    assert!(affects(&(POINTS.eq(0.0) & COURSE.eq(7_u64)), &grade(7, 0.0)), "whatever the order");
}

#[test]
fn indexes_of_the_same_fields_are_one() {
    let fields: Vec<_> = RawIndex::all::<Grade>().into_iter().map(|index| index.fields).collect();
    assert_eq!(fields.len(), 2, "{fields:?}");
}

#[test]
fn a_predicate_that_no_index_covers_is_refused_with_the_fix() {
    let filter = POINTS.eq(1.0).into_filter().expect("comparable");
    let error = filter.dependency(&source(), &RawIndex::all::<Grade>()).expect_err("there is no index of it alone");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("`points`") && error.to_string().contains("#[entity(index)]"), "{error}");
}

#[test]
fn a_value_that_equals_nothing_is_refused() {
    for predicate in
        [POINTS.eq(f64::NAN), COURSE.eq(1_u64) & POINTS.eq(f64::NAN), POINTS.eq(f64::NAN) & COURSE.eq(1_u64)]
    {
        let error = predicate.into_filter().expect_err("not a number");
        assert_eq!(error.kind(), ErrorKind::Argument);
        assert!(error.report().contains("points"), "{}", error.report());
    }
}

#[test]
fn changed_fields_are_told_by_name_and_what_cannot_be_compared_has_changed() {
    let fields = COURSE | POINTS;
    assert_eq!(fields.names(), ["course_id", "points"]);
    let grade = |course, points| Grade { id: 1, course, points };
    assert_eq!(fields.changed(&grade(1, 1.0), &grade(1, 1.0)), [""; 0]);
    assert_eq!(fields.changed(&grade(1, 1.0), &grade(2, 1.0)), ["course_id"]);
    assert_eq!(fields.changed(&grade(1, f64::NAN), &grade(1, f64::NAN)), ["points"]);
}
