//! Relations, predicates and narrowing in their finer points. The story of the school has the coarse ones.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use smache::{
    Cx, Entity, ErrorKind, Failure, Result, Smache, State, computed,
    memory::{Memory, MemorySource},
    on, tag,
};
use tokio::sync::Semaphore;

use crate::{statistics::Imageless, tasks::spawn_get};

#[derive(Clone, Debug, Serialize, Deserialize, Entity)]
#[entity(source = "customers")]
struct Customer {
    #[entity(id)]
    id: u64,
    #[entity(field)]
    name: String,
    #[entity(field)]
    visits: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize, Entity)]
#[entity(source = "orders", index(customer, open))]
struct Order {
    #[entity(id)]
    id: u64,
    #[entity(index)]
    customer: u64,
    open: bool,
    shared_with: Vec<u64>,
    cents: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize, Entity)]
#[entity(source = "lines")]
struct Line {
    #[entity(id)]
    id: u64,
    order: u64,
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn ran(&self, what: String) {
        self.0.lock().expect("no panic under it").push(what);
    }

    fn take(&self) -> String {
        let mut ran = std::mem::take(&mut *self.0.lock().expect("no panic under it"));
        ran.sort();
        ran.join(" ")
    }
}

/// The tables themselves, for other queries.
#[derive(Clone, Default)]
struct Tables {
    customers: MemorySource<Customer>,
    orders: MemorySource<Order>,
    lines: MemorySource<Line>,
}

/// The owners of an order: one customer and everyone that shares it.
fn owners(order: &Order) -> Vec<u64> {
    assert_ne!(order.cents, 13, "an unlucky order");
    std::iter::once(order.customer).chain(order.shared_with.iter().copied()).collect()
}

#[computed(
    relation(Order, owners),
    relation(Line, async |cx, line| {
        let order = cx.load::<Order>(&line.order).await?;
        order.map(|order| order.customer)
    })
)]
async fn history(customer: Entity<Customer>, tables: State<Tables>, log: State<Log>) -> usize {
    log.ran(format!("history({})", customer.id));
    tables.lines.len() + tables.orders.values().iter().filter(|order| owners(order).contains(&customer.id)).count()
}

#[computed]
async fn open_orders(cx: &Cx, log: State<Log>, customer: u64) -> Result<usize> {
    log.ran(format!("open_orders({customer})"));
    Ok(cx.find(Order::CUSTOMER.eq(customer) & Order::OPEN.eq(true)).await?.len())
}

#[computed]
async fn turnover(cx: &Cx, log: State<Log>, tables: State<Tables>, customer: u64) -> Result<u64> {
    log.ran(format!("turnover({customer})"));
    cx.depends_on(Order::CUSTOMER.eq(customer))?;
    Ok(tables.orders.values().iter().filter(|order| order.customer == customer).map(|order| order.cents).sum())
}

#[computed]
async fn name(cx: &Cx, log: State<Log>, customer: u64) -> Result<Option<String>> {
    log.ran(format!("name({customer})"));
    Ok(cx.load_fields(&customer, Customer::NAME).await?.map(|customer| customer.name.clone()))
}

#[computed]
async fn census(cx: &Cx, log: State<Log>, tables: State<Tables>) -> Result<usize> {
    log.ran("census".into());
    cx.depends_on(on::all::<Customer>())?;
    cx.depends_on(on::entity::<Line>(&7))?;
    cx.depends_on(tag("census"))?;
    Ok(tables.customers.len())
}

/// Finds, and waits in the middle of it for a permit.
#[computed]
async fn slow(cx: &Cx, log: State<Log>, gate: State<Arc<Semaphore>>, customer: u64) -> Result<usize> {
    log.ran(format!("slow({customer})"));
    let orders = cx.find(Order::CUSTOMER.eq(customer)).await?.len();
    gate.acquire().await.expect("the gate stays").forget();
    Ok(orders)
}

#[computed]
async fn unindexed(cx: &Cx) -> Result<usize, Failure> {
    Ok(cx.find(Order::OPEN.eq(true)).await?.len())
}

struct World {
    smache: Smache,
    tables: Tables,
    log: Log,
    gate: Arc<Semaphore>,
}

#[derive(PartialEq)]
enum Changes {
    WithImages,
    WithoutImages,
    Reported,
}

fn order(id: u64, customer: u64) -> Order {
    Order { id, customer, open: true, shared_with: vec![], cents: 100 }
}

async fn world(changes: Changes) -> Result<World> {
    let tables = if changes == Changes::Reported {
        Tables {
            customers: MemorySource::without_feed(),
            orders: MemorySource::without_feed(),
            lines: MemorySource::without_feed(),
        }
    } else {
        Tables::default()
    };
    for id in 1..=3 {
        tables.customers.insert(Customer { id, name: format!("c{id}"), visits: 0 })?;
        tables.orders.insert(order(id, id))?;
    }
    let log = Log::default();
    let gate = Arc::new(Semaphore::new(0));
    let builder = Smache::builder("shop")
        .backend(Memory::new())
        .state(tables.clone())
        .state(log.clone())
        .state(Arc::clone(&gate))
        .register::<history>()
        .register::<open_orders>()
        .register::<turnover>()
        .register::<name>()
        .register::<census>()
        .register::<slow>()
        .register::<unindexed>();
    let builder = match changes {
        Changes::WithoutImages => builder
            .source(Imageless::new(&tables.customers))
            .source(Imageless::new(&tables.orders))
            .source(Imageless::new(&tables.lines)),
        _ => builder.source(tables.customers.clone()).source(tables.orders.clone()).source(tables.lines.clone()),
    };
    Ok(World { smache: builder.build().await?, tables, log, gate })
}

impl World {
    async fn ran(&self) -> Result<String> {
        self.smache.run_until_idle().await?;
        Ok(self.log.take())
    }

    async fn read_of_all(&self) -> Result<()> {
        for customer in 1..=3u64 {
            self.smache.get(history(customer)).await?;
            self.smache.get(open_orders(customer)).await?;
            self.smache.get(turnover(customer)).await?;
            self.smache.get(name(customer)).await?;
        }
        self.log.take();
        Ok(())
    }
}

#[tokio::test]
async fn a_relation_leads_to_many_to_none_and_through_another_source() -> Result<()> {
    let world = world(Changes::WithImages).await?;
    for customer in 1..=3u64 {
        world.smache.get(history(customer)).await?;
    }
    world.log.take();
    world.tables.orders.update(&1, |order| order.shared_with = vec![2, 3])?;
    assert_eq!(world.ran().await?, "history(1) history(2) history(3)", "the new ends");
    world.tables.orders.update(&1, |order| order.shared_with.clear())?;
    assert_eq!(world.ran().await?, "history(1) history(2) history(3)", "the ends that it leaves");
    world.tables.orders.update(&1, |order| order.cents += 1)?;
    assert_eq!(world.ran().await?, "history(1)");
    world.tables.lines.insert(Line { id: 1, order: 3 })?;
    assert_eq!(world.ran().await?, "history(3)", "by way of the order");
    world.tables.lines.insert(Line { id: 2, order: 99 })?;
    assert_eq!(world.ran().await?, "", "an order that no result has read");
    Ok(())
}

#[tokio::test]
async fn a_relation_that_panics_leads_anywhere_and_the_feed_goes_on() -> Result<()> {
    let world = world(Changes::WithImages).await?;
    world.read_of_all().await?;
    world.tables.orders.insert(Order { cents: 13, ..order(4, 1) })?;
    world.smache.run_until_idle().await?;
    let ran = world.log.take();
    assert!(ran.contains("history(1)") && ran.contains("history(2)") && ran.contains("history(3)"), "{ran}");
    assert!(world.smache.inspect().stats().await?.process.wildcard_changes >= 1);
    world.tables.orders.remove(&4)?;
    world.smache.run_until_idle().await?;
    world.log.take();
    world.tables.orders.update(&2, |order| order.cents = 7)?;
    assert_eq!(world.ran().await?, "history(2) open_orders(2) turnover(2)");
    Ok(())
}

#[tokio::test]
async fn a_predicate_is_hit_by_what_matches_or_matched_and_by_nothing_else() -> Result<()> {
    for changes in [Changes::WithImages, Changes::WithoutImages] {
        let exact = changes == Changes::WithImages;
        let world = world(changes).await?;
        for customer in 1..=3u64 {
            world.smache.get(open_orders(customer)).await?;
        }
        world.log.take();
        world.tables.orders.insert(order(4, 1))?;
        assert_eq!(world.ran().await?, "open_orders(1)", "starts to match");
        world.tables.orders.update(&4, |order| order.open = false)?;
        assert_eq!(world.ran().await?, "open_orders(1)", "ceases to match");
        world.tables.orders.update(&4, |order| order.cents = 1)?;
        assert_eq!(world.ran().await?, "", "does not match: the index has both fields");
        world.tables.orders.update(&4, |order| (order.open, order.customer) = (true, 2))?;
        assert_eq!(world.ran().await?, "open_orders(2)", "starts to match elsewhere");
        world.tables.orders.update(&4, |order| order.customer = 3)?;
        assert_eq!(world.ran().await?, "open_orders(2) open_orders(3)", "moves");
        world.tables.orders.remove(&4)?;
        assert_eq!(world.ran().await?, "open_orders(3)", "is deleted");
        for customer in 1..=3u64 {
            assert_eq!(*world.smache.get(open_orders(customer)).await?, 1);
        }
        assert_eq!(world.smache.inspect().stats().await?.process.wildcard_changes, 0, "with images: {exact}");
    }
    Ok(())
}

#[tokio::test]
async fn a_query_of_ones_own_is_right_with_a_predicate_beside_it() -> Result<()> {
    let world = world(Changes::WithImages).await?;
    world.read_of_all().await?;
    world.tables.orders.update(&1, |order| order.cents = 150)?;
    assert!(world.ran().await?.ends_with("turnover(1)"));
    assert_eq!(*world.smache.get(turnover(1)).await?, 150);
    Ok(())
}

#[tokio::test]
async fn without_images_a_query_of_ones_own_is_recomputed_whatever_changes() -> Result<()> {
    let world = world(Changes::WithoutImages).await?;
    world.read_of_all().await?;
    world.tables.orders.update(&1, |order| order.cents = 150)?;
    let ran = world.ran().await?;
    assert!(ran.contains("turnover(1) turnover(2) turnover(3)") && ran.contains("open_orders(1)"), "{ran}");
    assert!(!ran.contains("open_orders(2)"), "what was found says what `find` depends on: {ran}");
    assert_eq!(*world.smache.get(turnover(1)).await?, 150);
    Ok(())
}

#[tokio::test]
async fn what_an_application_reports_is_exact_with_the_entity_before_and_after() -> Result<()> {
    let world = world(Changes::Reported).await?;
    world.read_of_all().await?;
    let before = order(1, 1);
    let after = order(1, 2);
    world.tables.orders.insert(after.clone())?;
    world.smache.changed_from(Some(&before), Some(&after)).await?;
    assert_eq!(
        world.ran().await?,
        "history(1) history(2) open_orders(1) open_orders(2) turnover(1) turnover(2)",
        "a move"
    );
    world.tables.orders.insert(order(5, 3))?;
    world.smache.changed_from(None, Some(&order(5, 3))).await?;
    assert_eq!(world.ran().await?, "history(3) open_orders(3) turnover(3)");
    world.tables.orders.remove(&5)?;
    world.smache.changed_from(Some(&order(5, 3)), None).await?;
    assert_eq!(world.ran().await?, "history(3) open_orders(3) turnover(3)");
    world.smache.changed::<Order>(&1).await?;
    assert_eq!(
        world.ran().await?,
        "history(1) history(2) history(3) open_orders(1) open_orders(2) open_orders(3) turnover(1) turnover(2) turnover(3)",
        "the id alone may mean anything"
    );
    let two = world.smache.changed_from(Some(&order(1, 1)), Some(&order(2, 1))).await.expect_err("two ids");
    assert_eq!((two.kind(), two.to_string().contains("from the id 1 to 2")), (ErrorKind::Argument, true), "{two}");
    let none = world.smache.changed_from::<Order>(None, None).await.expect_err("no entity");
    assert_eq!(none.kind(), ErrorKind::Argument);
    Ok(())
}

#[tokio::test]
async fn a_narrowed_read_is_hit_by_its_fields_and_by_what_does_not_tell_them() -> Result<()> {
    let world = world(Changes::WithoutImages).await?;
    for customer in [1, 9] {
        world.smache.get(name(customer)).await?;
    }
    world.log.take();
    world.tables.customers.update(&1, |customer| customer.visits += 1)?;
    assert_eq!(world.ran().await?, "", "another field");
    world.tables.customers.update(&1, |customer| customer.name.push('!'))?;
    assert_eq!(world.ran().await?, "name(1)");
    world.tables.customers.insert(Customer { id: 9, name: "new".into(), visits: 0 })?;
    assert_eq!(world.ran().await?, "name(9)", "its absence was read");
    world.tables.customers.remove(&1)?;
    assert_eq!(world.ran().await?, "name(1)");
    world.smache.changed::<Customer>(&9).await?;
    assert_eq!(world.ran().await?, "name(9)", "a report does not tell the fields");
    Ok(())
}

#[tokio::test]
async fn a_run_depends_on_what_it_says() -> Result<()> {
    let world = world(Changes::WithImages).await?;
    assert_eq!(*world.smache.get(census()).await?, 3);
    world.log.take();
    world.tables.lines.insert(Line { id: 6, order: 1 })?;
    assert_eq!(world.ran().await?, "");
    world.tables.lines.insert(Line { id: 7, order: 1 })?;
    assert_eq!(world.ran().await?, "census", "an entity that was not there");
    world.tables.customers.insert(Customer { id: 4, name: "c4".into(), visits: 0 })?;
    assert_eq!(world.ran().await?, "census", "anything in a source");
    world.smache.changed_tag("census").await?;
    assert_eq!(world.ran().await?, "census");
    Ok(())
}

#[tokio::test]
async fn a_row_that_comes_while_the_function_runs_is_not_lost() -> Result<()> {
    let world = world(Changes::WithoutImages).await?;
    let reading = spawn_get(&world.smache, slow(2));
    while world.log.take().is_empty() {
        tokio::task::yield_now().await;
    }
    world.tables.orders.insert(order(9, 2))?;
    // Without waiting for the feed.
    world.smache.changed::<Order>(&9).await?;
    world.gate.add_permits(1);
    let read = reading.await.expect("no panic")?;
    assert!(!read.is_fresh(), "it may have missed the row");
    world.gate.add_permits(10);
    tokio::time::timeout(Duration::from_secs(20), async {
        while !world.smache.peek(slow(2)).await?.is_some_and(|found| found.is_fresh() && *found == 2) {
            world.smache.run_until_idle().await?;
        }
        Ok::<_, smache::Error>(())
    })
    .await
    .expect("it becomes fresh by itself")
}

#[tokio::test]
async fn a_predicate_without_an_index_names_the_fix() -> Result<()> {
    let world = world(Changes::WithImages).await?;
    let error = world.smache.get(unindexed()).await.expect_err("no index has `open` alone");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let text = error.report();
    assert!(text.contains("`orders`") && text.contains("`open`") && text.contains("#[entity(index)]"), "{text}");
    Ok(())
}
