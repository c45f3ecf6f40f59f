//! A PostgreSQL for the tests of this binary: the one of `DATABASE_URL`, else a private one that ends with the process.

use std::{
    fs,
    io::Write,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::LazyLock,
    thread,
    time::{Duration, Instant},
};

/// The server's URL.
pub(crate) fn url() -> String {
    static SERVER: LazyLock<(String, Option<PostgresServer>)> = LazyLock::new(|| match std::env::var("DATABASE_URL") {
        Ok(url) if url.starts_with("postgres") => (url, None),
        _ => {
            let server = PostgresServer::start("");
            (server.url.clone(), Some(server))
        }
    });
    SERVER.0.clone()
}

/// Where the server's programs are: Debian keeps them off the PATH.
fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    if let Ok(versions) = fs::read_dir("/usr/lib/postgresql") {
        folders.extend(versions.flatten().map(|version| version.path().join("bin")));
    }
    let found = folders.into_iter().map(|folder| folder.join(name)).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("there is no {name}: install PostgreSQL, or name a server in DATABASE_URL"))
}

/// The server refuses to run as root.
fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("`id` runs");
    id.stdout.starts_with(b"0\n")
}

/// A private server, which ends when it is dropped, and with the process however that ends.
pub(crate) struct PostgresServer {
    pub(crate) url: String,
    shell: Child,
}

impl PostgresServer {
    /// Starts one with settings (`-c name=value`).
    pub(crate) fn start(settings: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("smache-postgres-").tempdir().expect("a folder").keep();
        let data = folder.join("data");
        let user = if is_root() { "runuser -u postgres --" } else { "" };
        if is_root() {
            let status = Command::new("chown").arg("postgres").arg(&folder).status().expect("`chown` runs");
            assert!(status.success(), "the folder cannot be given to the user postgres");
        }
        let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port();
        // Every line that it reads is a crash: the server is started again. When this process is gone, nobody holds the
        // other end of its standard input, and it ends the server and removes the folder,
        // which an interrupt of the whole group must not prevent.
        let script = format!(
            "trap '' INT TERM HUP; cd {folder}; {user} {initdb} -D {data} -A trust -U postgres -E UTF8 --locale=C --no-sync >init.log 2>&1
            run() {{
                {user} {postgres} -D {data} -p {port} -h 127.0.0.1 -k {folder} -c fsync=off -c max_connections=300 \
                    -c max_prepared_transactions=10 {settings} </dev/null >>server.log 2>&1 &
            }}
            crash() {{ [ -s {data}/postmaster.pid ] && kill -QUIT $(head -n 1 {data}/postmaster.pid); wait; }}
            run; while read line; do crash; run; done; crash; cd /
            for try in 1 2 3 4 5 6 7 8 9; do rm -rf {folder} && break; sleep 1; done",
            folder = folder.display(),
            data = data.display(),
            initdb = program("initdb").display(),
            postgres = program("postgres").display(),
        );
        let shell = Command::new("sh")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("`sh` runs");
        wait(&folder, port);
        Self { url: format!("postgres://postgres@127.0.0.1:{port}/postgres"), shell }
    }

    /// Ends it as a crash does: what is not in the log by then is lost. It is started again at once.
    pub(crate) fn crash(&mut self) {
        let tether = self.shell.stdin.as_mut().expect("it is piped");
        tether.write_all(b"\n").and_then(|()| tether.flush()).expect("the shell listens");
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        // Fails only for a shell that has ended and been waited for.
        let _ = self.shell.wait();
    }
}

fn wait(folder: &Path, port: u16) {
    let deadline = Instant::now() + Duration::from_secs(60);
    let ready = program("pg_isready");
    loop {
        let port = port.to_string();
        let answer = Command::new(&ready).args(["-q", "-h", "127.0.0.1", "-p", &port]).status().expect("it runs");
        if answer.success() {
            return;
        }
        let log = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
        assert!(Instant::now() < deadline, "no server:\n{}{}", log("init.log"), log("server.log"));
        thread::sleep(Duration::from_millis(20));
    }
}
