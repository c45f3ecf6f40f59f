//! Sources for which values are equal that serde writes in several ways.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use smache::{
    Builder, Cx, Entity, Error, ErrorKind, Result, Smache,
    backend::{Capability, Compare, Comparisons, DataSource, FieldValue, Filter, Image},
    computed,
    memory::MemorySource,
};
use smache_testkit::layer::{Layered, SourceLayer};

use crate::{functions::Any, world::memory};

#[derive(Debug, Clone, Entity)]
#[entity(source = "users")]
struct User {
    #[entity(id)]
    id: i64,
    #[entity(index)]
    name: String,
}

#[derive(Debug)]
struct Loosely;

impl Compare for Loosely {
    fn form(&self, value: &FieldValue) -> Result<Vec<u8>> {
        match value {
            FieldValue::Text(text) => Ok(text.to_lowercase().into_bytes()),
            _ => Err(Error::new(ErrorKind::Argument, "not a text")),
        }
    }
}

#[derive(Debug, Clone, Default)]
struct Mood {
    away: Arc<AtomicBool>,
    refuses: bool,
}

/// A table for which `Anna` equals `ANNA`.
#[derive(Debug)]
struct Loose(MemorySource<User>, Mood);

#[async_trait]
impl SourceLayer for Loose {
    fn inner(&self) -> &dyn DataSource {
        &self.0
    }

    async fn find(&self, _: &Filter) -> Result<Vec<Image>> {
        self.0.list().await
    }

    async fn comparisons(&self) -> Result<Comparisons> {
        if self.1.away.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Unavailable, "the database is being moved"));
        }
        Ok(match self.1.refuses {
            true => Comparisons::as_written().refused("name", "the column `name` cannot be compared: use another"),
            false => Comparisons::as_written().by("name", Arc::new(Loosely)),
        })
    }

    fn capabilities(&self) -> &[Capability] {
        &[Capability::Find, Capability::BeforeImages]
    }
}

/// A table, and a system on it.
fn system(mood: Mood) -> (MemorySource<User>, Builder) {
    let users = MemorySource::<User>::new();
    let memory = memory();
    let builder = Smache::builder("loose").source(Layered::new(Loose(users.clone(), mood))).backend(memory);
    (users, builder.register::<found>().register::<watched>())
}

fn user(id: i64, name: &str) -> User {
    User { id, name: name.to_owned() }
}

#[computed]
async fn found(cx: &Cx, name: String) -> Result<usize, Any> {
    Ok(cx.find(User::NAME.eq(name)).await?.len())
}

#[computed]
async fn watched(cx: &Cx, name: String) -> Result<u8, Any> {
    cx.depends_on(User::NAME.eq(name))?;
    Ok(0)
}

#[tokio::test(start_paused = true)]
async fn what_the_source_takes_for_equal_is_found_and_affected() -> Result<()> {
    let (users, builder) = system(Mood::default());
    let smache = builder.build().await?;
    assert_eq!(*smache.get(found("Anna".into())).await?, 0);
    smache.get(watched("anna".into())).await?;
    users.insert(user(1, "Bea"))?;
    smache.caught_up().await?;
    assert!(smache.is_fresh(found("Anna".into())).await? && smache.is_fresh(watched("anna".into())).await?);
    users.insert(user(2, "ANNA"))?;
    smache.caught_up().await?;
    assert!(!smache.is_fresh(watched("anna".into())).await?);
    assert_eq!(*smache.get(found("Anna".into()).fresh()).await?, 1);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn until_it_is_known_how_a_source_compares_every_change_of_it_affects() -> Result<()> {
    let mood = Mood::default();
    mood.away.store(true, Ordering::SeqCst);
    let (users, builder) = system(mood.clone());
    let smache = builder.build().await?;
    let error = smache.get(found("Anna".into())).await.map(drop).expect_err("it cannot be asked");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    smache.get(watched("anna".into())).await?;
    mood.away.store(false, Ordering::SeqCst);
    users.insert(user(1, "Bea"))?;
    smache.caught_up().await?;
    assert!(!smache.is_fresh(watched("anna".into())).await?);
    smache.get(watched("anna".into()).fresh()).await?;
    users.insert(user(2, "Carl"))?;
    smache.caught_up().await?;
    assert!(smache.is_fresh(watched("anna".into())).await?, "it is known by now");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_index_of_what_cannot_be_compared_is_refused() -> Result<()> {
    let (_, builder) = system(Mood { refuses: true, ..Mood::default() });
    let error = builder.build().await.map(drop).expect_err("the index on the name");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("`name`"), "{error}");
    Ok(())
}
