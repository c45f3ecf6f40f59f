//! What the published suite cannot see of an invalidation that does not fit into one script.

use smache_core::Backend;
use smache_testkit::{random_namespace, servers::shared_redis_url};

use crate::support::{ask, compute_many, direct, raw, shared};

#[tokio::test]
async fn a_mark_that_its_author_has_renewed_is_not_withdrawn_by_maintenance() {
    let namespace = random_namespace();
    let store = shared().await.store(&namespace).expect("a store");
    compute_many(&store, 0..3_000, |_| vec![direct("a")]).await;
    let mark = [tag_bytes("a").as_slice(), &[7; 16]].concat();
    let key = |name: &str| format!("{{{namespace}}}:{name}").into_bytes();
    let mut connection = raw(&shared_redis_url()).await;
    let _: () = ask(&mut connection, &[b"HSET", &key("m"), &tag_bytes("a"), &[7; 16]]).await;
    let _: () = ask(&mut connection, &[b"ZADD", &key("md"), b"1", &mark]).await;
    let redoing = tokio::spawn({
        let store = store.clone();
        async move { store.maintain(100).await }
    });
    // As soon as maintenance has read it: the walk has pages left.
    while store.stats().await.expect("stats").stale == 0 {}
    let _: () = ask(&mut connection, &[b"ZADD", &key("md"), b"99999999999999", &mark]).await;
    redoing.await.expect("maintenance ends").expect("maintain");
    let left: Vec<u8> = ask(&mut connection, &[b"HGET", &key("m"), &tag_bytes("a")]).await;
    assert_eq!(left, [7; 16], "its author is alive, and ends it");
}

fn tag_bytes(name: &str) -> [u8; 16] {
    *crate::support::tag(name).as_bytes()
}
