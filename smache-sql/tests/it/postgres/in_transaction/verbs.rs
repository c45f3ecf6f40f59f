//! Every way to report, and how much one report may affect.

use futures_util::future::join_all;
use smache_core::{Backend, Call, Computed, Cx, Declaration, Failure, Smache, tag};
use smache_sql::PostgresTransaction;

use super::{User, World, name_of};
use crate::support::{compute, direct, id, look};

/// Depends on a tag.
struct Prices;

impl Computed for Prices {
    type Args = (i64,);
    type Output = i64;

    fn declaration() -> Declaration {
        Declaration::new("prices")
    }

    async fn compute(cx: &Cx, (of,): Self::Args) -> Result<i64, Failure> {
        cx.depends_on(tag("prices"))?;
        Ok(of)
    }
}

fn prices(of: i64) -> Call<Prices> {
    Call::new((of,))
}

async fn fresh(smache: &Smache) -> [bool; 5] {
    [
        smache.is_fresh(name_of(1)).await.expect("a look-up"),
        smache.is_fresh(name_of(2)).await.expect("a look-up"),
        smache.is_fresh(name_of(3)).await.expect("a look-up"),
        smache.is_fresh(prices(1)).await.expect("a look-up"),
        smache.is_fresh(prices(2)).await.expect("a look-up"),
    ]
}

#[tokio::test]
async fn every_verb_reports_what_it_reports_outside_of_a_transaction() {
    let world = World::new().await;
    let smache = world.bare().register::<Prices>().backend(world.backend().await).build().await.expect("a system");
    let user = |id| User { id, name: "Ann".to_owned() };
    for verb in 0..6 {
        for id in 1..=3 {
            smache.refresh(name_of(id)).await.expect("a value");
            smache.refresh(prices(id)).await.expect("a value");
        }
        assert_eq!(fresh(&smache).await, [true; 5]);
        let mut tx = world.begin().await;
        let mut report = smache.in_transaction(PostgresTransaction::new(&mut tx));
        let (reported, left) = match verb {
            0 => (report.changed::<User>(&1).await, [false, true, true, true, true]),
            1 => (report.changed_many::<User>(&[1, 2]).await, [false, false, true, true, true]),
            2 => (report.changed_from(Some(&user(3)), None).await, [true, true, false, true, true]),
            3 => (report.changed_tag("prices").await, [true, true, true, false, false]),
            4 => (report.invalidate(prices(2)).await, [true, true, true, true, false]),
            _ => (report.invalidate_function::<Prices>().await, [true, true, true, false, false]),
        };
        assert!(format!("{report:?}").contains(world.namespace.as_str()));
        drop(report);
        let uncommitted = reported.expect("a report");
        assert_eq!(fresh(&smache).await, [true; 5], "verb {verb} before the commit");
        tx.commit().await.expect("commit");
        assert_eq!(fresh(&smache).await, left, "verb {verb} after the commit");
        uncommitted.committed().await;
    }
}

/// One step, however many there are: no reader sees a half of it.
#[tokio::test]
async fn thousands_of_dependants_are_stale_with_one_commit() {
    let world = World::new().await;
    let smache = world.start().await;
    let store = world.backend().await.both(&world.namespace).expect("both").0;
    let many = 3_000_u32;
    let all = [direct("all")];
    for page in (0..many).collect::<Vec<_>>().chunks(100) {
        join_all(page.iter().map(|number| compute(&*store, id(*number), "value", &all))).await;
    }
    let mut tx = world.begin().await;
    let uncommitted =
        smache.in_transaction(PostgresTransaction::new(&mut tx)).changed_tag("all").await.expect("a report");
    let stale = async || smache.inspect().stats().await.expect("numbers").store.stale;
    assert_eq!(stale().await, 0);
    tx.commit().await.expect("commit");
    assert_eq!(stale().await, u64::from(many));
    assert_eq!(smache.inspect().stats().await.expect("numbers").jobs.recompute, u64::from(many));
    assert_eq!(look(&*store, id(many - 1)).await, Some(("value".to_owned(), false)));
    uncommitted.committed().await;
}
