//! Connecting: it works, or it fails soon with a clear error.

use std::time::Duration;

use smache_core::{Backend, Error, ErrorKind, SourceId};
use smache_redis::Redis;
use smache_testkit::{
    random_namespace,
    servers::{RedisServer, free_port},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::Instant,
};

use crate::support::{ask, raw};

/// The bound where it ends an attempt.
const BOUND: Duration = Duration::from_millis(500);
/// The bound where the server answers, on a busy machine too.
const LONG_BOUND: Duration = Duration::from_secs(30);

async fn refusal(url: &str) -> Error {
    refusal_within(url, LONG_BOUND).await
}

/// The error where the server gives no answer.
async fn refusal_soon(url: &str) -> Error {
    let started = Instant::now();
    let error = refusal_within(url, BOUND).await;
    assert!(started.elapsed() < LONG_BOUND, "{:?}", started.elapsed());
    error
}

async fn refusal_within(url: &str, bound: Duration) -> Error {
    let refused = Redis::builder(url).connect_timeout(bound).response_timeout(bound).connect().await;
    refused.expect_err("this server cannot be used")
}

/// A port where a server answers that is no Redis.
async fn impostor(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 1024];
                let _ = client.read(&mut request).await;
                let _ = client.write_all(answer).await;
                // Stays open unless the answer is empty: the client must give up by itself.
                if !answer.is_empty() {
                    let _ = client.read(&mut request).await;
                }
            });
        }
    });
    format!("redis://{address}")
}

#[tokio::test]
async fn port_without_a_listener_is_unavailable() {
    let address = format!("127.0.0.1:{}", free_port());
    let error = refusal(&format!("redis://user:secret@{address}")).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.is_transient());
    assert!(error.to_string().contains(&address), "{error}");
    assert!(!format!("{error:?} {}", error.report()).contains("secret"), "{error:?}");
}

#[tokio::test]
async fn a_port_of_something_else_is_the_wrong_server() {
    for answer in
        [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"\x16\x03\x01\x02\x00 what is this", b"SSH-2.0-OpenSSH_9\r\n"]
    {
        assert_eq!(refusal(&impostor(answer).await).await.kind(), ErrorKind::WrongServer, "{answer:?}");
    }
}

#[tokio::test]
async fn a_port_that_hangs_up_is_unavailable() {
    assert_eq!(refusal(&impostor(b"").await).await.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_port_that_says_nothing_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let error = refusal_soon(&format!("redis://{}", listener.local_addr().expect("an address"))).await;
    assert_eq!(error.kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn credentials_are_checked_and_never_shown() {
    let server = RedisServer::builder().password("sesame").start().await;
    let address = format!("127.0.0.1:{}", server.port());
    let redis = Redis::connect(server.url()).await.expect("the right password");
    assert!(!format!("{redis:?} {:?}", Redis::builder(server.url())).contains("sesame"));
    for url in
        [format!("redis://{address}"), format!("redis://:wr0ng@{address}"), format!("redis://nobody:wr0ng@{address}")]
    {
        let error = refusal(&url).await;
        assert_eq!(error.kind(), ErrorKind::Permission, "{error}");
        assert!(!format!("{error:?} {}", error.report()).contains("wr0ng"), "{error:?}");
    }
}

#[tokio::test]
async fn a_user_without_the_permissions_learns_so() {
    let server = RedisServer::start().await;
    let mut admin = raw(&server.url()).await;
    let _: () = ask(&mut admin, &[b"ACL", b"SETUSER", b"guest", b"on", b">guest", b"~*", b"+@connection"]).await;
    let error = refusal(&format!("redis://guest:guest@127.0.0.1:{}", server.port())).await;
    assert_eq!(error.kind(), ErrorKind::Permission, "{error}");
    assert!(error.to_string().contains("ACL SETUSER") && error.to_string().contains("+info"), "{error}");
}

#[tokio::test]
async fn a_replica_is_refused_with_the_way_to_the_primary() {
    let primary = RedisServer::start().await;
    let replica = RedisServer::builder().config("replicaof", &format!("127.0.0.1 {}", primary.port())).start().await;
    let error = refusal(&replica.url()).await;
    assert_eq!(error.kind(), ErrorKind::WrongServer, "{error}");
    assert!(error.to_string().contains("primary"), "{error}");
}

#[tokio::test]
async fn cluster_mode_is_refused() {
    let server = RedisServer::builder().config("cluster-enabled", "yes").start().await;
    let error = refusal(&server.url()).await;
    assert_eq!(error.kind(), ErrorKind::WrongServer, "{error}");
    assert!(error.to_string().contains("cluster"), "{error}");
}

#[tokio::test]
async fn a_server_that_evicts_any_key_is_refused_with_the_setting() {
    for policy in ["allkeys-lru", "allkeys-random"] {
        let server = RedisServer::builder().maxmemory("50mb").maxmemory_policy(policy).start().await;
        let error = refusal(&server.url()).await;
        assert_eq!(error.kind(), ErrorKind::WrongServer, "{error}");
        assert!(error.to_string().contains("volatile-lru") && error.to_string().contains(policy), "{error}");
    }
    let server = RedisServer::builder().maxmemory("50mb").maxmemory_policy("volatile-lru").start().await;
    Redis::connect(server.url()).await.expect("only values that expire are evicted, and there are none");
}

#[tokio::test]
async fn urls_that_are_not_valid_are_refused_without_being_shown() {
    for url in
        ["", "localhost", "http://:sesame@localhost", "redis://:sesame@localhost:port", "redis://:sesame@localhost/two"]
    {
        let error = refusal(url).await;
        assert_eq!(error.kind(), ErrorKind::Config, "{url}");
        assert!(!format!("{error:?} {}", error.report()).contains("sesame"), "{error:?}");
    }
}

#[tokio::test]
async fn a_database_that_does_not_exist_is_refused() {
    let server = RedisServer::start().await;
    let error = refusal(&format!("{}/9999", server.url())).await;
    assert_eq!(error.kind(), ErrorKind::WrongServer, "{error}");
    assert!(error.to_string().contains("database"), "{error}");
    Redis::connect(format!("{}/3", server.url())).await.expect("one that does");
}

#[tokio::test]
async fn tls_to_a_server_without_it_fails_and_does_not_panic() {
    let server = RedisServer::start().await;
    let error = refusal_soon(&format!("rediss://127.0.0.1:{}", server.port())).await;
    assert!(matches!(error.kind(), ErrorKind::WrongServer | ErrorKind::Unavailable | ErrorKind::Timeout), "{error:?}");
}

#[tokio::test]
async fn a_unix_socket_works_too() {
    let folder = std::env::temp_dir().join(format!("smache-{}", smache_core::Token::random()));
    std::fs::create_dir(&folder).expect("a folder");
    let path = folder.join("redis.sock");
    let server = RedisServer::builder().config("unixsocket", path.to_str().expect("a path")).start().await;
    let redis = Redis::connect(format!("unix://{}", path.display())).await.expect("a unix socket");
    let store = redis.store(&random_namespace()).expect("a store");
    crate::support::compute(&*store, crate::support::id(1), &[]).await;
    drop(server);
    std::fs::remove_dir_all(&folder).expect("the folder goes");
    let error = refusal(&format!("unix://{}", path.display())).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

#[tokio::test]
async fn full_memory_is_an_error_and_changes_nothing() {
    let server = RedisServer::builder().maxmemory_policy("noeviction").start().await;
    let redis = Redis::connect(server.url()).await.expect("the private Redis");
    let (store, queue) = redis.both(&random_namespace()).expect("both");
    crate::support::compute(&*store, crate::support::id(1), &[crate::support::direct("a")]).await;
    let run = crate::support::begin(&*store, crate::support::id(2)).await;
    let before = store.stats().await.expect("stats");

    let mut admin = raw(&server.url()).await;
    let _: () = ask(&mut admin, &[b"CONFIG", b"SET", b"maxmemory", b"1"]).await;
    let error = store.invalidate(crate::support::change(["a"])).await.expect_err("no memory");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("maxmemory"), "{error}");
    store.commit(run.value("value", &[crate::support::direct("b")])).await.expect_err("no memory");
    assert_eq!(store.stats().await.expect("stats"), before);
    assert_eq!(queue.counts().await.expect("counts").recompute, 0);

    let _: () = ask(&mut admin, &[b"CONFIG", b"SET", b"maxmemory", b"0"]).await;
    store.commit(run.value("value", &[crate::support::direct("b")])).await.expect("there is memory again");
}

/// Keys in the layout of another release.
#[tokio::test]
async fn keys_of_another_layout_are_refused_and_left_alone() {
    let server = RedisServer::start().await;
    let namespace = random_namespace();
    let redis = Redis::connect(server.url()).await.expect("the private Redis");
    let store = redis.store(&namespace).expect("a store");
    let sources = [SourceId::new("users").expect("a good name")];
    store.attach(&sources).await.expect("a new namespace");
    store.attach(&sources).await.expect("one of this layout");
    let mut admin = raw(&server.url()).await;
    let key = format!("{{{namespace}}}:c");
    for (layout, fix) in [("3", "upgrade this program"), ("1", "remove these keys")] {
        let _: i64 = ask(&mut admin, &[b"HSET", key.as_bytes(), b"l", layout.as_bytes()]).await;
        let dump: Vec<u8> = ask(&mut admin, &[b"DUMP", key.as_bytes()]).await;
        let error = store.attach(&sources).await.expect_err("another layout");
        assert_eq!((error.kind(), error.is_transient()), (ErrorKind::WrongServer, false), "{error}");
        let text = error.to_string();
        assert!(
            text.contains(&format!("of layout {layout} and")) && text.contains("layout 2") && text.contains(fix),
            "{text}"
        );
        let after: Vec<u8> = ask(&mut admin, &[b"DUMP", key.as_bytes()]).await;
        assert_eq!(after, dump);
    }
}
