//! A balancer between the shop and its database, which can refuse or swallow everything.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinSet,
};

/// How it treats its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It passes everything on.
    Pass,
    /// It accepts and closes, and closes what is open.
    Refuse,
    /// It accepts, and passes nothing on in either direction.
    Silent,
}

/// A balancer in front of a server, until it is dropped.
pub(crate) struct Balancer {
    port: u16,
    mode: watch::Sender<Mode>,
    _task: JoinSet<()>,
}

impl Balancer {
    pub(crate) async fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (mode, seen) = watch::channel(Mode::Pass);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                // A connection that cannot be accepted is the client's trouble, as with any balancer.
                let Ok((client, _)) = listener.accept().await else { continue };
                connections.spawn(serve(client, server, seen.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { port, mode, _task: task }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

async fn serve(client: TcpStream, server: u16, mut mode: watch::Receiver<Mode>) {
    let pass = async {
        let mut to_open = mode.clone();
        until(&mut to_open, |mode| mode != Mode::Silent).await;
        let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else { return };
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::join!(copy(from_client, to_server, mode.clone()), copy(from_server, to_client, mode.clone()));
    };
    let mut refused = mode.clone();
    tokio::select! {
        biased;
        // Dropped, both sides are closed.
        () = until(&mut refused, |mode| mode == Mode::Refuse) => {}
        () = pass => {}
    }
    mode.mark_unchanged();
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut mode: watch::Receiver<Mode>) {
    let mut part = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut part).await {
        until(&mut mode, |mode| mode != Mode::Silent).await;
        if to.write_all(&part[..read]).await.is_err() {
            break;
        }
    }
    // The other side may be gone already.
    let _ = to.shutdown().await;
}

async fn until(mode: &mut watch::Receiver<Mode>, is: impl Fn(Mode) -> bool) {
    if mode.wait_for(|mode| is(*mode)).await.is_err() {
        // The balancer is gone, and with it this task.
        tokio::time::sleep(Duration::MAX).await;
    }
}
