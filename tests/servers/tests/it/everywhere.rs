//! The most telling stories of several processes, wherever results, jobs and documents are: a module a combination. On
//! Redis they have separate files, with more rounds: MongoDB is slower, and the combinations are many.

use std::time::Duration;

use crate::{
    barrier, crashes, feeds, matrix, once,
    place::Place::{Mongo, Postgres, Redis, Sqlite},
    world::World,
};

/// A test of each story in each world.
macro_rules! told_in {
    ($($place:ident: $world:expr => $($story:ident),+;)+) => {$(
        mod $place {
            use super::*;
            $(
                #[tokio::test]
                async fn $story() {
                    super::$story($world.await).await;
                }
            )+
        }
    )+};
}

told_in! {
    postgres: World::kept_in(Postgres) =>
        killed_processes_lose_no_job_and_make_nothing_wrongly_fresh,
        the_job_of_a_killed_worker_is_done_by_another_one,
        a_worker_that_wakes_after_its_lease_replaces_nothing_newer,
        another_process_takes_over_the_feed_of_a_killed_one_and_misses_nothing,
        processes_that_miss_together_compute_once,
        processes_that_want_a_stale_value_fresh_compute_once;
    one_file_of_sqlite: World::kept_in(Sqlite) =>
        killed_processes_lose_no_job_and_make_nothing_wrongly_fresh,
        the_job_of_a_killed_worker_is_done_by_another_one,
        another_process_takes_over_the_feed_of_a_killed_one_and_misses_nothing,
        processes_that_miss_together_compute_once,
        processes_that_want_a_stale_value_fresh_compute_once;
    mongo: World::kept_in(Mongo) =>
        killed_processes_lose_no_job_and_make_nothing_wrongly_fresh,
        the_job_of_a_killed_worker_is_done_by_another_one,
        another_process_takes_over_the_feed_of_a_killed_one_and_misses_nothing,
        processes_that_miss_together_compute_once;
    results_in_redis_and_jobs_in_postgres: World::kept_apart(Redis, Postgres) =>
        killed_processes_lose_no_job_and_make_nothing_wrongly_fresh,
        the_job_of_a_killed_worker_is_done_by_another_one;
    documents_too_in_postgres: World::all_in(Postgres) =>
        killed_processes_lose_no_job_and_make_nothing_wrongly_fresh,
        a_leader_that_wakes_after_its_time_does_no_harm,
        readers_behind_a_barrier_read_their_own_writes,
        the_first_read_after_an_insert_is_fresh_and_stays_so;
    documents_too_in_one_file_of_sqlite: World::all_in(Sqlite) =>
        killed_processes_lose_no_job_and_make_nothing_wrongly_fresh,
        readers_behind_a_barrier_read_their_own_writes,
        the_first_read_after_an_insert_is_fresh_and_stays_so,
        another_process_takes_over_the_feed_of_a_killed_one_and_misses_nothing;
}

async fn killed_processes_lose_no_job_and_make_nothing_wrongly_fresh(world: World) {
    let watches = matrix::kill_again_and_again(world, 5, Duration::from_millis(60)).await;
    assert!(watches.iter().all(|watch| watch.last() > 0), "every document was written: {watches:?}");
}

async fn the_job_of_a_killed_worker_is_done_by_another_one(world: World) {
    crashes::job_of_a_killed_worker(world).await;
}

async fn a_worker_that_wakes_after_its_lease_replaces_nothing_newer(world: World) {
    crashes::worker_that_wakes_after_its_lease(world).await;
}

async fn another_process_takes_over_the_feed_of_a_killed_one_and_misses_nothing(world: World) {
    crashes::feed_of_a_killed_process(world).await;
}

/// Not on a file of SQLite: a leader that is frozen within a step has locked the file, so that no other process can
/// take over.
async fn a_leader_that_wakes_after_its_time_does_no_harm(world: World) {
    feeds::leader_that_wakes_after_its_time(world).await;
}

async fn processes_that_miss_together_compute_once(world: World) {
    once::misses_together(world, 1, 6).await;
}

async fn processes_that_want_a_stale_value_fresh_compute_once(world: World) {
    once::wanted_fresh_together(world, 1).await;
}

async fn readers_behind_a_barrier_read_their_own_writes(world: World) {
    barrier::own_writes(world).await;
}

async fn the_first_read_after_an_insert_is_fresh_and_stays_so(world: World) {
    barrier::first_reads(world).await;
}
