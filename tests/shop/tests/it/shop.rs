//! The servers and the processes of a shop.

use std::process::Stdio;

use smache::postgres::sqlx::{self, PgPool};
use smache_testkit::servers::{PostgresServer, RedisServer};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

use crate::{
    balancer::Balancer,
    customers::{Customers, PATIENCE, PRODUCTS, Prices},
};

/// A shop with servers to itself.
pub(crate) struct Shop {
    pub(crate) redis: RedisServer,
    pub(crate) balancer: Balancer,
    /// Of the office, which changes prices: not by way of the balancer.
    office: PgPool,
    database: String,
    pub(crate) prices: Prices,
    _postgres: PostgresServer,
}

impl Shop {
    pub(crate) async fn open() -> Self {
        let redis = RedisServer::start().await;
        let postgres = PostgresServer::start().await;
        let balancer = Balancer::start(postgres.port()).await;
        let office = PgPool::connect(&postgres.url()).await.expect("PostgreSQL");
        for statement in [
            "CREATE TABLE products (id bigint PRIMARY KEY, cents bigint NOT NULL)",
            "CREATE TABLE reviews (id bigint PRIMARY KEY, product_id bigint NOT NULL, stars bigint NOT NULL)",
        ] {
            sqlx::query(statement).execute(&office).await.expect("a table");
        }
        let prices = Prices::default();
        for id in 0..PRODUCTS {
            sqlx::query("INSERT INTO products VALUES ($1, 0)").bind(id).execute(&office).await.expect("a product");
            sqlx::query("INSERT INTO reviews VALUES ($1, $1, 5)").bind(id).execute(&office).await.expect("a review");
            prices.committed(id, 0);
        }
        let database = postgres.url().replace(&format!(":{}/", postgres.port()), &format!(":{}/", balancer.port()));
        Self { redis, balancer, office, database, prices, _postgres: postgres }
    }

    pub(crate) async fn start(&self, role: &str, release: &str) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shop"));
        command.args([role, release]).env("DATABASE_URL", &self.database).env("REDIS_URL", self.redis.url());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("the program `shop` starts");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let line = timeout(PATIENCE, lines.next_line()).await.expect("it starts in time").expect("it can be read");
        Process { child, says: line.unwrap_or_else(|| panic!("`shop {role} {release}` did not start")) }
    }

    /// Changes a price.
    pub(crate) async fn change(&self, id: i64, cents: i64) {
        let update = "UPDATE products SET cents = $2 WHERE id = $1";
        sqlx::query(update).bind(id).bind(cents).execute(&self.office).await.expect("the office has its own line");
        self.prices.committed(id, cents);
    }

    pub(crate) fn customers(&self, webs: &[&Process]) -> Customers {
        let webs: Vec<String> = webs.iter().map(|web| web.says.clone()).collect();
        Customers::enter(&webs, &self.prices)
    }
}

/// A process of the shop, killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    /// Its first line: the address of a web server.
    pub(crate) says: String,
}

impl Process {
    /// An orderly end.
    pub(crate) async fn end(mut self) {
        drop(self.child.stdin.take());
        let status = timeout(PATIENCE, self.child.wait()).await.expect("it ends in time").expect("it is waited for");
        assert!(status.success(), "a process of the shop ended with {status}");
    }
}
