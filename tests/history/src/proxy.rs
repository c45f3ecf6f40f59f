//! A network that fails: between processes and a server.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinSet,
    time::sleep,
};

/// What the network does at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weather {
    Fair,
    /// All connections are closed, and no new one is let through.
    Cut,
    /// Every piece comes so much later.
    Delay(Duration),
    /// Requests arrive, and their answers get lost. The connections end with it.
    SwallowAnswers,
    /// Requests get lost. The connections end with it.
    SwallowRequests,
    /// The next answer on each connection ends in its middle.
    Halve,
}

/// A proxy in front of a server of this machine, until it is dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) port: u16,
    weather: watch::Sender<Weather>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    pub(crate) async fn start(server: u16) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let (weather, outlook) = watch::channel(Weather::Fair);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                if *outlook.borrow() != Weather::Cut {
                    connections.spawn(pass(client, server, outlook.clone()));
                }
            }
        });
        Ok(Self { port, weather, _tasks: tasks })
    }

    pub(crate) fn turn(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }
}

async fn pass(client: TcpStream, server: u16, outlook: watch::Receiver<Weather>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else { return };
    let nodelay = client.set_nodelay(true).and_then(|()| server.set_nodelay(true));
    if nodelay.is_err() {
        return;
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    // The end of one way is the end of the connection.
    tokio::select! {
        () = pump(from_client, to_server, outlook.clone(), false) => {}
        () = pump(from_server, to_client, outlook, true) => {}
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut outlook: watch::Receiver<Weather>, answers: bool) {
    let mut piece = vec![0; 16_384];
    let mut lossy = false;
    loop {
        let read = tokio::select! {
            read = from.read(&mut piece) => read,
            _ = outlook.changed() => {
                let weather = *outlook.borrow_and_update();
                // The rest of a stream with a hole is no stream.
                if weather == Weather::Cut || lossy {
                    return;
                }
                continue;
            }
        };
        let length = match read {
            Ok(0) | Err(_) => return,
            Ok(length) => length,
        };
        let weather = *outlook.borrow();
        let written = match weather {
            Weather::Fair => to.write_all(&piece[..length]).await,
            Weather::Cut => return,
            Weather::Delay(by) => {
                sleep(by).await;
                to.write_all(&piece[..length]).await
            }
            Weather::SwallowAnswers if answers => {
                lossy = true;
                Ok(())
            }
            Weather::SwallowRequests if !answers => {
                lossy = true;
                Ok(())
            }
            Weather::Halve if answers => {
                let _ = to.write_all(&piece[..length / 2]).await;
                return;
            }
            Weather::SwallowAnswers | Weather::SwallowRequests | Weather::Halve => to.write_all(&piece[..length]).await,
        };
        if written.is_err() {
            return;
        }
    }
}
