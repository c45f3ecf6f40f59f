//! The small configurations keep their promises, and each mutant breaks one.

use smache_core::protocol::{Mutant, with_mutant};
use smache_model::{
    check,
    configurations::{LARGE, SMALL, named},
    table::{RULES, STEPS},
};

#[test]
fn the_small_configurations_keep_their_promises_and_reach_what_they_are_for() {
    // No mutant is active meanwhile.
    with_mutant(None, || {
        for name in SMALL {
            let report = check(named(name).expect("it is listed"));
            assert!(report.broken.is_none(), "{name}: {:?}", report.broken);
            assert!(report.missing.is_empty(), "{name} does not reach {:?}", report.missing);
        }
    });
}

#[test]
fn each_mechanism_of_a_step_is_needed() {
    for mutant in Mutant::ALL {
        let caught =
            STEPS.iter().find(|(of, _)| of == mutant).unwrap_or_else(|| panic!("{mutant:?} is not in the table"));
        // `scripts/model mutants` walks over the large ones.
        let Some(name) = caught.1.ok().filter(|name| !LARGE.contains(name)) else { continue };
        let report = with_mutant(Some(*mutant), || check(named(name).expect("it is listed")));
        assert!(report.broken.is_some(), "{name} does not notice {mutant:?} in {} states", report.states);
    }
}

#[test]
fn each_rule_of_the_engine_is_needed() {
    for (rule, _, caught) in RULES {
        let Some(name) = caught.ok().filter(|name| !LARGE.contains(name)) else { continue };
        let mut config = named(name).expect("it is listed");
        config.rule = Some(*rule);
        let report = with_mutant(None, || check(config));
        assert!(report.broken.is_some(), "{name} does not notice {rule:?} in {} states", report.states);
    }
}
