//! What runs beside the readers: workers, feeds, maintenance, announced changes, the register of programs.

mod barrier;
mod feed;
mod intent;
mod maintenance;
mod programs;
mod reconcile;
mod run_until_idle;
mod store_clock;
mod task;
mod worker;

pub(crate) use self::{feed::wait_until_confirmed, task::Tasks};
pub use self::{
    intent::{Intent, IntentBuilder},
    worker::{Worker, WorkerBuilder},
};
