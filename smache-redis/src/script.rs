//! The scripts, and their calls.

use std::{sync::LazyLock, time::Duration};

use redis::{Cmd, ToRedisArgs};
use smache_core::support::{self, limits};

use crate::keys::{Keys, Role};

/// A script with its hash on the server.
pub(crate) struct Script {
    operation: &'static str,
    inner: redis::Script,
    text: String,
}

/// The version of the keys. Every script that might meet another one compares it, so that no program works on keys of
/// another layout.
pub(crate) const LAYOUT: u64 = 2;

/// The facts of Rust that scripts use.
static FACTS: LazyLock<String> = LazyLock::new(|| {
    let reap_after = millis(limits::REAP_AFTER);
    let lifetime = millis(limits::MARK_LIFETIME);
    [
        format!("local LAYOUT, PRIORITY, CAUSES = '{LAYOUT}', {}, {}", limits::USUAL_PRIORITY, limits::CAUSES),
        format!("local NAMED_CONFLICTS, WAITS = {}, {}", limits::NAMED_CONFLICTS, limits::WAITS),
        format!("local REAP_AFTER, MARK_LIFETIME = {reap_after}, {lifetime}"),
        format!("local REMEMBERED_CHANGES, NEW_EPOCH = {}, '{}'", limits::REMEMBERED_CHANGES, support::NEW_EPOCH),
        String::new(),
    ]
    .join("\n")
});

macro_rules! scripts {
    ($($name:ident = $operation:literal [$($file:literal)*]),* $(,)?) => {
        $(pub(crate) static $name: LazyLock<Script> = LazyLock::new(|| {
            Script::new($operation, &[include_str!("../scripts/lib.lua"), $(include_str!(concat!("../scripts/", $file))),*])
        });)*
    };
}

scripts! {
    BEGIN = "begin" ["records.lua" "begin.lua"],
    COMMIT = "commit" ["records.lua" "changes.lua" "commit.lua"],
    CHANGED_SINCE = "changed_since" ["changes.lua" "changed_since.lua"],
    ABORT = "abort" ["records.lua" "abort.lua"],
    EXTEND_RUNS = "extend" ["extend_runs.lua"],
    RECORD_WAITS = "record_waits" ["record_waits.lua"],
    REMOVE = "remove" ["records.lua" "remove.lua"],
    INVALIDATE = "invalidate" ["records.lua" "feeds.lua" "invalidate.lua"],
    WITHDRAW = "withdraw" ["records.lua" "withdraw.lua"],
    NEW_EPOCH = "new_epoch" ["records.lua" "new_epoch.lua"],
    ATTACH = "attach" ["records.lua" "attach.lua"],
    KEEP_ATTACHED = "keep_attached" ["keep_attached.lua"],
    LEAD = "lead" ["lead.lua"],
    RESIGN = "resign" ["resign.lua"],
    RESTART = "restart" ["records.lua" "feeds.lua" "restart.lua"],
    PROGRAMS = "programs" ["programs.lua"],
    MAINTAIN = "maintain" ["records.lua" "maintain.lua"],
    STALE = "stale" ["stale.lua"],
    ENQUEUE = "enqueue" ["queue.lua" "enqueue.lua"],
    RESERVE = "reserve" ["queue.lua" "reserve.lua"],
    EXTEND_JOBS = "extend" ["queue.lua" "extend_jobs.lua"],
    SETTLE = "settle" ["queue.lua" "settle.lua"],
    REQUEUE = "requeue" ["queue.lua" "requeue.lua"],
    DISCARD = "discard" ["queue.lua" "discard.lua"],
    COUNTS = "counts" ["queue.lua" "counts.lua"],
    LIST = "list" ["queue.lua" "list.lua"],
    FIND = "find" ["queue.lua" "find.lua"],
    INCARNATION = "incarnation" ["queue.lua" "incarnation.lua"],
    TABLE = "table" ["table.lua"],
}

impl Script {
    fn new(operation: &'static str, files: &[&str]) -> Self {
        let text = format!("{}{}", *FACTS, files.concat());
        Self { operation, inner: redis::Script::new(&text), text }
    }

    /// A call on the keys of a namespace; arguments follow.
    pub(crate) fn call(&'static self, keys: &Keys) -> Call {
        let mut command = redis::cmd("EVALSHA");
        command.arg(self.inner.get_hash()).arg(1).arg(keys.prefix());
        Call { script: self, command }
    }
}

/// A call of a script.
pub(crate) struct Call {
    script: &'static Script,
    command: Cmd,
}

impl Call {
    pub(crate) fn arg(&mut self, argument: impl ToRedisArgs) -> &mut Self {
        self.command.arg(argument);
        self
    }

    pub(crate) fn flag(&mut self, flag: bool) -> &mut Self {
        self.arg(u8::from(flag))
    }

    pub(crate) fn millis(&mut self, duration: Duration) -> &mut Self {
        self.arg(millis(duration))
    }

    pub(crate) fn operation(&self) -> &'static str {
        self.script.operation
    }

    /// The owner of the keys that it works on.
    pub(crate) fn role(&self) -> Role {
        if self.operation() == TABLE.operation { Role::Table } else { Role::Namespace }
    }

    /// The prefix of its keys.
    pub(crate) fn prefix(&self) -> String {
        // Behind the command, the hash and the number of keys.
        match self.command.args_iter().nth(3) {
            Some(redis::Arg::Simple(prefix)) => String::from_utf8_lossy(prefix).into_owned(),
            _ => String::new(),
        }
    }

    /// By the hash: short, but the server must know the script.
    pub(crate) fn by_hash(&self) -> &Cmd {
        &self.command
    }

    /// With the text, for a server that does not have the script.
    pub(crate) fn with_text(&self) -> Cmd {
        let mut command = redis::cmd("EVAL");
        command.arg(&self.script.text);
        for argument in self.command.args_iter().skip(2) {
            if let redis::Arg::Simple(argument) = argument {
                command.arg(argument);
            }
        }
        command
    }
}

/// The milliseconds of a duration, at most some thousand years: Lua counts exactly up to 2⁵³ only.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).min(MAX_MILLIS)
}

/// The latest time for scripts.
pub(crate) const MAX_MILLIS: u64 = 100_000_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_stay_exact_in_lua() {
        assert_eq!(millis(Duration::from_millis(1_500)), 1_500);
        assert_eq!(millis(Duration::MAX), MAX_MILLIS);
    }
}
