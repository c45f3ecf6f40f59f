//! Reads in tasks beside the test.

use smache::{Cached, Call, Computed, Result, Smache};
use tokio::task::JoinHandle;

use crate::probe::Probe;

/// A reader that a task runs.
pub(crate) fn spawn_get<F: Computed>(smache: &Smache, call: Call<F>) -> JoinHandle<Result<Cached<F::Output>>> {
    let smache = smache.clone();
    tokio::spawn(async move { smache.get(call).await })
}

/// A refresh that a task runs.
pub(crate) fn spawn_refresh<F: Computed>(smache: &Smache, call: Call<F>) -> JoinHandle<Result<Cached<F::Output>>> {
    let smache = smache.clone();
    tokio::spawn(async move { smache.refresh(call).await })
}

/// So many readers that tasks run.
pub(crate) fn spawn_gets<F: Computed<Args: Clone>>(
    smache: &Smache,
    call: &Call<F>,
    many: usize,
) -> Vec<JoinHandle<Result<Cached<F::Output>>>> {
    (0..many).map(|_| spawn_get(smache, call.clone())).collect()
}

/// A reader whose run waits at the gate, which closes.
pub(crate) async fn held_get<F: Computed>(
    probe: &Probe,
    smache: &Smache,
    call: Call<F>,
) -> JoinHandle<Result<Cached<F::Output>>> {
    held(probe, || spawn_get(smache, call)).await
}

/// A refresh whose run waits at the gate, which closes.
pub(crate) async fn held_refresh<F: Computed>(
    probe: &Probe,
    smache: &Smache,
    call: Call<F>,
) -> JoinHandle<Result<Cached<F::Output>>> {
    held(probe, || spawn_refresh(smache, call)).await
}

async fn held<T>(probe: &Probe, spawn: impl FnOnce() -> JoinHandle<T>) -> JoinHandle<T> {
    let before = probe.runs();
    probe.close();
    let task = spawn();
    probe.arrived(before + 1).await;
    task
}
