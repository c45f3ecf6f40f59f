//! The parts that the tests on real servers share with the processes that they start.
//!
//! The tests are in `tests/it`; the program that they start, kill and start again is `src/bin/node.rs`.

mod app;
mod orders;
mod quiet;
mod setup;
mod table;

pub use self::{
    app::{Census, Doc, Log, Run, census, held, label, report, total},
    orders::{Answer, Counted, Order, Sight, State},
    quiet::Quiet,
    setup::{Setup, Silent},
    table::Table,
};
