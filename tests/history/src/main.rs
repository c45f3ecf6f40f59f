//! Checks histories: readers, writers, workers and leaders of feeds are separate processes, which are killed and
//! stopped; their servers are killed, emptied and rolled back; the network between them fails. Each answer that is
//! called fresh has to be the function of a state between the last acknowledged change before the read and its end.
//!
//! `scripts/history --help` shows the options; `docs/reliability.md` says what is checked, with the figures.

mod chance;
mod checker;
mod clock;
mod data;
mod faults;
mod judge;
#[path = "../../../examples/custom_backend/log_store.rs"]
mod log_store;
mod node;
mod options;
mod place;
mod process;
mod proxy;
mod reader;
mod record;
mod run;
mod servers;
mod world;
mod writer;

use std::{
    env,
    io::{self, Write as _},
    process::ExitCode,
};

use rustix::process::{Signal, set_parent_process_death_signal};

use self::{
    data::Trouble,
    options::{HELP, Options},
    run::Run,
};

/// The run itself failed.
const FAILED: u8 = 2;

// One thread: a process of a run can then stand still as a whole, and the kernel ties it to the thread that starts it.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "off".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).init();
    let mut words = env::args().skip(1).peekable();
    let done = match words.peek().map(String::as_str) {
        Some("node") => node(words.nth(1)).await,
        Some("--help" | "-h") => write!(io::stdout(), "{HELP}").map(|()| ExitCode::SUCCESS).map_err(Trouble::from),
        _ => check(words).await,
    };
    done.unwrap_or_else(|error| {
        let _ = writeln!(io::stderr(), "history: {error}");
        ExitCode::from(FAILED)
    })
}

async fn node(setup: Option<String>) -> Result<ExitCode, Trouble> {
    // Also a process that is stopped ends with the one that started it.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    node::run(serde_json::from_str(&setup.ok_or("the setup is missing")?)?).await?;
    Ok(ExitCode::SUCCESS)
}

async fn check(words: impl Iterator<Item = String>) -> Result<ExitCode, Trouble> {
    let options = Options::parse(words).map_err(|error| format!("{error}\n\n{HELP}"))?;
    let outcome = Run::new(options).await?.play().await?;
    let mut out = io::stdout().lock();
    for failure in &outcome.failures {
        writeln!(out, "{failure}")?;
    }
    writeln!(out, "{outcome}")?;
    Ok(if outcome.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
