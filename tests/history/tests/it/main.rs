//! The program itself: it passes where nothing is wrong, and fails where something is.

use std::process::{Command, Output};

/// A short run with those arguments.
fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_history"));
    command.args(["--seconds", "6", "--pause", "30"]).args(arguments);
    command.output().expect("the program `history` starts")
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn processes_that_are_killed_and_stopped_leave_no_violation() {
    let output =
        run(&["--backend", "sqlite", "--faults", "kill-worker,kill-writer,kill-leader,kill-reader,stop-reader"]);
    let text = text(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains(" 0 violations") && text.contains("fresh reads checked"), "{text}");
}

#[test]
fn the_key_value_store_survives_the_death_of_its_only_process() {
    let output = run(&["--backend", "kv", "--faults", "kill-all"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
}

#[test]
fn readers_that_call_stale_values_fresh_are_found_with_the_lines_that_prove_it() {
    let output = run(&["--backend", "memory", "--faults", "none", "--lies"]);
    let text = text(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("VIOLATION") && text.contains("\"Acked\"") && text.contains("\"Read\""), "{text}");
}

#[test]
fn a_fault_that_is_not_possible_is_refused_with_the_names_of_those_that_are() {
    let output = run(&["--backend", "memory", "--faults", "kill-store"]);
    let text = text(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("no fault `kill-store` is possible here") && text.contains("kill-all,stop-all"), "{text}");
}
