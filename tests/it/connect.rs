//! Naming a backend instead of connecting it: by a verb of the builder, or by a URL.

use smache::{Backend, Connect, ErrorKind, Result, Smache, connect, memory::Memory};

use crate::{functions::square, probe::Probe};

async fn works(builder: smache::Builder) -> Result<()> {
    let probe = Probe::default();
    let smache = builder.state(probe.clone()).register::<square>().build().await?;
    assert_eq!(*smache.get(square(4)).await?, 16);
    assert_eq!(*smache.get(square(4)).await?, 16);
    assert_eq!(probe.runs(), 1, "the second one was stored");
    smache.invalidate(square(4)).await?;
    assert_eq!(smache.inspect().stats().await?.jobs.recompute, 1, "there is a queue, and the store writes into it");
    smache.run_until_idle().await?;
    assert_eq!(probe.runs(), 2);
    smache.shutdown().await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_backend_is_named_by_one_line() -> Result<()> {
    works(Smache::builder("named").memory()).await?;
    works(Smache::builder("named").url("memory:")).await?;
    works(Smache::builder("named").backend(connect("memory:").await?)).await?;
    works(Smache::builder("named").connect(async { Ok(Memory::new()) })).await
}

#[tokio::test(start_paused = true)]
async fn the_last_named_backend_counts() -> Result<()> {
    let split = Smache::builder("last").store(Memory::new()).queue(Memory::new());
    works(split.url("nowhere:").memory()).await
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn a_file_keeps_results_and_jobs() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.db");
    works(Smache::builder("named").sqlite(&path)).await?;
    let url = format!("sqlite:{}", path.display());
    let probe = Probe::default();
    let again = Smache::builder("named").url(url).state(probe.clone()).register::<square>().build().await?;
    assert!(again.get(square(4)).await?.is_fresh() && probe.runs() == 0, "it is the same file, after another life");
    again.shutdown().await;
    Ok(())
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn a_url_of_a_file_is_a_path_and_nothing_else() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.db");
    for slashes in ["", "//", "///"] {
        let url = format!("sqlite:{slashes}{}", path.display());
        connect(url).await?.store(&smache::backend::Namespace::new("named")?)?.stats().await?;
    }
    let options = format!("sqlite:{}?mode=rwc", path.display());
    for (url, fix) in [
        ("sqlite:", "names no file"),
        ("sqlite://", "names no file"),
        (options.as_str(), "`Sqlite::builder`"),
        ("sqlite::memory:", "`memory:`"),
    ] {
        let error = connect(url).await.map(drop).expect_err(url);
        assert!(error.kind() == ErrorKind::Config && error.to_string().contains(fix), "{}", error.report());
    }
    let files = std::fs::read_dir(folder.path()).expect("the folder").count();
    assert!(files <= 3, "the file, its log and what is shared: {files}");
    Ok(())
}

#[tokio::test]
async fn a_url_of_no_backend_is_refused_without_its_password() {
    for url in ["", "app.db", "mysql://root:hush@localhost/app", "hush@cache:6379", "redis", "Redis://localhost"] {
        let errors = [
            Smache::builder("named").url(url).build().await.map(drop),
            connect(url).await.map(|backend: std::sync::Arc<dyn Backend>| drop(backend)),
        ];
        for error in errors.map(|result| result.expect_err(url)) {
            assert_eq!(error.kind(), ErrorKind::Config, "{error}");
            let text = error.report();
            assert!(text.contains("scheme") && text.contains("`sqlite:app.db`") && !text.contains("hush"), "{text}");
        }
    }
}

#[cfg(all(feature = "mongo", feature = "redis", feature = "postgres"))]
#[tokio::test]
async fn what_cannot_be_connected_is_an_error_of_build() {
    let builder = || Smache::builder("named");
    for (builder, kind) in [
        (builder().redis("redis://127.0.0.1:1"), ErrorKind::Unavailable),
        (builder().postgres("postgres://127.0.0.1:1/app"), ErrorKind::Unavailable),
        (builder().url("postgres://me:hush@127.0.0.1:1/app"), ErrorKind::Unavailable),
        (builder().mongo("mongodb://127.0.0.1:1/app?serverSelectionTimeoutMS=300"), ErrorKind::Unavailable),
        (builder().redis("http://127.0.0.1:1"), ErrorKind::Config),
        (builder().url("mongodb://me:hush@127.0.0.1:1"), ErrorKind::Config),
        (builder().postgres("nonsense"), ErrorKind::Config),
    ] {
        let error = builder.build().await.map(drop).expect_err("no server is there");
        assert!(error.kind() == kind && !error.report().contains("hush"), "{}", error.report());
    }
}
