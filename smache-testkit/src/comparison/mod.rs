//! A backend and the pure protocol, step by step.
//!
//! [`comparison_suite!`](crate::comparison_suite) draws random sequences of steps: runs of several entries that begin,
//! commit, fail, wait and vanish; changes, feeds with two leaders each, sources in two histories, new epochs and
//! incarnations, programs, maintenance and jobs, while leases, entries and validities end. It takes each step on the
//! backend and on [`reference::Partition`](crate::reference::Partition), and compares the two answers and everything
//! that is stored afterwards: records, edges, remembered changes, marks, positions, validity, programs and jobs.
//!
//! A sequence that fails is made as short as it can be. The case then prints it as Rust, for [`replay`] in a regression
//! test, and its seed, which `SMACHE_SEED` starts with again.
//!
//! # What is compared
//! * Epochs are random on the tested side: each that the protocol draws has to be a new one there, and stands for it
//!   from then on. Tokens come from the sequence.
//! * Times are equal where the harness moves the clock by hand. Elsewhere a lease, a delay and a life are either over at
//!   once or much longer than a sequence takes; a step then happens at some millisecond between two looks.
//! * The protocol leaves a choice between due jobs of equal urgency: the comparison follows the tested side. A store may
//!   forget changes later than the protocol, so the dependencies that it says have changed since an old revision lie
//!   between the true ones and those of the protocol.
//! * Where the harness says that a step which is not polled does not go on
//!   ([`with_pauses`](crate::Harness::with_pauses)), invalidations stop half-way, other steps come in between, and then
//!   they go on or their process is gone. The comparison follows all states that the walk of the protocol can be in,
//!   entry by entry, and drops those that the next look refutes.

mod call;
pub mod cases;
mod expected;
mod facts;
mod operation;
mod sequence;
mod shrink;
mod subject;
mod world;

use std::{
    fmt::Write as _,
    io::Write as _,
    time::{Duration, Instant},
};

pub use self::operation::{Batch, End, JobResult, Leader, Operation, Value};
use self::{
    operation::Draws,
    sequence::{Difference, open, play},
};
use crate::{BackendHarness, chance::Chance, harness::random_namespace};

/// Which roles of a backend are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A store and a queue that share their steps.
    Together,
    /// A store that reports the entries that need a job.
    StoreAlone,
    /// A queue alone.
    QueueAlone,
}

/// How many sequences a case has, where nothing else is said.
const SEQUENCES: u32 = 200;

/// Where nothing else is said, a case begins no sequence after so long: it has a bound, and the machine may be busy.
const MOST: Duration = Duration::from_secs(60);

/// Plays a sequence that a comparison has printed.
///
/// # Panics
/// Where the backend and the protocol differ.
pub async fn replay(harness: &BackendHarness, shape: Shape, operations: &[Operation]) {
    if let Err(difference) = play(harness, shape, operations).await {
        panic!("{}", report(shape, operations, &difference));
    }
}

/// Compares many sequences.
///
/// With `SMACHE_COMPARE_SECONDS` it goes on for so long. With `SMACHE_COMPARE_LOG` a line with the shape, the sequences,
/// the operations and the milliseconds is appended to that file.
pub(crate) async fn compare(harness: &BackendHarness, shape: Shape) {
    if open(&**harness.role(), shape, &random_namespace()).is_none() {
        // The backend says that it has no such role.
        return;
    }
    let draws = Draws {
        store: shape != Shape::QueueAlone,
        queue: shape != Shape::StoreAlone,
        by_hand: harness.is_moved_by_hand(),
        incarnations: harness.has_new_incarnation(),
        interrupts: harness.has_pauses() && shape != Shape::QueueAlone,
    };
    let seconds = std::env::var("SMACHE_COMPARE_SECONDS").ok().map(|seconds| {
        let number = seconds.parse();
        Duration::from_secs(number.unwrap_or_else(|_| panic!("SMACHE_COMPARE_SECONDS is {seconds:?} and no number")))
    });
    let started = Instant::now();
    let goes_on = |sequences| match seconds {
        Some(seconds) => started.elapsed() < seconds,
        None => sequences < harness.rounds(SEQUENCES) && started.elapsed() < MOST,
    };
    let mut seeds = Chance::new();
    let mut seed = seeds.seed();
    let (mut sequences, mut steps) = (0, 0);
    while goes_on(sequences) {
        let mut chance = Chance::of(seed);
        let length = 8 + chance.below(56) as usize;
        let operations = operation::sequence(&mut chance, draws, length);
        steps += operations.len();
        if let Err(difference) = play(harness, shape, &operations).await {
            let (operations, difference) = shrink::shrink(harness, shape, operations, difference).await;
            panic!("{}\nThe sequence began as SMACHE_SEED={seed}.", report(shape, &operations, &difference));
        }
        sequences += 1;
        seed = seeds.number();
    }
    if let Some(log) = std::env::var_os("SMACHE_COMPARE_LOG") {
        let line = format!("{shape:?} {sequences} {steps} {}\n", started.elapsed().as_millis());
        let mut file =
            std::fs::File::options().create(true).append(true).open(log).expect("SMACHE_COMPARE_LOG is a file");
        file.write_all(line.as_bytes()).expect("the log takes a line");
    }
}

fn report(shape: Shape, operations: &[Operation], difference: &Difference) -> String {
    let mut text = String::from("the backend and the protocol differ:\n");
    for line in &difference.lines {
        let _ = writeln!(text, "  {line}");
    }
    let _ = writeln!(text, "after operation {} of\n", difference.step + 1);
    let _ = writeln!(text, "use smache_core::Lane::*;");
    let _ = writeln!(text, "use smache_testkit::comparison::{{JobResult::*, Operation::*, *}};");
    let _ = writeln!(text, "replay(&harness, Shape::{shape:?}, &[");
    for operation in operations {
        let _ = writeln!(text, "    {operation:?},");
    }
    text + "]).await;\n"
}
