//! The keys that a step reads first, in the round trip of its begin. The step reads what is missing later.

use bytes::Bytes;
use smache_core::{Commit, EntryId};

use super::feeds::ATTACHED;
use crate::keys::{Keys, Role};

fn validity(keys: &Keys) -> [Bytes; 2] {
    [keys.of(Role::Validity, &[]), keys.of(Role::Leader, &[ATTACHED.as_bytes()])]
}

pub(super) fn of_lookup(keys: &Keys, ids: &[EntryId]) -> Vec<Bytes> {
    let parts = ids.iter().flat_map(|id| [Role::Head, Role::Body].map(|role| keys.entry(role, id)));
    parts.chain(validity(keys)).collect()
}

pub(super) fn of_record(keys: &Keys, id: &EntryId) -> Vec<Bytes> {
    let parts = [Role::Head, Role::Body, Role::Lineage].map(|role| keys.entry(role, id));
    parts.into_iter().chain(validity(keys)).collect()
}

pub(super) fn of_begin(keys: &Keys, id: &EntryId) -> Vec<Bytes> {
    let own = [keys.entry(Role::Run, id), keys.of(Role::Revision, &[])];
    of_record(keys, id).into_iter().chain(own).collect()
}

pub(super) fn of_commit(keys: &Keys, commit: &Commit) -> Vec<Bytes> {
    let parts = [Role::Run, Role::Head, Role::Lineage, Role::Job].map(|role| keys.entry(role, &commit.id));
    let own = [Role::LowWatermark, Role::Validity].map(|role| keys.of(role, &[]));
    let changed = commit.used.iter().map(|used| keys.of(Role::Changed, &[used.dependency.as_bytes()]));
    parts.into_iter().chain(own).chain(changed).collect()
}
