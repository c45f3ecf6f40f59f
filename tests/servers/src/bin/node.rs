//! A process of the tests: reads, works or leads the feed as its setup says, until its standard input is closed.
//!
//! `node SETUP`, with orders on standard input and answers on standard output; `RUST_LOG=debug` shows its steps.

use std::{env, error::Error, time::Duration};

use smache::Smache;
use smache_server_tests::{Answer, Counted, Order, Setup, held, report};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    sync::mpsc,
};

type Numbered<T> = (u64, T);

// One thread, so that an order can freeze everything that the process does.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "off".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let setup: Setup = serde_json::from_str(&env::args().nth(1).ok_or("the setup is missing")?)?;

    // Read from the start: the process that started this one may be gone before it is ready.
    let (orders, mut ordered) = mpsc::unbounded_channel();
    let reading = tokio::spawn(async move {
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if orders.send(line).is_err() {
                return;
            }
        }
    });
    let (answers, answered) = mpsc::unbounded_channel();
    let speaking = tokio::spawn(speak(answered));

    let db = setup.database().await?;
    let smache = tokio::select! {
        smache = setup.smache(&db) => smache,
        // The process that started this one is gone.
        _ = reading => return Ok(()),
    };
    let smache = match smache {
        Ok(smache) => smache,
        Err(error) => {
            answers.send((0, Answer::Failed(error.report())))?;
            drop(answers);
            speaking.await?;
            return Err(error.into());
        }
    };
    let worker = setup.start_worker(&smache);
    answers.send((0, Answer::Ready))?;
    while let Some(line) = ordered.recv().await {
        let (number, order): Numbered<Order> = serde_json::from_str(&line)?;
        let smache = smache.clone();
        let answers = answers.clone();
        tokio::spawn(async move {
            let answer = carry_out(&smache, order).await.unwrap_or_else(|error| Answer::Failed(error.report()));
            // The receiver is gone only when the process ends.
            let _ = answers.send((number, answer));
        });
    }
    if let Some(worker) = worker {
        worker.shutdown(Duration::from_secs(5)).await;
    }
    smache.shutdown().await;
    // The driver panics when its runtime ends while it closes a cursor.
    db.client().clone().shutdown().immediate(true).await;
    Ok(())
}

async fn carry_out(smache: &Smache, order: Order) -> smache::Result<Answer> {
    Ok(match order {
        Order::Get { id, millis } => Answer::Value(Some(smache.get(report(id, millis)).await?.into())),
        Order::GetFresh { id, millis } => Answer::Value(Some(smache.get(report(id, millis).fresh()).await?.into())),
        Order::GetHeld { id } => Answer::Value(Some(smache.get(held(id)).await?.into())),
        Order::Peek { id, millis } => Answer::Value(smache.peek(report(id, millis)).await?.map(Into::into)),
        Order::Count => {
            let process = smache.inspect().stats().await?.process;
            Answer::Counted(Counted {
                runs: process.runs,
                changes: process.changes,
                conflicts: process.conflicts,
                failures: process.failures,
                lost: process.lost,
                bypasses: process.bypasses,
                unknown_jobs: process.unknown_jobs,
            })
        }
        Order::Freeze { millis } => {
            std::thread::sleep(Duration::from_millis(millis));
            Answer::Done
        }
        Order::Resign => {
            smache.shutdown().await;
            Answer::Done
        }
    })
}

async fn speak(mut answers: mpsc::UnboundedReceiver<Numbered<Answer>>) {
    let mut out = tokio::io::stdout();
    while let Some(answer) = answers.recv().await {
        let Ok(mut line) = serde_json::to_vec(&answer) else { return };
        line.push(b'\n');
        if out.write_all(&line).await.is_err() || out.flush().await.is_err() {
            return;
        }
    }
}
