//! Waiting, by a clock that stands still until all tasks wait.

use std::time::Duration;

use smache_core::{Backend, EntryId, JobQueue, Lane, Namespace, NewJob, Reserve};
use tokio::time::Instant;

use crate::Memory;

const LONG: Duration = Duration::from_secs(60);

fn queue() -> std::sync::Arc<dyn JobQueue> {
    Memory::new().queue(&Namespace::new("shop").expect("a good name")).expect("a queue")
}

fn job(number: u8) -> NewJob {
    NewJob::now(EntryId::from_bytes([number; EntryId::LEN]), Lane::Recompute)
}

async fn reserve(queue: &dyn JobQueue, lane: Lane, lease: Duration) -> usize {
    queue.reserve(Reserve::new(lane, 10, lease)).await.expect("reserve").jobs.len()
}

async fn waited(queue: &dyn JobQueue) -> Duration {
    let started = Instant::now();
    queue.wait(LONG).await.expect("wait");
    started.elapsed()
}

#[tokio::test(start_paused = true)]
async fn job_that_was_added_since_the_last_look_ends_the_wait_at_once() {
    let queue = queue();
    assert_eq!(reserve(&*queue, Lane::Recompute, LONG).await, 0);
    queue.enqueue(&[job(1)]).await.expect("enqueue");
    assert_eq!(waited(&*queue).await, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn due_job_that_no_worker_takes_makes_no_busy_loop() {
    let queue = queue();
    queue.enqueue(&[job(1)]).await.expect("enqueue");
    assert_eq!(reserve(&*queue, Lane::Propagation, LONG).await, 0);
    assert!(waited(&*queue).await >= LONG);
}

#[tokio::test(start_paused = true)]
async fn wait_ends_when_a_delayed_job_becomes_due_or_a_reservation_lapses() {
    let queue = queue();
    let short = Duration::from_secs(3);
    queue.enqueue(&[NewJob { delay: short, ..job(1) }, NewJob { delay: LONG * 2, ..job(2) }]).await.expect("enqueue");
    assert_eq!(reserve(&*queue, Lane::Recompute, LONG).await, 0);
    let first = waited(&*queue).await;
    assert!(first <= short + Duration::from_millis(10) && first >= short / 2, "{first:?}");

    queue.enqueue(&[job(3)]).await.expect("enqueue");
    assert_eq!(reserve(&*queue, Lane::Recompute, short / 2).await, 1);
    let second = waited(&*queue).await;
    assert!(second <= short / 2 + Duration::from_millis(10), "{second:?}");
}
