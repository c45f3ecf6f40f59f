//! The private servers do to a test what their documentation says.

mod wire;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use smache_testkit::servers::{MongoServer, MongoSet, PostgresServer, RedisServer, ServerProcess};
use wire::{count, insert, redis};

/// Whether the process exists. One that has ended and is not waited for does.
fn exists(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "not within 20 s: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn pid(server: &ServerProcess) -> u32 {
    server.pid().expect("the server runs")
}

/// Where a server keeps everything: its current folder.
fn folder(server: &ServerProcess) -> PathBuf {
    std::fs::read_link(format!("/proc/{}/cwd", pid(server))).expect("the process has a current folder")
}

/// A kind that the test kit knows anyway, started like one that it does not know.
#[tokio::test]
async fn server_of_any_kind_keeps_its_port_and_its_data() {
    let server = ServerProcess::builder("redis-server")
        .named_by("SMACHE_REDIS_SERVER")
        .arguments(|port, data| {
            let data = data.display().to_string();
            ["--bind", "127.0.0.1", "--port", &port.to_string(), "--dir", &data, "--appendonly", "yes"]
                .map(str::to_owned)
        })
        .ready(|started| match started.log.contains("Ready to accept connections") {
            true => Ok(()),
            false => Err("it is loading".to_owned()),
        })
        .start()
        .await;
    let port = server.port();
    assert_eq!(redis(port, &["SET", "key", "value"]).await.expect("an answer"), "+OK\r\n");
    server.stop().await;
    server.restart().await;
    assert_eq!(server.port(), port);
    assert_eq!(redis(port, &["DBSIZE"]).await.expect("an answer"), ":1\r\n");
    server.stop().await;
    server.wipe().await;
    server.restart().await;
    assert_eq!(redis(port, &["DBSIZE"]).await.expect("an answer"), ":0\r\n");
}

#[tokio::test]
async fn missing_program_is_named_with_the_variable() {
    let starting = ServerProcess::builder("no-such-server").named_by("NO_SUCH_SERVER").start();
    let panic = tokio::spawn(starting).await.expect_err("there is none").into_panic();
    let text = panic.downcast::<String>().expect("a text");
    assert!(text.contains("no-such-server") && text.contains("NO_SUCH_SERVER"), "{text}");
}

#[tokio::test]
async fn a_standby_has_data_of_its_own_and_is_one_again_after_a_restart() {
    let primary = PostgresServer::builder().password("hunter2").start().await;
    let standby = primary.start_standby().await;
    assert_ne!(primary.port(), standby.port());
    assert_ne!(folder(&primary), folder(&standby));
    assert_eq!(
        standby.url().replace(&standby.port().to_string(), "port"),
        primary.url().replace(&primary.port().to_string(), "port")
    );
    assert!(!format!("{standby:?}").contains("hunter2"));
    standby.kill().await;
    standby.restart().await;
    let log = standby.log();
    assert!(log.contains("entering standby mode"), "{log}");
}

/// A process of a connection that is still busy when its server is killed must not answer what is asked after that.
#[tokio::test]
async fn nothing_of_a_killed_postgres_goes_on() {
    let server = PostgresServer::start().await;
    let helpers = children(pid(&server));
    assert!(!helpers.is_empty());
    // Stopped, they cannot notice by themselves. One of them may have ended since, and `kill` reports that.
    let list: Vec<_> = helpers.iter().map(u32::to_string).collect();
    let stopping = Command::new("sh").arg("-c").arg(format!("kill -STOP {}", list.join(" "))).status();
    stopping.expect("there is a shell");
    server.kill().await;
    let left: Vec<_> = helpers.into_iter().filter(|helper| runs(*helper)).collect();
    assert_eq!(left, [0; 0]);
    server.restart().await;
    assert!(!children(pid(&server)).is_empty());
}

/// The words of a process's state from its third on: the state itself, the parent.
fn stat(pid: u32) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect())
}

fn runs(pid: u32) -> bool {
    stat(pid).is_some_and(|words| words[0] != "Z" && words[0] != "X")
}

fn children(parent: u32) -> Vec<u32> {
    let all = std::fs::read_dir("/proc").expect("the system has a /proc");
    let pids = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| stat(*pid).is_some_and(|words| words[1] == parent.to_string())).collect()
}

/// Redis changes into the folder of its data, which lies in the folder that is removed.
fn redis_folder(server: &ServerProcess) -> PathBuf {
    folder(server).parent().expect("the data have a folder of their own").to_owned()
}

#[tokio::test]
async fn redis_answers_once_it_is_started() {
    let server = RedisServer::start().await;
    assert_eq!(server.url(), format!("redis://127.0.0.1:{}", server.port()));
    assert_eq!(redis(server.port(), &["PING"]).await.expect("it answers"), "+PONG\r\n");
}

#[tokio::test]
async fn servers_side_by_side_have_their_own_data() {
    let (one, two) = tokio::join!(RedisServer::start(), RedisServer::start());
    assert_ne!(one.port(), two.port());
    redis(one.port(), &["SET", "k", "v"]).await.expect("it answers");
    assert_eq!(redis(two.port(), &["GET", "k"]).await.expect("it answers"), "$-1\r\n");
}

#[tokio::test]
async fn a_killed_redis_refuses_connections_and_comes_back_on_its_port() {
    let server = RedisServer::start().await;
    let port = server.port();
    let first = pid(&server);
    redis(port, &["SET", "k", "v"]).await.expect("it answers");
    server.kill().await;
    assert!(!exists(first));
    assert_eq!(server.pid(), None);
    assert!(redis(port, &["PING"]).await.is_err());
    server.restart().await;
    assert_eq!(server.port(), port);
    assert_ne!(pid(&server), first);
    assert_eq!(redis(port, &["GET", "k"]).await.expect("it answers"), "$-1\r\n", "nothing is kept unless asked for");
}

#[tokio::test]
async fn a_redis_that_keeps_data_has_them_after_a_kill_and_a_stop_until_wiped() {
    let server = RedisServer::builder().keep_data().start().await;
    redis(server.port(), &["SET", "k", "v"]).await.expect("it answers");
    server.kill().await;
    server.restart().await;
    assert_eq!(redis(server.port(), &["GET", "k"]).await.expect("it answers"), "$1\r\nv\r\n");
    server.stop().await;
    assert_eq!(server.pid(), None);
    server.restart().await;
    assert_eq!(redis(server.port(), &["GET", "k"]).await.expect("it answers"), "$1\r\nv\r\n");
    server.stop().await;
    server.wipe().await;
    server.restart().await;
    assert_eq!(redis(server.port(), &["GET", "k"]).await.expect("it answers"), "$-1\r\n");
}

#[tokio::test]
async fn a_redis_with_a_password_asks_for_it_and_names_it_in_its_url() {
    let server = RedisServer::builder().password("p@ss").start().await;
    assert_eq!(server.url(), format!("redis://:p%40ss@127.0.0.1:{}", server.port()));
    assert!(redis(server.port(), &["PING"]).await.expect("it answers").starts_with("-NOAUTH"));
    assert_eq!(redis(server.port(), &["AUTH", "p@ss"]).await.expect("it answers"), "+OK\r\n");
    assert!(!format!("{server:?}").contains("p@ss"));
    server.restart().await;
    assert!(redis(server.port(), &["PING"]).await.expect("it answers").starts_with("-NOAUTH"));
}

#[tokio::test]
async fn the_configuration_of_a_redis_is_the_tests() {
    let server = RedisServer::builder()
        .maxmemory("3mb")
        .maxmemory_policy("allkeys-lru")
        .config("loglevel", "warning")
        .start()
        .await;
    let value = redis(server.port(), &["CONFIG", "GET", "maxmemory-policy"]).await.expect("it answers");
    assert!(value.contains("allkeys-lru"), "{value}");
    let value = redis(server.port(), &["CONFIG", "GET", "maxmemory"]).await.expect("it answers");
    assert!(value.contains("3145728"), "{value}");
}

#[tokio::test]
async fn a_redis_that_cannot_start_says_why() {
    let outcome = tokio::spawn(RedisServer::builder().port(20_123).config("no-such-directive", "1").start()).await;
    let panic = outcome.expect_err("it cannot start").into_panic();
    let message = panic.downcast::<String>().expect("a message");
    assert!(message.contains("no-such-directive"), "{message}");
}

#[tokio::test]
async fn a_paused_redis_holds_its_answers_until_it_is_resumed() {
    let server = RedisServer::start().await;
    server.pause().await;
    let mut answer = Box::pin(redis(server.port(), &["PING"]));
    assert!(tokio::time::timeout(Duration::from_millis(150), &mut answer).await.is_err());
    server.resume().await;
    assert_eq!(answer.await.expect("it answers"), "+PONG\r\n");
}

#[tokio::test]
async fn a_paused_redis_can_be_stopped_killed_and_dropped() {
    let server = RedisServer::start().await;
    server.pause().await;
    server.stop().await;
    server.restart().await;
    server.pause().await;
    server.kill().await;
    server.restart().await;
    let last = pid(&server);
    server.pause().await;
    drop(server);
    assert!(!exists(last));
}

#[tokio::test]
async fn a_dropped_server_leaves_no_process_and_no_folder() {
    let server = RedisServer::start().await;
    let process = pid(&server);
    let folder = redis_folder(&server);
    assert!(exists(process) && folder.join("data").is_dir());
    drop(server);
    assert!(!exists(process));
    assert!(!folder.exists());
}

#[tokio::test(start_paused = true)]
async fn a_paused_clock_does_not_disturb_the_start_and_the_stop() {
    let server = RedisServer::start().await;
    server.stop().await;
    server.restart().await;
    assert!(server.pid().is_some());
}

#[tokio::test]
async fn a_server_outlives_the_thread_that_started_it() {
    let starter = || tokio::runtime::Runtime::new().expect("a runtime").block_on(RedisServer::start());
    let server = tokio::task::spawn_blocking(move || std::thread::spawn(starter).join().expect("it starts"))
        .await
        .expect("it starts");
    assert_eq!(redis(server.port(), &["PING"]).await.expect("it answers"), "+PONG\r\n");
}

/// Runs itself a second time as the process that is killed.
#[tokio::test]
async fn a_killed_test_process_takes_its_servers_with_it() {
    const ROLE: &str = "SMACHE_TESTKIT_HOLDS_A_SERVER";
    if std::env::var_os(ROLE).is_some() {
        let server = RedisServer::start().await;
        // Written past the capture of the harness, on a separate line.
        std::io::Write::write_all(&mut std::io::stdout(), format!("\nserver {}\n", pid(&server)).as_bytes())
            .expect("the test reads");
        std::future::pending::<()>().await;
    }
    let left_behind = tempfile::tempdir().expect("a folder for what a killed process cannot remove");
    let mut command = Command::new(std::env::current_exe().expect("the test has a file"));
    command
        .args(["--exact", "a_killed_test_process_takes_its_servers_with_it", "--nocapture"])
        .env(ROLE, "yes")
        .env("TMPDIR", left_behind.path());
    let mut holder = command.stdout(Stdio::piped()).spawn().expect("it runs");
    let lines = BufReader::new(holder.stdout.take().expect("it is piped")).lines();
    let mut pids = lines.map_while(Result::ok).filter_map(|line| line.strip_prefix("server ")?.parse().ok());
    let server: u32 = pids.next().expect("it tells the process id of its server");
    assert!(exists(server));
    holder.kill().expect("it can be killed");
    holder.wait().expect("it can be waited for");
    wait_until("the server of the killed process ends", || !exists(server));
}

#[tokio::test]
async fn mongo_keeps_what_it_acknowledged_over_a_kill_and_a_stop() {
    let server = MongoServer::start().await;
    let port = server.port();
    let first = pid(&server);
    assert_eq!(server.uri(), format!("mongodb://127.0.0.1:{port}/?directConnection=true"));
    insert(port, 1).await.expect("it answers");
    server.kill().await;
    assert!(!exists(first));
    assert!(insert(port, 2).await.is_err());
    server.restart().await;
    assert_eq!(count(port).await.expect("it answers"), 1);
    insert(port, 3).await.expect("it answers");
    server.stop().await;
    server.restart().await;
    assert_eq!(count(port).await.expect("it answers"), 2);
    server.kill().await;
    server.wipe().await;
    server.restart().await;
    assert_eq!(count(port).await.expect("it answers"), 0);
}

#[tokio::test]
async fn mongo_takes_options_and_leaves_no_process_and_no_folder() {
    let server = MongoServer::builder().standalone().argument("--quiet").start().await;
    let process = pid(&server);
    let command =
        std::fs::read_to_string(format!("/proc/{process}/cmdline")).expect("the process runs").replace('\0', " ");
    assert!(command.contains("--quiet") && !command.contains("--replSet"), "{command}");
    let folder = folder(&server);
    assert!(folder.join("data").is_dir());
    drop(server);
    assert!(!exists(process));
    assert!(!folder.exists());
}

#[tokio::test]
async fn a_paused_mongo_holds_its_answers_until_it_is_resumed() {
    let server = MongoServer::start().await;
    server.pause().await;
    let mut answer = Box::pin(count(server.port()));
    assert!(tokio::time::timeout(Duration::from_millis(150), &mut answer).await.is_err());
    server.resume().await;
    assert_eq!(answer.await.expect("it answers"), 0);
}

#[tokio::test]
async fn a_set_of_three_has_another_primary_after_a_kill_and_a_step_down() {
    let set = MongoSet::start().await;
    let first = set.primary().await;
    let second = set.step_down().await;
    assert_ne!(first, second);
    assert_eq!(set.kill_primary().await, second);
    let third = set.primary().await;
    assert_ne!(third, second);
    set.member(second).restart().await;
    let processes: Vec<u32> = (0..3).map(|member| pid(set.member(member))).collect();
    drop(set);
    assert!(!processes.into_iter().any(exists));
}
