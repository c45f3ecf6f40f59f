//! Registering: at the start, every few seconds, when a worker starts, and at the end.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use super::{LEASE, PERIOD};
use crate::{ProgramStep, Result, backoff::jittered, engine::Engine, service::maintenance::overdue};

/// The pause between two looks for jobs that another program parked by an old view of the register: short just after a
/// worker has started, since that is when it happens.
const SOON: Duration = Duration::from_secs(3);
const LATER: Duration = Duration::from_secs(30);

/// Keeps a program in the register until the shutdown, or until the system is dropped.
pub(crate) async fn keep(engine: Weak<Engine>, mut stop: watch::Receiver<bool>) {
    let Some(patience) = engine.upgrade().map(|engine| engine.settings.store_timeout) else { return };
    let mut registered = Instant::now();
    let mut worked = false;
    let mut looks = Instant::now() + SOON;
    loop {
        let work = async {
            let Some(engine) = engine.upgrade() else { return false };
            let works = engine.background.has_workers();
            if works != worked || registered.elapsed() >= PERIOD {
                match engine.register().await {
                    Ok(()) => registered = Instant::now(),
                    Err(error) => {
                        tracing::debug!(error = %error.report(), "the program cannot register now, and tries again");
                    }
                }
            }
            if works && (!worked || Instant::now() >= looks) {
                looks = Instant::now() + if worked { LATER } else { SOON };
                if let Err(error) = engine.return_parked().await {
                    tracing::debug!(error = %error.report(), "parked jobs are not looked for now");
                }
            }
            worked = works;
            true
        };
        // A dropped step may still happen, after the program has said that it ends.
        tokio::select! {
            goes_on = work => if !goes_on { return },
            () = overdue(&mut stop, patience) => break,
        }
        let changed = async {
            let workers = engine.upgrade().map(|engine| engine.background.workers().clone());
            if let Some(workers) = workers {
                workers.some(!worked).await;
            }
        };
        tokio::select! {
            () = tokio::time::sleep(jittered(SOON)) => {}
            () = changed => {}
            _ = stop.wait_for(|stop| *stop) => break,
        }
    }
    if let Some(engine) = engine.upgrade() {
        engine.end_program().await;
    }
}

impl Engine {
    /// Adds this program to the register, or renews it there.
    pub(crate) async fn register(self: &Arc<Self>) -> Result<()> {
        let notes = self.programs.notes(&self.registry, self.background.has_workers());
        let first = !self.programs.has_looked();
        let register = Some(notes.registration(self.programs.id, LEASE));
        let programs = self.programs_step(ProgramStep { register, remove: Vec::new() }).await?;
        if !programs.known && !first {
            tracing::info!(
                "the register of programs had lost this program or counted it as ended: it is registered again"
            );
            self.programs.was_lost();
            if self.background.has_workers() {
                self.return_parked().await?;
            }
        }
        Ok(())
    }

    /// Tells the register that this program has ended. Its functions stay known, as ones that no program has since
    /// then.
    async fn end_program(&self) {
        let notes = self.programs.notes(&self.registry, self.background.has_workers());
        let register = Some(notes.registration(self.programs.id, Duration::ZERO));
        let ended = self.store.programs(ProgramStep { register, remove: Vec::new() });
        if let Err(error) = self.timed("programs", ended).await {
            tracing::debug!(error = %error.report(), "the program is taken to be alive for some seconds more");
        }
    }
}
