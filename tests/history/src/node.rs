//! A process of a run: reads, writes, works or leads the feeds as its setup says, until its standard input is closed.

use std::{
    io::{self, Write as _},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use smache::Smache;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    sync::watch,
    task::JoinSet,
    time::sleep,
};

use crate::{
    chance::mixed,
    clock::now,
    data::{Data, Trouble},
    place,
    reader::Reader,
    record::Line,
    world::{Item, Pace, register},
    writer,
};

/// How long leases of runs and jobs last: others take over so soon.
pub(crate) const LEASE: Duration = Duration::from_secs(3);
/// How long one step of the store may take.
const STEP: Duration = Duration::from_secs(2);
/// How long a reader waits.
const WAIT: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_millis(20);

/// The roles of a process, and its places. Sent to it as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Setup {
    pub(crate) process: u64,
    pub(crate) seed: u64,
    pub(crate) namespace: String,
    /// The URL of the store and queue.
    pub(crate) store: String,
    /// The URL of the data.
    pub(crate) data: String,
    pub(crate) feeds: bool,
    pub(crate) worker: bool,
    /// How many sequences of reads go on at once.
    pub(crate) readers: u64,
    /// The entities that this process writes, with their numbers so far.
    pub(crate) writes: Vec<(Item, i64)>,
    /// How many milliseconds a writer pauses on average.
    pub(crate) pause: u64,
    /// The pauses of the functions.
    pub(crate) pace: u64,
    /// For how long a feed confirms.
    pub(crate) validity: Duration,
    /// Calls every answer fresh, to show that the checker sees it.
    pub(crate) lies: bool,
}

/// What a process is to do at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Run,
    /// Writers end; readers look at each call.
    Settle,
    /// Writers end; readers look at each call, and say why those are not fresh that are not.
    Explain,
    End,
}

/// The log of this process, on its standard output. Lines are in the order of their times.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Writes a line of this moment at once: it is in the log when this returns.
    pub(crate) fn now(&self, line: impl FnOnce(u64) -> Line) {
        let mut buffer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        push(&mut buffer, &line(now()));
        flush(&mut buffer);
    }

    /// Writes a line some time.
    pub(crate) fn later(&self, line: &Line) {
        let mut buffer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        push(&mut buffer, line);
        if buffer.len() > 32_768 {
            flush(&mut buffer);
        }
    }
}

fn push(buffer: &mut Vec<u8>, line: &Line) {
    if serde_json::to_writer(&mut *buffer, line).is_ok() {
        buffer.push(b'\n');
    }
}

fn flush(buffer: &mut Vec<u8>) {
    let mut out = io::stdout().lock();
    // Nothing is left to do for a process whose log is not read any more: it ends with its standard input.
    let _ = out.write_all(buffer).and_then(|()| out.flush());
    buffer.clear();
}

/// The process, until its standard input is closed.
pub(crate) async fn run(setup: Setup) -> Result<(), Trouble> {
    let (phases, mut phase) = watch::channel(Phase::Run);
    let listening = tokio::spawn(async move {
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let _ = phases.send(if line == "explain" { Phase::Explain } else { Phase::Settle });
        }
        let _ = phases.send(Phase::End);
    });
    let log = Log::default();
    let ticking = {
        let log = log.clone();
        tokio::spawn(async move {
            loop {
                log.now(Line::Tick);
                sleep(TICK).await;
            }
        })
    };
    let started = tokio::select! {
        started = start(&setup, &log) => Some(started),
        _ = phase.wait_for(|phase| *phase == Phase::End) => None,
    };
    if let Some((smache, data)) = started {
        play(&setup, &smache, &data, &log, phase).await;
        data.close().await;
    }
    ticking.abort();
    listening.abort();
    log.now(Line::Tick);
    Ok(())
}

/// Connects, as often as it takes: a server may be down just now.
async fn start(setup: &Setup, log: &Log) -> (Smache, Data) {
    loop {
        match try_start(setup).await {
            Ok(started) => return started,
            Err(error) => log.later(&Line::Text(format!("process {} does not start yet: {error}", setup.process))),
        }
        sleep(Duration::from_millis(300)).await;
    }
}

async fn try_start(setup: &Setup) -> Result<(Smache, Data), Trouble> {
    let data = Data::connect(&setup.data).await?;
    let builder = Smache::builder(&setup.namespace)
        .backend(place::connect(&setup.store).await?)
        .state(data.clone())
        .state(Pace { pause: setup.pace })
        .feeds(setup.feeds)
        .maintenance(setup.feeds)
        .feed_validity(setup.validity)
        .run_lease(LEASE)
        .store_timeout(STEP)
        .wait_timeout(WAIT)
        .outages(|error| {
            smache::postgres::is_outage(error) || smache::sqlite::is_outage(error) || smache::mongo::is_outage(error)
        });
    let smache = register(data.sources(builder)).build().await?;
    Ok((smache, data))
}

async fn play(setup: &Setup, smache: &Smache, data: &Data, log: &Log, mut phase: watch::Receiver<Phase>) {
    // Workers that are killed again and again are the subject here, and no reason for a dead letter.
    let worker = smache.worker().job_lease(LEASE).max_crashes(1_000_000).max_attempts(1_000_000);
    let worker = worker.backoff(Duration::from_millis(50), Duration::from_secs(1));
    let worker = worker.poll_interval(Duration::from_millis(250));
    let worker = setup.worker.then(|| worker.start());
    let mut parts = JoinSet::new();
    for sequence in 0..setup.readers {
        let seed = mixed(setup.seed ^ mixed(setup.process << 16 | sequence));
        let reader = Reader::new(setup, sequence, seed, smache.clone(), log.clone());
        parts.spawn(reader.run(phase.clone()));
    }
    for hand in writer::hands(setup, smache, data, log) {
        parts.spawn(hand.run(phase.clone()));
    }
    parts.join_all().await;
    let _ = phase.wait_for(|phase| *phase == Phase::End).await;
    if let Some(worker) = worker {
        worker.shutdown(Duration::from_secs(5)).await;
    }
    smache.shutdown().await;
}
