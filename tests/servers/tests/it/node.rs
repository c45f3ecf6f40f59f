//! A process of the program `node`, killed when it is dropped; it also ends by itself when its standard input is
//! closed, so that it outlives not even a test that is killed.

use std::{
    collections::HashMap,
    path::Path,
    process::Stdio,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use smache_server_tests::{Answer, Counted, Order, Setup, Sight};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::oneshot,
    time::timeout,
};

use crate::waits::PATIENCE;

/// The receivers of the answers, by number; `None` when there will be none any more.
type Waiting = Arc<Mutex<Option<HashMap<u64, oneshot::Sender<Answer>>>>>;

pub(crate) struct Node {
    child: Child,
    orders: tokio::sync::Mutex<ChildStdin>,
    waiting: Waiting,
    last: AtomicU64,
    is_ready: Option<oneshot::Receiver<Answer>>,
}

impl Node {
    /// Starts a process and does not wait for it.
    pub(crate) fn start(setup: &Setup) -> Self {
        Self::start_with(setup, &[])
    }

    /// The same, with something in its environment.
    pub(crate) fn start_with(setup: &Setup, environment: &[(&str, &Path)]) -> Self {
        let setup = serde_json::to_string(setup).expect("a setup is plain data");
        let mut command = Command::new(env!("CARGO_BIN_EXE_node"));
        command.arg(setup).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        command.envs(environment.iter().copied());
        let mut child = command.spawn().expect("the program `node` starts");
        let orders = child.stdin.take().expect("it is piped").into();
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let (ready, is_ready) = oneshot::channel();
        let waiting: Waiting = Arc::new(Mutex::new(Some(HashMap::from([(0, ready)]))));
        tokio::spawn(listen(lines, Arc::clone(&waiting)));
        Self { child, orders, waiting, last: AtomicU64::new(0), is_ready: Some(is_ready) }
    }

    /// Waits until it has started.
    pub(crate) async fn ready(mut self) -> Self {
        let is_ready = self.is_ready.take().expect("a node is waited for once");
        match timeout(PATIENCE, is_ready).await {
            Ok(Ok(Answer::Ready)) => self,
            other => panic!("a node did not start: {other:?}"),
        }
    }

    pub(crate) fn pid(&self) -> i64 {
        i64::from(self.child.id().expect("it was not waited for"))
    }

    /// The answer to an order; none when the process ends before.
    pub(crate) async fn try_ask(&self, order: Order) -> Option<Answer> {
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let (sender, answer) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).as_mut()?.insert(number, sender);
        let mut line = serde_json::to_vec(&(number, order)).expect("an order is plain data");
        line.push(b'\n');
        self.orders.lock().await.write_all(&line).await.ok()?;
        timeout(PATIENCE, answer).await.unwrap_or_else(|_| panic!("no answer to {order:?} within {PATIENCE:?}")).ok()
    }

    /// An order without a wait for its answer, to a process that may be gone.
    pub(crate) async fn tell(&self, order: Order) {
        let mut line = serde_json::to_vec(&(0, order)).expect("an order is plain data");
        line.push(b'\n');
        // It fails where the process is gone.
        let _ = self.orders.lock().await.write_all(&line).await;
    }

    async fn ask(&self, order: Order) -> Answer {
        self.try_ask(order).await.unwrap_or_else(|| panic!("the node ended instead of answering {order:?}"))
    }

    pub(crate) async fn get(&self, id: i64, millis: u64) -> Sight {
        self.value(Order::Get { id, millis }).await
    }

    pub(crate) async fn get_fresh(&self, id: i64, millis: u64) -> Sight {
        self.value(Order::GetFresh { id, millis }).await
    }

    async fn value(&self, order: Order) -> Sight {
        match self.ask(order).await {
            Answer::Value(Some(sight)) => sight,
            other => panic!("no value: {other:?}"),
        }
    }

    pub(crate) async fn peek(&self, id: i64, millis: u64) -> Option<Sight> {
        match self.ask(Order::Peek { id, millis }).await {
            Answer::Value(sight) => sight,
            other => panic!("no look: {other:?}"),
        }
    }

    pub(crate) async fn count(&self) -> Counted {
        match self.ask(Order::Count).await {
            Answer::Counted(counted) => counted,
            other => panic!("no numbers: {other:?}"),
        }
    }

    /// Lets others lead the feed and do the maintenance.
    pub(crate) async fn resign(&self) {
        match self.ask(Order::Resign).await {
            Answer::Done => {}
            other => panic!("not resigned: {other:?}"),
        }
    }

    /// `kill -9`.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.expect("it is killed");
    }

    /// An orderly end.
    pub(crate) async fn end(self) {
        let Self { mut child, orders, .. } = self;
        drop(orders);
        let status = timeout(PATIENCE, child.wait()).await.expect("it ends in time").expect("it can be waited for");
        assert!(status.success(), "a node ended with {status}");
    }
}

async fn listen(mut lines: Lines<BufReader<ChildStdout>>, waiting: Waiting) {
    while let Ok(Some(line)) = lines.next_line().await {
        let (number, answer): (u64, Answer) = serde_json::from_str(&line).expect("a node speaks JSON");
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiter) = waiting.as_mut().and_then(|waiting| waiting.remove(&number)) {
            // The caller may have stopped waiting.
            let _ = waiter.send(answer);
        }
    }
    waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
}
