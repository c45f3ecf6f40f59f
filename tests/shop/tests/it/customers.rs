//! Customers, who look at pages all the time and remember the answers.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use reqwest::{Client, StatusCode};
use shop::Served;
use tokio::{sync::watch, task::JoinSet};

pub(crate) const PRODUCTS: i64 = 12;
/// The longest wait for something that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// How long a feed confirms: a fresh page shows every change that was committed longer ago.
const FEED_LEASE: Duration = Duration::from_secs(2);

/// The prices of a product, and when each was known to be committed.
type History = Vec<(Instant, i64)>;

/// Which prices were committed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Prices(Arc<Mutex<HashMap<i64, History>>>);

impl Prices {
    pub(crate) fn committed(&self, id: i64, cents: i64) {
        let mut prices = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        prices.entry(id).or_default().push((Instant::now(), cents));
    }

    /// The price that was committed last before an instant.
    fn before(&self, id: i64, at: Instant) -> Option<i64> {
        let prices = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        prices[&id].iter().rev().find(|(committed, _)| *committed < at).map(|&(_, cents)| cents)
    }

    fn last(&self, id: i64) -> i64 {
        self.before(id, Instant::now()).expect("every product has a price")
    }
}

/// The answers that customers got.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) pages: u64,
    pub(crate) fresh: u64,
    /// Answers that were no pages.
    pub(crate) errors: Vec<String>,
    /// Pages that were called fresh and were not.
    pub(crate) lies: Vec<String>,
}

/// Two customers at each web server, until they leave.
pub(crate) struct Customers {
    leave: watch::Sender<bool>,
    tasks: JoinSet<()>,
    seen: Arc<Mutex<Seen>>,
}

impl Customers {
    pub(crate) fn enter(webs: &[String], prices: &Prices) -> Self {
        let (leave, left) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let seen = Arc::<Mutex<Seen>>::default();
        for web in webs.iter().chain(webs) {
            let web = web.clone();
            let prices = prices.clone();
            let seen = Arc::clone(&seen);
            let left = left.clone();
            tasks.spawn(async move {
                let client = client();
                for id in (0..PRODUCTS).cycle() {
                    if *left.borrow() {
                        return;
                    }
                    look(&client, &web, id, &prices, &seen).await;
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            });
        }
        Self { leave, tasks, seen }
    }

    pub(crate) async fn leave(mut self) -> Seen {
        self.leave.send_replace(true);
        while let Some(left) = self.tasks.join_next().await {
            left.expect("a customer");
        }
        std::mem::take(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn client() -> Client {
    Client::builder().no_proxy().timeout(PATIENCE).build().expect("a client")
}

async fn look(client: &Client, web: &str, id: i64, prices: &Prices, seen: &Mutex<Seen>) {
    let asked = Instant::now();
    let answer = get(client, web, id).await;
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    match answer {
        Err(error) => seen.errors.push(format!("product {id} after {:?}: {error}", asked.elapsed())),
        Ok(served) => {
            seen.pages += 1;
            seen.fresh += u64::from(served.fresh);
            let at_least = asked.checked_sub(FEED_LEASE).and_then(|at| prices.before(id, at));
            if let Some(at_least) = at_least.filter(|at_least| served.fresh && served.page.cents < *at_least) {
                let lie =
                    format!("product {id}: {} and {}, and {at_least} was old", served.page.cents, served.freshness);
                seen.lies.push(lie);
            }
        }
    }
}

async fn get(client: &Client, web: &str, id: i64) -> Result<Served, String> {
    let response = client.get(format!("{web}/products/{id}")).send().await.map_err(|error| format!("{error:?}"))?;
    match response.status() {
        StatusCode::OK => response.json().await.map_err(|error| format!("{error:?}")),
        other => Err(format!("{other}: {}", response.text().await.unwrap_or_default())),
    }
}

/// Waits until every page is fresh with its last price, and says for how long.
pub(crate) async fn until_fresh(web: &str, prices: &Prices) -> Duration {
    let client = client();
    let began = Instant::now();
    for id in 0..PRODUCTS {
        loop {
            let served = get(&client, web, id).await;
            if served.as_ref().is_ok_and(|served| served.fresh && served.page.cents == prices.last(id)) {
                break;
            }
            assert!(began.elapsed() < PATIENCE, "product {id} is not fresh with {}: {served:?}", prices.last(id));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    began.elapsed()
}
