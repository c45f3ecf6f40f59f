//! A Redis behind TLS, with a certificate of a private authority and a password.

use std::{fs, path::Path};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use smache::{ErrorKind, redis::Redis};
use smache_server_tests::{Sight, State};
use smache_testkit::servers::{RedisServer, free_port, shared_mongo_uri};

use crate::{node::Node, world::World};

/// Writes a certificate for 127.0.0.1, its key, and the authority that signed it.
fn certify(folder: &Path) {
    let mut params = CertificateParams::new(vec![]).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("an address");
    let certificate = params.signed_by(&key, &authority).expect("a certificate");
    for (name, text) in [("ca.pem", authority.pem()), ("cert.pem", certificate.pem()), ("key.pem", key.serialize_pem())]
    {
        fs::write(folder.join(name), text).expect("a file");
    }
}

#[tokio::test]
async fn tls_and_a_password_by_url_work_where_the_authority_is_trusted_and_nowhere_else() {
    let folder = tempfile::tempdir().expect("a folder");
    certify(folder.path());
    let file = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let port = free_port();
    let server = RedisServer::builder()
        .password("s3cret")
        .config("tls-port", &port.to_string())
        .config("tls-cert-file", &file("cert.pem"))
        .config("tls-key-file", &file("key.pem"))
        .config("tls-ca-cert-file", &file("ca.pem"))
        .config("tls-auth-clients", "no")
        .start()
        .await;
    let url = format!("rediss://:s3cret@127.0.0.1:{port}");

    let error = Redis::connect(&url).await.expect_err("this process does not trust the authority");
    assert_eq!(error.kind(), ErrorKind::WrongServer, "{error:?}");
    assert!(error.to_string().contains("certificate") && !error.report().contains("s3cret"), "{}", error.report());

    let world = World::on(url, shared_mongo_uri()).await;
    world.insert(1, 7).await;
    let trusts = [("SSL_CERT_FILE", Path::new(&file("ca.pem")).to_path_buf())];
    let trusts: Vec<(&str, &Path)> = trusts.iter().map(|(name, path)| (*name, path.as_path())).collect();
    let node = Node::start_with(&world.all_roles(), &trusts).ready().await;
    assert_eq!(node.get(1, 0).await, Sight { n: 7, state: State::Fresh });
    assert_eq!(node.peek(1, 0).await.map(|sight| sight.n), Some(7));
    node.end().await;
    // This process cannot reach that Redis, which is gone in a moment anyway.
    world.db.drop().await.expect("the database is dropped");
    drop(server);
}
