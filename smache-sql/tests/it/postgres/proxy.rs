//! Something between a program and its server: it counts the answers, and can keep notifications to itself.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinSet,
};

/// A proxy in front of a server, until it is dropped.
pub(super) struct Proxy {
    /// The server's URL by way of the proxy.
    pub(super) url: String,
    answers: Arc<AtomicU64>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// `deaf`: no notification passes, as through a pooler that gives each transaction another connection.
    pub(super) async fn start(server: &str, deaf: bool) -> Self {
        let (before, rest) = server.split_once('@').expect("a URL with a user");
        let (address, database) = rest.split_once('/').expect("a URL with a database");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let url = format!("{before}@127.0.0.1:{port}/{database}?sslmode=disable");
        let answers = Arc::new(AtomicU64::new(0));
        let counter = answers.clone();
        let address = address.to_owned();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(&address).await else { continue };
                client.set_nodelay(true).and_then(|()| server.set_nodelay(true)).expect("an option");
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                connections.spawn(pass(from_client, to_server));
                connections.spawn(watch(from_server, to_client, counter.clone(), deaf));
            }
        });
        Self { url, answers, _tasks: tasks }
    }

    /// How often the server has answered and was ready for the next: the round trips.
    pub(super) fn answers(&self) -> u64 {
        self.answers.load(Ordering::SeqCst)
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let _ = tokio::io::copy(&mut from, &mut to).await;
    let _ = to.shutdown().await;
}

/// Passes messages on one by one: a letter, the length of the rest, and the rest.
async fn watch(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, answers: Arc<AtomicU64>, deaf: bool) {
    let mut head = [0; 5];
    while from.read_exact(&mut head).await.is_ok() {
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let mut rest = vec![0; length - 4];
        if from.read_exact(&mut rest).await.is_err() {
            return;
        }
        match head[0] {
            b'Z' => answers.fetch_add(1, Ordering::SeqCst),
            b'A' if deaf => continue,
            _ => 0,
        };
        if to.write_all(&head).await.is_err() || to.write_all(&rest).await.is_err() {
            return;
        }
    }
}
