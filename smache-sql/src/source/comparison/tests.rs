use smache_core::{Compare, ErrorKind};

use super::*;

fn text(text: &str) -> FieldValue {
    FieldValue::Text(text.to_owned())
}

#[cfg(feature = "postgres")]
#[test]
fn values_that_the_server_takes_for_equal_have_one_form() {
    let equal = |form: PgForm, values: &[&str]| {
        let forms: Vec<_> = values.iter().map(|value| form.form(&text(value)).expect(value)).collect();
        assert!(forms.windows(2).all(|pair| pair[0] == pair[1]), "{form:?} {values:?} {forms:?}");
    };
    equal(PgForm::Number, &["0.1", "0.10", "+.1", "1e-1", "00.100", " 10e-2 "]);
    equal(PgForm::Number, &["0", "-0", "0.000", "0e9"]);
    equal(PgForm::Number, &["-infinity", "-Inf"]);
    equal(PgForm::Float8, &["0.1", "0.10000000000000001"]);
    equal(PgForm::Float4, &["0.1", "0.10000000149"]);
    equal(PgForm::Float8, &["-0.0", "0"]);
    equal(PgForm::Padded, &["a", "a   "]);
    equal(PgForm::Uuid, &["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "{A0EEBC999C0B4EF8BB6D6BB9BD380A11}"]);
    equal(PgForm::Bytea, &["\\xAB", "\\xab"]);
    equal(PgForm::Time, &["09:00", "09:00:00.000"]);
    equal(PgForm::Timestamp, &["2024-05-31T24:00:00", "2024-06-01 00:00"]);
    equal(PgForm::TimestampTz, &["2024-05-31T09:00:00Z", "2024-05-31 11:00+02", "2024-05-30T23:30:00.0-09:30"]);
    equal(PgForm::Network, &["10.0.0.1", "10.0.0.1/32"]);
}

#[cfg(feature = "postgres")]
#[test]
fn values_that_differ_have_several_forms() {
    let differ = |form: PgForm, values: &[&str]| {
        let forms: Vec<_> = values.iter().map(|value| form.form(&text(value)).expect(value)).collect();
        for (index, one) in forms.iter().enumerate() {
            assert!(!forms[index + 1..].contains(one), "{form:?} {values:?} {forms:?}");
        }
    };
    differ(
        PgForm::Number,
        &["0.1", "-0.1", "1", "10", "123456789012.123456789012", "123456789012.12346", "nan", "inf"],
    );
    differ(PgForm::Number, &["9007199254740992", "9007199254740993"]);
    differ(PgForm::Text, &["a", "A", "a "]);
    differ(PgForm::Date, &["2024-02-28", "2024-02-29", "2024-03-01", "0001-01-01", "0001-01-01 BC", "infinity"]);
    differ(PgForm::Time, &["00:00", "24:00", "00:00:00.000001"]);
}

#[cfg(feature = "postgres")]
#[test]
fn what_may_be_written_in_an_unknown_way_is_refused() {
    let refuse = |form: PgForm, values: &[&str]| {
        for value in values {
            let error = form.form(&text(value)).expect_err(value);
            assert_eq!(error.kind(), ErrorKind::Argument);
        }
    };
    refuse(PgForm::Number, &["", "1_000", "0x1f", "one", "1e", "-", "."]);
    refuse(PgForm::Date, &["today", "2024-5-1", "2024-02-30", "0000-01-01", "2024-05-31T00:00:00"]);
    refuse(PgForm::Timestamp, &["2024-05-31T09:00:00Z", "2024-05-31", "now", "2024-05-31T09:00:00.1234567"]);
    refuse(PgForm::TimestampTz, &["2024-05-31T09:00:00", "2024-05-31T09:00:00 Europe/Rome", "2024-05-31T25:00:00Z"]);
    refuse(PgForm::Uuid, &["a0eebc99", "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"]);
    refuse(PgForm::Bytea, &["ab", "\\xa", "\\x0g"]);
}

#[cfg(feature = "sqlite")]
#[test]
fn columns_of_sqlite_compare_by_affinity_and_collation() {
    let form = |kind: &str, collation| LiteForm {
        affinity: Affinity::of(kind),
        collation,
        blob: kind == "BLOB",
        json: kind == "JSON",
    };
    let same = |kind: &str, collation, one: FieldValue, other: FieldValue| {
        let form = form(kind, collation);
        form.form(&one).expect("a form") == form.form(&other).expect("a form")
    };
    let number = FieldValue::Float64;
    assert!(same("DECIMAL(12,2)", Collation::Binary, text("0.10"), number(0.1)));
    assert!(same("INTEGER", Collation::Binary, text(" 1e3 "), FieldValue::Integer(1000)));
    assert!(same("REAL", Collation::Binary, FieldValue::Integer(5), number(5.0)));
    assert!(!same("REAL", Collation::Binary, FieldValue::Integer((1 << 53) + 1), number(9_007_199_254_740_992.0)));
    assert!(!same("TEXT", Collation::Binary, text("0.10"), text("0.1")));
    assert!(!same("TEXT", Collation::Binary, text("a"), text("A")));
    assert!(same("TEXT", Collation::NoCase, text("a"), text("A")));
    assert!(!same("TEXT", Collation::NoCase, text("ä"), text("Ä")));
    assert!(same("VARCHAR(9)", Collation::RTrim, text("a"), text("a ")));
    assert!(same("BLOB", Collation::Binary, text("00FF"), text("00-ff")));
    assert!(!same("", Collation::Binary, text("1"), FieldValue::Integer(1)));
    assert!(same("BOOLEAN", Collation::Binary, FieldValue::Bool(true), FieldValue::Integer(1)));
}
