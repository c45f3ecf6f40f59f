//! Code that the macros accept, and their messages for the rest.
//!
//! `TRYBUILD=overwrite cargo test -p smache-ui-tests` writes the messages; read them before they are kept. This is a
//! separate package because the messages list types that implement a trait, and the backends would add theirs.

#[test]
fn misuse_is_explained() {
    let cases = trybuild::TestCases::new();
    cases.pass("cases/pass/*.rs");
    cases.compile_fail("cases/*.rs");
}
