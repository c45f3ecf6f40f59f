//! The words that the tests are written in.

use std::{fmt::Display, time::Duration};

use smache_core::{
    Begin, BeginOutcome, Begun, CacheStore, ChangedDependency, Commit, CommitOutcome, Dependency, EntryId, Freshness,
    FunctionKey, Invalidation, Namespace, OnConflict, Token, UsedDependency, Via,
};

pub(crate) const LONG: Duration = Duration::from_secs(600);

pub(crate) fn namespace(name: &str) -> Namespace {
    Namespace::new(name).expect("a good name")
}

pub(crate) fn id(number: u32) -> EntryId {
    let mut call = [0xA5; 16];
    call[..4].copy_from_slice(&number.to_be_bytes());
    EntryId::new(FunctionKey::from_bytes([7; 8]), call)
}

pub(crate) fn direct(name: impl Display) -> UsedDependency {
    UsedDependency { dependency: Dependency::tag(&name.to_string()), via: Via::Direct }
}

pub(crate) fn change(name: impl Display) -> Invalidation {
    let changed = ChangedDependency { dependency: Dependency::tag(&name.to_string()), cause: "changed".into() };
    Invalidation { changed: vec![changed], ..Invalidation::default() }
}

pub(crate) struct Run {
    id: EntryId,
    token: Token,
    pub(crate) begun: Box<Begun>,
}

pub(crate) async fn begin(store: &dyn CacheStore, id: EntryId) -> Run {
    let token = Token::random();
    match store.begin(Begin { id, token, lease: LONG }).await.expect("begin") {
        BeginOutcome::Begun(begun) => Run { id, token, begun },
        BeginOutcome::Busy { .. } => panic!("another run computes {id}"),
    }
}

impl Run {
    pub(crate) fn value(&self, value: &str, used: &[UsedDependency]) -> Commit {
        Commit {
            id: self.id,
            token: self.token,
            start_revision: self.begun.start_revision,
            version: self.begun.start_revision,
            on_conflict: OnConflict::StoreStale,
            incarnation: self.begun.incarnation.clone(),
            epochs: self.begun.validity.epochs([]),
            call: b"call".to_vec().into(),
            value: value.to_owned().into_bytes().into(),
            meta: b"meta".to_vec().into(),
            used: used.to_vec(),
            ttl: None,
            not_after: None,
            tainted: false,
            lazy: false,
            conflict_delay: Duration::ZERO,
        }
    }
}

/// Computes an entry; nothing changes meanwhile.
pub(crate) async fn compute(store: &dyn CacheStore, id: EntryId, value: &str, used: &[UsedDependency]) {
    let run = begin(store, id).await;
    let outcome = store.commit(run.value(value, used)).await.expect("commit");
    assert!(matches!(outcome, CommitOutcome::Fresh { .. }), "{outcome:?}");
}

/// The value of an entry and whether it is fresh.
pub(crate) async fn look(store: &dyn CacheStore, id: EntryId) -> Option<(String, bool)> {
    let lookup = store.lookup(&[id]).await.expect("lookup");
    let entry = lookup.entries[0].as_ref()?;
    let fresh = matches!(lookup.validity.judge(entry, lookup.now, &lookup.incarnation), Freshness::Fresh { .. });
    Some((String::from_utf8_lossy(&entry.value).into_owned(), fresh))
}
