//! Reports within the transactions of writers, and the engine's work around them, whatever the database.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use smache::{
    Cx, Entity, Error, ErrorKind, InTransaction, Result, Smache,
    backend::{Backend, CacheStore, InTransactionOutcome, InvalidateInTransaction, Namespace, WriterTransaction},
    computed,
    memory::{Loss, Memory, MemorySource},
};

use crate::{
    functions::{greeting, lazy_greeting},
    world::{User, World},
};

/// A transaction beside a store, which commits with each of its steps.
struct Beside {
    store: Arc<dyn CacheStore>,
    asked: Arc<AtomicUsize>,
}

impl Beside {
    fn of(memory: &Memory, namespace: &str) -> Self {
        let namespace = Namespace::new(namespace).expect("a good name");
        Self { store: memory.both(&namespace).expect("both").0, asked: Arc::default() }
    }
}

#[async_trait]
impl WriterTransaction for Beside {
    async fn invalidate(&mut self, request: InvalidateInTransaction) -> Result<InTransactionOutcome> {
        self.asked.fetch_add(1, SeqCst);
        assert!(request.invalidation.step.is_none() && request.patience < Duration::from_secs(5), "{request:?}");
        if self.store.lookup(&[]).await?.incarnation != request.incarnation {
            return Ok(InTransactionOutcome::OtherStore);
        }
        self.store.invalidate(request.invalidation).await.map(InTransactionOutcome::Invalidated)
    }
}

/// A transaction that fails with the error of the test, or never answers.
struct Failing(Option<ErrorKind>);

#[async_trait]
impl WriterTransaction for Failing {
    async fn invalidate(&mut self, _: InvalidateInTransaction) -> Result<InTransactionOutcome> {
        match self.0 {
            Some(kind) => Err(Error::new(kind, "it went wrong")),
            None => std::future::pending().await,
        }
    }
}

async fn world() -> Result<(World, Memory, Smache)> {
    let memory = Memory::new();
    let world = World::attached_to(memory.clone());
    let smache = world.with_user("Anna").await?;
    Ok((world, memory, smache))
}

#[tokio::test]
async fn a_report_marks_what_the_verb_of_the_same_name_marks() -> Result<()> {
    let (world, memory, smache) = world().await?;
    smache.get(greeting(1)).await?;
    smache.get(lazy_greeting(1)).await?;
    world.put(1, "Annie").await?;
    let uncommitted = smache.in_transaction(Beside::of(&memory, "world")).changed::<User>(&1).await?;
    assert!(!smache.is_fresh(greeting(1)).await? && !smache.is_fresh(lazy_greeting(1)).await?);
    let token = uncommitted.committed().await;
    assert_eq!(*smache.get(greeting(1).at_least(token)).await?, "Hello, Annie");
    let error = smache.in_transaction(Beside::of(&memory, "world")).changed_from::<User>(None, None).await;
    assert_eq!(error.expect_err("there is no entity").kind(), ErrorKind::Argument);
    Ok(())
}

#[tokio::test]
async fn a_transaction_beside_another_store_is_refused_and_the_store_is_named() -> Result<()> {
    let (_world, _, smache) = world().await?;
    smache.get(greeting(1)).await?;
    let elsewhere = Beside::of(&Memory::new(), "world");
    let store = elsewhere.store.clone();
    let asked = elsewhere.asked.clone();
    let error = smache.in_transaction(elsewhere).changed::<User>(&1).await.expect_err("another store");
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::WrongServer, false));
    let text = error.to_string();
    for part in
        ["not in the database of the transaction", "`changed` after the commit", "store: memory of this process"]
    {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert!(text.contains("nothing is reported: roll the transaction back"), "{text}");
    assert_eq!(asked.load(SeqCst), 2, "once more, with the incarnation that the store has now");
    assert_eq!(store.stats().await?.revision, 0);
    assert!(smache.is_fresh(greeting(1)).await?);
    Ok(())
}

#[tokio::test]
async fn a_store_that_was_replaced_is_asked_for_its_present_incarnation() -> Result<()> {
    let (world, memory, smache) = world().await?;
    smache.get(greeting(1)).await?;
    memory.simulate_restart(Loss::Nothing);
    world.put(1, "Annie").await?;
    let token = smache.in_transaction(Beside::of(&memory, "world")).changed::<User>(&1).await?.committed().await;
    assert_eq!(*smache.get(greeting(1).at_least(token)).await?, "Hello, Annie");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_error_says_that_the_transaction_has_to_be_rolled_back() -> Result<()> {
    let (_world, _, smache) = world().await?;
    for (kind, transient) in [(ErrorKind::Unavailable, true), (ErrorKind::Config, false)] {
        let error = smache.in_transaction(Failing(Some(kind))).changed_tag("any").await.expect_err("it fails");
        assert_eq!((error.kind(), error.is_transient()), (kind, transient));
        assert!(error.to_string().contains("roll the transaction back"), "{error}");
    }
    let error = smache.in_transaction(Failing(None)).changed_tag("any").await.expect_err("it never answers");
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Timeout, true));
    Ok(())
}

#[derive(Debug, Clone, Serialize, Deserialize, Entity)]
#[entity(source = "rooms")]
struct Room {
    #[entity(id)]
    id: i64,
    house: i64,
}

#[derive(Debug, Clone, Serialize, Deserialize, Entity)]
#[entity(source = "guests")]
struct Guest {
    #[entity(id)]
    id: i64,
    #[entity(index)]
    room: i64,
}

#[derive(Debug, Clone, Serialize, Deserialize, Entity)]
#[entity(source = "houses")]
struct House {
    #[entity(id)]
    id: i64,
}

/// Which house a guest is in, only the guest's room knows.
#[computed(reads(Guest), relation(Guest, async |cx, guest| {
    cx.load::<Room>(&guest.room).await?.map(|room| room.house)
}))]
async fn guests_of(house: Entity<House>) -> i64 {
    house.id
}

#[computed(reads(Guest))]
async fn guests_in(cx: &Cx, room: i64) -> Result<usize> {
    Ok(cx.find(Guest::ROOM.eq(room)).await?.len())
}

async fn hotel(guests: MemorySource<Guest>) -> Result<(Memory, Smache)> {
    let memory = Memory::new();
    let houses = MemorySource::without_feed();
    let rooms = MemorySource::without_feed();
    for id in [1, 2] {
        houses.insert(House { id })?;
        rooms.insert(Room { id, house: id })?;
    }
    let builder = Smache::builder("hotel").backend(memory.clone()).source(guests).source(houses).source(rooms);
    let smache = builder.register::<guests_of>().register::<guests_in>().build().await?;
    Ok((memory, smache))
}

async fn fresh_houses(smache: &Smache) -> Result<[bool; 2]> {
    Ok([smache.is_fresh(guests_of(1i64)).await?, smache.is_fresh(guests_of(2i64)).await?])
}

/// Its reads go beside the transaction and show the earlier state: the room may be new, too.
#[tokio::test]
async fn a_relation_that_reads_leads_anywhere_within_a_transaction() -> Result<()> {
    let (memory, smache) = hotel(MemorySource::without_feed()).await?;
    let guest = Guest { id: 1, room: 1 };
    for within in [false, true] {
        for house in [1i64, 2] {
            smache.refresh(guests_of(house)).await?;
        }
        if within {
            let mut writer: InTransaction<'_> = smache.in_transaction(Beside::of(&memory, "hotel"));
            writer.changed_from(None, Some(&guest)).await?.committed().await;
            assert_eq!(fresh_houses(&smache).await?, [false, false]);
        } else {
            smache.changed_from(None, Some(&guest)).await?;
            assert_eq!(fresh_houses(&smache).await?, [false, true], "after the commit it is exact");
        }
    }
    Ok(())
}

/// A report by id does not read the entity: beside the transaction, that would show its earlier state.
#[tokio::test]
async fn a_report_by_id_reads_nothing_beside_the_transaction() -> Result<()> {
    let guests = MemorySource::<Guest>::new();
    guests.insert(Guest { id: 1, room: 1 })?;
    let (memory, smache) = hotel(guests).await?;
    assert_eq!((*smache.get(guests_in(1)).await?, *smache.get(guests_in(2)).await?), (1, 0));
    // It moves to room 2, which only the transaction can see.
    smache.in_transaction(Beside::of(&memory, "hotel")).changed::<Guest>(&1).await?.committed().await;
    assert!(!smache.is_fresh(guests_in(2)).await?);
    Ok(())
}
