//! What the macros accept, and what they say about what they do not.
//!
//! The messages are written by `TRYBUILD=overwrite cargo test --test it ui`; read what it wrote. They name the types that
//! implement a trait, and the bindings of MongoDB add some: hence only without them.

#[test]
#[cfg_attr(feature = "mongo", ignore = "the messages of the compiler list other types with these bindings")]
fn misuse_is_explained() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/ui/pass/*.rs");
    cases.compile_fail("tests/ui/*.rs");
}
