//! Plain connections to Redis, for what a test does beside SMache.

use std::time::Duration;

use redis::{AsyncConnectionConfig, Client, aio::MultiplexedConnection};

/// A connection. The client waits half a second for an answer by default, and a server beside other work may take
/// longer.
pub(crate) async fn raw_redis(url: &str) -> MultiplexedConnection {
    let patience = Some(Duration::from_secs(60));
    let config = AsyncConnectionConfig::new().set_connection_timeout(patience).set_response_timeout(patience);
    let client = Client::open(url).expect("a URL of Redis");
    client.get_multiplexed_async_connection_with_config(&config).await.expect("Redis")
}
