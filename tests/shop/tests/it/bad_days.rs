//! The days.

use std::{
    cell::Cell,
    future::Future,
    time::{Duration, Instant},
};

use crate::{
    balancer::Mode,
    customers::{Customers, PRODUCTS, Seen, until_fresh},
    raw_redis::raw_redis,
    shop::{Process, Shop},
};

/// When every page is fresh again after a trouble.
const SOON: Duration = Duration::from_secs(5);

/// Changes prices, one every 50 ms, while something happens; the last change is complete before it returns.
async fn while_prices_change<T>(shop: &Shop, what: impl Future<Output = T>) -> T {
    let open = Cell::new(true);
    let office = async {
        let mut cents = 0;
        while open.get() {
            cents += 1;
            shop.change(cents % PRODUCTS, cents).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let happens = async {
        let done = what.await;
        open.set(false);
        done
    };
    tokio::join!(office, happens).1
}

fn check(seen: &Seen) {
    assert!(seen.lies.is_empty(), "{} of {} pages were called fresh: {:?}", seen.lies.len(), seen.pages, seen.lies);
    let shown = seen.errors.iter().take(5).collect::<Vec<_>>();
    assert!(seen.errors.is_empty(), "{} errors beside {} pages: {shown:#?}", seen.errors.len(), seen.pages);
    assert!(seen.fresh > 0, "not one of {} pages was fresh", seen.pages);
}

async fn soon_fresh(web: &str, shop: &Shop) {
    let took = until_fresh(web, &shop.prices).await;
    assert!(took < SOON, "it took {took:?} until every page was fresh");
}

/// A shop with a web server, a worker, fresh pages and customers.
async fn open() -> (Shop, Process, Process, Customers) {
    let shop = Shop::open().await;
    let web = shop.start("web", "first").await;
    let worker = shop.start("worker", "first").await;
    soon_fresh(&web.says, &shop).await;
    let customers = shop.customers(&[&web]);
    (shop, web, worker, customers)
}

async fn for_a_while(time: Duration) {
    tokio::time::sleep(time).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deploy_with_a_new_argument_and_its_roll_back() {
    let (shop, web, worker, customers) = open().await;
    let (new_web, seen) = while_prices_change(&shop, async {
        for_a_while(Duration::from_secs(2)).await;
        // The new release beside the old one, then without it.
        let new_web = shop.start("web", "second").await;
        let new_worker = shop.start("worker", "second").await;
        let new_customers = shop.customers(&[&new_web]);
        for_a_while(Duration::from_secs(4)).await;
        check(&customers.leave().await);
        web.end().await;
        worker.end().await;
        for_a_while(Duration::from_secs(4)).await;
        // And back.
        let web = shop.start("web", "first").await;
        let _worker = shop.start("worker", "first").await;
        let old_customers = shop.customers(&[&web]);
        for_a_while(Duration::from_secs(2)).await;
        check(&new_customers.leave().await);
        new_worker.end().await;
        new_web.end().await;
        for_a_while(Duration::from_secs(6)).await;
        ((web, _worker), old_customers.leave().await)
    })
    .await;
    check(&seen);
    soon_fresh(&new_web.0.says, &shop).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_comes_back_empty() {
    let (shop, web, _worker, customers) = open().await;
    while_prices_change(&shop, async {
        for_a_while(Duration::from_secs(1)).await;
        for _ in 0..3 {
            shop.redis.kill().await;
            for_a_while(Duration::from_secs(1)).await;
            shop.redis.restart().await;
            for_a_while(Duration::from_secs(4)).await;
        }
    })
    .await;
    soon_fresh(&web.says, &shop).await;
    check(&customers.leave().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_full() {
    let (shop, web, _worker, customers) = open().await;
    let mut admin = raw_redis(&shop.redis.url()).await;
    while_prices_change(&shop, async {
        let _: () =
            redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg("1").query_async(&mut admin).await.expect("a setting");
        for_a_while(Duration::from_secs(8)).await;
        let _: () =
            redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg("0").query_async(&mut admin).await.expect("a setting");
    })
    .await;
    soon_fresh(&web.says, &shop).await;
    check(&customers.leave().await);
}

/// PostgreSQL is away for a minute, on the shop's side of the balancer.
async fn postgres_is_away(how: Mode) {
    let (shop, web, _worker, customers) = open().await;
    let began = Instant::now();
    while_prices_change(&shop, async {
        for_a_while(Duration::from_secs(1)).await;
        shop.balancer.set(how);
        for_a_while(Duration::from_secs(60)).await;
        shop.balancer.set(Mode::Pass);
    })
    .await;
    assert!(began.elapsed() > Duration::from_secs(60));
    soon_fresh(&web.says, &shop).await;
    check(&customers.leave().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_refuses_for_a_minute() {
    postgres_is_away(Mode::Refuse).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_is_silent_for_a_minute() {
    postgres_is_away(Mode::Silent).await;
}
