//! The faults, by their names.

use crate::{process::Role, servers::Kind};

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// `kill -9` of a process, and a new one in its place some time later.
    Kill(Role),
    /// SIGSTOP, and SIGCONT some time later.
    Stop(Role),
    Network(Network),
    /// A server is killed, and started again on what it had.
    KillServer(Which),
    /// A server stands still with its connections open.
    PauseServer(Which),
    /// Everything in the store is gone.
    EmptyStore,
    /// First the store is copied; the next time that copy takes its place.
    RollBackStore,
    /// The store refuses writes for a while.
    FillStore,
}

/// What happens between some of the processes and a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Network {
    Cut,
    Delay,
    SwallowAnswers,
    SwallowRequests,
    Halve,
}

/// A server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Which {
    Store,
    Data,
}

impl Fault {
    const ALL: [(&str, Self); 22] = [
        ("kill-worker", Self::Kill(Role::Worker)),
        ("kill-reader", Self::Kill(Role::Reader)),
        ("kill-writer", Self::Kill(Role::Writer)),
        ("kill-leader", Self::Kill(Role::Leader)),
        ("kill-all", Self::Kill(Role::All)),
        ("stop-worker", Self::Stop(Role::Worker)),
        ("stop-reader", Self::Stop(Role::Reader)),
        ("stop-writer", Self::Stop(Role::Writer)),
        ("stop-leader", Self::Stop(Role::Leader)),
        ("stop-all", Self::Stop(Role::All)),
        ("cut", Self::Network(Network::Cut)),
        ("delay", Self::Network(Network::Delay)),
        ("swallow-answers", Self::Network(Network::SwallowAnswers)),
        ("swallow-requests", Self::Network(Network::SwallowRequests)),
        ("halve", Self::Network(Network::Halve)),
        ("kill-store", Self::KillServer(Which::Store)),
        ("pause-store", Self::PauseServer(Which::Store)),
        ("kill-data", Self::KillServer(Which::Data)),
        ("pause-data", Self::PauseServer(Which::Data)),
        ("empty-store", Self::EmptyStore),
        ("roll-back-store", Self::RollBackStore),
        ("fill-store", Self::FillStore),
    ];

    pub(crate) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, fault)| *fault == self).map_or("", |(name, _)| name)
    }

    /// All faults that a run with these places can have.
    pub(crate) fn possible(store: Kind, store_is_private: bool, data: Kind) -> Vec<Self> {
        let of_server = |kind: Kind| !matches!(kind, Kind::Memory | Kind::Kv | Kind::Sqlite);
        let possible = |fault: &Self| match fault {
            Self::Kill(role) | Self::Stop(role) => (*role == Role::All) == store.is_of_one_process(),
            Self::Network(_) => store_is_private && of_server(store) || of_server(data),
            Self::KillServer(Which::Data) | Self::PauseServer(Which::Data) => of_server(data),
            Self::KillServer(Which::Store) | Self::PauseServer(Which::Store) | Self::EmptyStore => {
                store_is_private && of_server(store)
            }
            // The store of these two names another incarnation after every restart, so that it notices.
            Self::RollBackStore => store_is_private && matches!(store, Kind::Redis | Kind::Postgres),
            Self::FillStore => store_is_private && store == Kind::Redis,
        };
        Self::ALL.into_iter().map(|(_, fault)| fault).filter(possible).collect()
    }

    /// The faults of a list of names; `all` and `none` are names too, and a name behind a minus takes a fault away.
    pub(crate) fn parse(names: &str, possible: &[Self]) -> Result<Vec<Self>, String> {
        let mut chosen = Vec::new();
        for name in names.split(',') {
            match (name, name.strip_prefix('-')) {
                ("all", _) => chosen.extend_from_slice(possible),
                ("none", _) => chosen.clear(),
                // One that is not possible here need not be taken away.
                (_, Some(name)) => chosen.retain(|fault| fault.name() != name),
                (name, None) => chosen.push(Self::named(name, possible)?),
            }
        }
        Ok(chosen)
    }

    fn named(name: &str, possible: &[Self]) -> Result<Self, String> {
        let known: Vec<&str> = possible.iter().map(|fault| fault.name()).collect();
        let fault = possible.iter().find(|fault| fault.name() == name);
        fault.copied().ok_or_else(|| format!("no fault `{name}` is possible here: use some of {}", known.join(",")))
    }
}
