//! A private Redis.

use std::ffi::OsString;
use std::fmt;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::ops::Deref;
use std::path::Path;
use std::time::Duration;

use super::process::{ServerProcess, find_program};
use super::recipe::{Recipe, Started};

/// A private Redis for one test. Derefs to [`ServerProcess`], which can kill, restart and pause it.
pub struct RedisServer {
    process: ServerProcess,
    password: Option<String>,
}

impl RedisServer {
    /// Starts one without a password that forgets everything when it ends, and waits until it answers.
    ///
    /// # Panics
    /// See [`RedisServerBuilder::start`].
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// For one with options.
    #[must_use]
    pub fn builder() -> RedisServerBuilder {
        RedisServerBuilder::default()
    }

    /// `redis://127.0.0.1:PORT`, with the password if it has one.
    #[must_use]
    pub fn url(&self) -> String {
        let login =
            self.password.as_deref().map_or_else(String::new, |password| format!(":{}@", percent_encoded(password)));
        format!("redis://{login}127.0.0.1:{}", self.port())
    }
}

impl Deref for RedisServer {
    type Target = ServerProcess;

    fn deref(&self) -> &ServerProcess {
        &self.process
    }
}

impl fmt::Debug for RedisServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisServer").field("process", &self.process).finish_non_exhaustive()
    }
}

/// Options of a [`RedisServer`].
#[derive(Default)]
pub struct RedisServerBuilder {
    password: Option<String>,
    port: Option<u16>,
    keep_data: bool,
    settings: Vec<OsString>,
}

impl RedisServerBuilder {
    /// Asks clients for a password.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// A fixed port instead of a free one.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Writes every command to disk before it is answered, so that even a killed server comes back with everything.
    /// Without it a server comes back empty.
    #[must_use]
    pub fn keep_data(mut self) -> Self {
        self.keep_data = true;
        self
    }

    /// Limits its memory, for example to `"2mb"`.
    #[must_use]
    pub fn maxmemory(self, size: &str) -> Self {
        self.config("maxmemory", size)
    }

    /// The policy at the limit of its memory, for example `"allkeys-lru"` or `"noeviction"`.
    #[must_use]
    pub fn maxmemory_policy(self, policy: &str) -> Self {
        self.config("maxmemory-policy", policy)
    }

    /// Any other directive of its configuration, as in `redis.conf`. The last of several wins.
    #[must_use]
    pub fn config(mut self, directive: &str, value: &str) -> Self {
        self.settings.push(format!("--{directive}").into());
        self.settings.push(value.into());
        self
    }

    /// Starts it and waits until it answers.
    ///
    /// # Panics
    /// If there is no `redis-server` (named by `SMACHE_REDIS_SERVER`, else on the `PATH`), or it does not answer in
    /// time; the message ends with its log.
    pub async fn start(self) -> RedisServer {
        let Self { password, port, keep_data, settings } = self;
        let login = password.clone();
        let secret = password.clone();
        let recipe = Recipe {
            name: "redis-server".to_owned(),
            program: find_program("SMACHE_REDIS_SERVER", "redis-server"),
            port,
            arguments: Box::new(move |port, data| arguments(port, data, keep_data, secret.as_deref(), &settings)),
            ready: Box::new(move |started| ready(started, login.as_deref())),
            stop: "TERM",
            may_be_killed: false,
        };
        RedisServer { process: ServerProcess::start(recipe).await, password }
    }
}

impl fmt::Debug for RedisServerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisServerBuilder")
            .field("port", &self.port)
            .field("keep_data", &self.keep_data)
            .finish_non_exhaustive()
    }
}

fn arguments(port: u16, data: &Path, keep_data: bool, password: Option<&str>, settings: &[OsString]) -> Vec<OsString> {
    let mut all: Vec<OsString> = Vec::new();
    for word in ["--port", &port.to_string(), "--bind", "127.0.0.1", "--daemonize", "no", "--save", ""] {
        all.push(word.into());
    }
    all.extend(["--dir".into(), data.into()]);
    all.extend(["--appendonly".into(), if keep_data { "yes" } else { "no" }.into()]);
    // Without it a killed server may lose the last second.
    all.extend(["--appendfsync".into(), "always".into()]);
    if let Some(password) = password {
        all.extend(["--requirepass".into(), password.into()]);
    }
    all.extend(settings.iter().cloned());
    all
}

/// It answers, has loaded its data, and is the started process: another server may have been faster on the port.
fn ready(started: &Started<'_>, password: Option<&str>) -> Result<(), String> {
    let mut request = Vec::new();
    if let Some(password) = password {
        request.extend(command(&["AUTH", password]));
    }
    request.extend(command(&["PING"]));
    request.extend(command(&["INFO", "server"]));
    let answer = exchange(started.port, &request).map_err(|error| error.to_string())?;
    if !answer.contains("+PONG\r\n") {
        return Err(format!("answered {:?}", answer.lines().next().unwrap_or_default()));
    }
    if !answer.contains(&format!("process_id:{}\r\n", started.pid)) {
        return Err("another server listens there".to_owned());
    }
    Ok(())
}

/// Sends the commands and reads until the last answer is complete, as far as a probe must know.
fn exchange(port: u16, request: &[u8]) -> std::io::Result<String> {
    let mut connection = TcpStream::connect(("127.0.0.1", port))?;
    connection.set_read_timeout(Some(Duration::from_secs(1)))?;
    connection.write_all(request)?;
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    loop {
        let read = connection.read(&mut part)?;
        answer.extend_from_slice(&part[..read]);
        let text = String::from_utf8_lossy(&answer);
        let refused = text.split("\r\n").any(|line| line.starts_with('-'));
        let complete = text.split_once("process_id:").is_some_and(|(_, rest)| rest.contains("\r\n"));
        if read == 0 || refused || complete {
            return Ok(text.into_owned());
        }
    }
}

fn command(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len());
    for word in words {
        bytes.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    bytes.into_bytes()
}

fn percent_encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}
