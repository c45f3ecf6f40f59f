//! Commands of a commit that reach the server late, after its caller has repeated the commit.

use std::time::Duration;

use smache_core::{
    Begin, BeginOutcome, ChangedDependency, EntryId, EntryStore, FunctionKey, Invalidation, InvalidationStore,
    Namespace, Staleness, Token, UsedDependency, Via,
};

use super::*;
use crate::{Mongo, store::MongoStore};

/// The first try of a commit that asks for a report finds no conflict, and its last command is on its way when a change
/// arrives. The second try gets the report, and the run stores its value as stale.
#[tokio::test]
async fn what_is_late_of_a_commit_never_takes_effect_on_another_one() {
    let client = mongodb::Client::with_uri_str(smache_testkit::servers::shared_mongo_uri()).await.expect("a server");
    let database = client.database(&format!("late_{}", Token::random()));
    let mongo = Mongo::from_database(&database).await.expect("tables");
    let store: MongoStore = mongo.store_alone(&Namespace::new("shop").expect("a good name"));
    let inner = store.inner.clone();
    let id = EntryId::new(FunctionKey::from_bytes([7; 8]), [9; 16]);
    let token = Token::random();
    let begin = Begin { id, token, lease: Duration::from_secs(60) };
    let BeginOutcome::Begun(begun) = store.begin(begin).await.expect("begin") else { panic!("nobody else runs it") };
    let used = Dependency::tag("used");
    let asking = Commit {
        id,
        token,
        start_revision: begun.start_revision,
        version: begun.start_revision,
        on_conflict: OnConflict::Report,
        incarnation: begun.incarnation.clone(),
        epochs: begun.validity.epochs([]),
        call: "call".into(),
        value: "value".into(),
        meta: "meta".into(),
        used: vec![UsedDependency { dependency: used, via: Via::Direct }],
        ttl: None,
        not_after: None,
        tainted: false,
        lazy: false,
        conflict_delay: Duration::ZERO,
    };
    let late = name_of(&asking);
    assert!(inner.put_beside(&asking, &late).await.expect("beside"));
    assert_eq!(inner.check(&asking).await.expect("a check").level, 0);
    let changed = vec![ChangedDependency { dependency: used, cause: "it changed".into() }];
    store.invalidate(Invalidation { changed, ..Invalidation::default() }).await.expect("invalidate");

    for _ in 0..2 {
        let told = store.commit(asking.clone()).await.expect("asked again");
        assert!(matches!(told, CommitOutcome::ConflictReported { .. }), "{told:?}");
        assert!(!inner.put_in_place(&asking, &late, 0, true).await.expect("late"), "nothing is beside");
        assert!(!inner.put_beside(&asking, &late).await.expect("late"), "it was told");
    }
    let stale = Commit { on_conflict: OnConflict::StoreStale, ..asking.clone() };
    assert!(inner.put_beside(&stale, &name_of(&stale)).await.expect("beside"));
    assert!(!inner.put_in_place(&asking, &late, 0, true).await.expect("late"), "what is beside is of another one");
    inner.take_away(&asking, &late).await.expect("late");
    let outcome = store.commit(stale).await.expect("commit");
    assert!(matches!(outcome, CommitOutcome::Conflicted { .. }), "{outcome:?}");
    let lookup = store.lookup(&[id]).await.expect("lookup");
    let entry = lookup.entries[0].as_ref().expect("an entry");
    assert_eq!((&entry.value[..], entry.staleness), (&b"value"[..], Staleness::Stale));
    database.drop().await.expect("nothing is left");
}
