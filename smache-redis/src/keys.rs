//! The names of the keys. `scripts/*.lua` use the same ones.

use smache_core::{Dependency, EntryId, Namespace};

/// The owner of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// A store, a queue or both.
    Namespace,
    /// A table of entities.
    Table,
}

impl Role {
    /// The rights that the user needs for the keys behind a prefix, in the form of `ACL SETUSER`; `lib.rs` has the
    /// same.
    pub(crate) fn rights(self, prefix: &str) -> String {
        match self {
            Self::Namespace => format!(
                "~{prefix}* &{prefix}notifier +@hash +@set +@sortedset +del +exists +eval +evalsha +info +publish +subscribe +time"
            ),
            Self::Table => format!("~{prefix}* +@hash +@stream +eval +evalsha +get +info +set +time"),
        }
    }
}

/// The keys of a namespace. They share one hash tag, so that a cluster keeps them in one slot.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    prefix: String,
    validity: String,
    role: Role,
}

impl Keys {
    pub(crate) fn new(namespace: &Namespace) -> Self {
        let prefix = format!("{{{namespace}}}:");
        Self { validity: format!("{prefix}v"), prefix, role: Role::Namespace }
    }

    /// The keys of a table of entities, which belongs to no namespace.
    pub(crate) fn table(name: &str) -> Self {
        let prefix = format!("{{table:{name}}}:");
        Self { validity: format!("{prefix}v"), prefix, role: Role::Table }
    }

    pub(crate) fn role(&self) -> Role {
        self.role
    }

    /// The start of every key.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The epochs, and the validity of the sources.
    pub(crate) fn validity(&self) -> &str {
        &self.validity
    }

    /// A key of which a namespace has only one.
    pub(crate) fn of(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The record of an entry.
    pub(crate) fn record(&self, id: &EntryId) -> Vec<u8> {
        [self.prefix.as_bytes(), b"r:", id.as_bytes()].concat()
    }

    /// The entries that depend on a dependency.
    pub(crate) fn edges(&self, dependency: &Dependency) -> Vec<u8> {
        [self.prefix.as_bytes(), b"d:", dependency.as_bytes()].concat()
    }

    /// A readable form of the key of a record.
    pub(crate) fn record_name(&self, id: &EntryId) -> String {
        format!("{}r:{id}", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_users_have_the_rights_that_errors_ask_for() {
        let documented: Vec<&str> = include_str!("lib.rs")
            .lines()
            .filter_map(|line| line.strip_prefix("//! ACL SETUSER app on >secret resetkeys resetchannels -@all "))
            .collect();
        assert_eq!(documented, [Role::Namespace.rights("{shop}:"), Role::Table.rights("{table:users}:")]);
    }
}
