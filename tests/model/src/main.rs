//! Walks over configurations and mutants, and prints the tables of `docs/model.md`.
//!
//! ```text
//! cargo run --release -p smache-model -- all | small | mutants | NAME [-- MUTANT]
//! ```

#![expect(clippy::print_stdout, reason = "the tables are the output")]

use std::process::ExitCode;

use smache_core::protocol::{Mutant, with_mutant};
use smache_model::{
    check,
    configurations::{SMALL, all, named},
    table::{RULES, STEPS},
};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--").collect();
    let good = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["small"] => SMALL.iter().filter(|name| !walk(name)).count() == 0,
        ["all"] => all().filter(|name| !walk(name)).count() == 0,
        ["mutants"] => mutants(),
        [name] => walk(name),
        [name, mutant] => kill(name, mutant),
        _ => {
            println!("arguments: all | small | mutants | NAME [MUTANT]; names:");
            all().for_each(|name| println!("  {name}"));
            false
        }
    };
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn walk(name: &str) -> bool {
    let Some(config) = named(name) else {
        println!("there is no configuration {name}");
        return false;
    };
    let report = check(config);
    println!("{}", report.line());
    if let Some((promise, steps)) = &report.broken {
        println!("  {promise}: {steps}");
    }
    if !report.missing.is_empty() {
        println!("  not reached: {:?}", report.missing);
    }
    report.broken.is_none() && report.missing.is_empty()
}

fn kill(name: &str, mutant: &str) -> bool {
    let step = STEPS.iter().find(|(of, _)| format!("{of:?}") == mutant).map(|(of, _)| *of);
    let rule = RULES.iter().find(|(of, ..)| format!("{of:?}") == mutant).map(|(of, ..)| *of);
    let Some(mut config) = named(name) else { return false };
    config.rule = rule;
    let report = with_mutant(step, || check(config));
    let broken = report.broken.as_ref().map_or("nothing", |(promise, _)| promise);
    println!("| `{mutant}` | {name} | {broken} | {} |", report.states);
    report.broken.is_some()
}

fn mutants() -> bool {
    let mut good = true;
    let mut one = |mutant: String, caught: Result<&str, &str>| match caught {
        Ok(name) => good &= kill(name, &mutant),
        Err(reason) => println!("| `{mutant}` | none: {reason} | | |"),
    };
    STEPS.iter().for_each(|(mutant, caught)| one(format!("{mutant:?}"), *caught));
    RULES.iter().for_each(|(rule, _, caught)| one(format!("{rule:?}"), *caught));
    let missing: Vec<_> = Mutant::ALL.iter().filter(|mutant| STEPS.iter().all(|(of, _)| of != *mutant)).collect();
    println!("not in the table: {missing:?}");
    good && missing.is_empty()
}
