//! `shop web|worker first|second`, with `DATABASE_URL` and `REDIS_URL`. It ends when its standard input closes.

use std::{
    env,
    error::Error,
    io::{Write, stdout},
    time::Duration,
};

use shop::{Release, build, router};
use tokio::{io::AsyncReadExt, net::TcpListener};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "off".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let mut arguments = env::args().skip(1);
    let role = arguments.next().ok_or("which role: `web` or `worker`?")?;
    let release: Release = arguments.next().ok_or("which release: `first` or `second`?")?.parse()?;
    let smache = build(&env::var("DATABASE_URL")?, &env::var("REDIS_URL")?, release).await?;
    let closed = async {
        // An error is an end too.
        let _ = tokio::io::stdin().read_to_end(&mut Vec::new()).await;
    };
    match role.as_str() {
        "web" => {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            writeln!(stdout(), "http://{}", listener.local_addr()?)?;
            axum::serve(listener, router(smache.clone(), release)).with_graceful_shutdown(closed).await?;
        }
        "worker" => {
            let worker = smache.worker().concurrency(8).start();
            writeln!(stdout(), "works")?;
            closed.await;
            worker.shutdown(Duration::from_secs(5)).await;
        }
        other => return Err(format!("{other:?} is no role: `web` or `worker`").into()),
    }
    smache.shutdown().await;
    Ok(())
}
