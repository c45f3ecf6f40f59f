use super::*;
use crate::RegisteredProgram;

fn key(number: u8) -> FunctionKey {
    FunctionKey::from_bytes([number; 8])
}

fn program(id: u8, until: u64, works: bool, functions: &[u8]) -> RegisteredProgram {
    let functions = functions.iter().map(|number| (key(*number).to_string(), format!("f{number}@1"))).collect();
    let notes = Notes { program: format!("program {id}"), works, functions };
    let id = Token::from_bytes([id; 16]);
    let notes = notes.registration(id, Duration::ZERO).notes;
    RegisteredProgram { id, until: Timestamp::from_millis(until), notes }
}

fn programs(programs: Vec<RegisteredProgram>) -> Programs {
    Programs { now: Timestamp::from_millis(100_000), known: true, programs }
}

#[tokio::test(start_paused = true)]
async fn courtesy_is_among_the_living_that_work() {
    let register = Register::of(None);
    assert_eq!(register.owner(key(1)), Owner::Expected, "nothing was seen yet");
    let mut own = program(0, 130_000, true, &[]);
    own.id = register.id;
    let others = programs(vec![
        own,
        program(1, 130_000, true, &[1]),
        program(2, 130_000, false, &[2]),
        program(3, 90_000, true, &[3]),
        program(4, 10_000, true, &[4]),
    ]);
    register.remember(&others);
    assert_eq!(register.owner(key(4)), Owner::Expected, "a program that was just started knows little");
    tokio::time::advance(GRACE).await;
    let owners = [1, 2, 3, 4, 5].map(|number| register.owner(key(number)));
    assert_eq!(owners, [Owner::Living, Owner::Expected, Owner::Expected, Owner::Nobody, Owner::Nobody]);

    // A lost register has no programs: neither this one nor others that are still alive.
    register.remember(&programs(Vec::new()));
    assert_eq!(register.owner(key(4)), Owner::Expected);
    let mut unreadable = program(6, 130_000, true, &[]);
    unreadable.notes = "of another release".into();
    let mut own = program(0, 130_000, true, &[]);
    own.id = register.id;
    register.remember(&programs(vec![own, unreadable]));
    tokio::time::advance(GRACE).await;
    assert_eq!(register.owner(key(4)), Owner::Expected, "it may have any function");
}

#[test]
fn the_latest_program_with_a_function_counts() {
    let functions = Functions::of(&programs(vec![program(1, 5, true, &[1, 2]), program(2, 9, true, &[2])]));
    let until = |number| functions.0[&key(number)].until.as_millis();
    assert_eq!((until(1), until(2)), (5, 9));
    assert_eq!(functions.0[&key(2)].program, "program 2");
    assert_eq!(functions.0[&key(2)].name, "f2@1");
}

#[test]
fn keys_are_read_as_they_are_written() {
    assert_eq!(parse(&key(7).to_string()), Some(key(7)));
    assert_eq!(parse("no key"), None);
}
