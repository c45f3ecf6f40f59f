//! Programs that declare the types of one source differently: equal numbers have one key, and a leader does not confirm
//! an index or a relation that differs.

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use smache::{
    Builder, Computed, Cx, Entity, EntityType, Result, Smache,
    backend::{Batch, Capability, ChangeStream, DataSource, EntityKey, EntityKind, Filter, Image, Snapshot},
    computed,
    memory::{Memory, MemorySource},
};
use smache_testkit::layer::{Layered, SourceLayer};

/// A table as a program of another version, or in another language, sees it.
struct As<A, B> {
    table: MemorySource<A>,
    convert: fn(&A) -> B,
}

fn image<A: EntityType, B: EntityType>(image: &Image, convert: fn(&A) -> B) -> Result<Image> {
    Ok(Image::new(convert(&*image.get::<A>()?)))
}

impl<A, B> fmt::Debug for As<A, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("As")
    }
}

#[async_trait]
impl<A: EntityType + Clone, B: EntityType> SourceLayer for As<A, B> {
    fn inner(&self) -> &dyn DataSource {
        &self.table
    }

    fn kind(&self) -> EntityKind {
        EntityKind::of::<B>()
    }

    async fn load(&self, keys: &[EntityKey]) -> Result<Vec<Option<Image>>> {
        let images = self.table.load(keys).await?;
        images.iter().map(|found| found.as_ref().map(|found| image(found, self.convert)).transpose()).collect()
    }

    async fn find(&self, filter: &Filter) -> Result<Vec<Image>> {
        let mut found = Vec::new();
        for one in self.table.list().await? {
            let one = image(&one, self.convert)?;
            if filter.matches(&one)? {
                found.push(one);
            }
        }
        Ok(found)
    }

    fn capabilities(&self) -> &[Capability] {
        &[Capability::Find, Capability::BeforeImages]
    }

    async fn next(&self, stream: &mut dyn ChangeStream) -> Result<Batch> {
        let mut batch = stream.next().await?;
        for change in &mut batch.changes {
            for snapshot in [&mut change.before, &mut change.after] {
                if let Snapshot::Known(known) = snapshot {
                    *known = image(known, self.convert)?;
                }
            }
            if let Snapshot::Known(known) = [&change.after, &change.before]
                .into_iter()
                .find(|s| matches!(s, Snapshot::Known(_)))
                .unwrap_or(&Snapshot::Unknown)
            {
                change.key = EntityKey::encode(known.get::<B>()?.id())?;
            }
        }
        Ok(batch)
    }
}

/// The types of one program, and its functions.
macro_rules! program {
    ($name:ident, $id:ty, $course:ty, $version:literal) => {
        mod $name {
            use super::*;

            #[derive(Debug, Clone, Serialize, Deserialize, Entity)]
            #[entity(source = "grades")]
            pub(super) struct Grade {
                #[entity(id)]
                pub(super) id: $id,
                #[entity(index)]
                pub(super) course: $course,
                pub(super) points: u32,
            }

            #[derive(Debug, Clone, Serialize, Deserialize, Entity)]
            #[entity(source = "courses")]
            pub(super) struct Course {
                #[entity(id)]
                pub(super) id: $id,
            }

            #[computed]
            pub(super) async fn points(grade: Entity<Grade>) -> u32 {
                grade.points
            }

            #[computed]
            pub(super) async fn total(course: $course, cx: &Cx) -> Result<u32> {
                Ok(cx.find(Grade::COURSE.eq(course)).await?.iter().map(|grade| grade.points).sum())
            }

            #[computed(reads(Grade), relation(Grade, version = $version, course_of))]
            pub(super) async fn related(course: Entity<Course>, cx: &Cx) -> Result<u32> {
                cx.reads::<Grade>()?;
                let _ = course;
                Ok(0)
            }

            fn course_of(grade: &Grade) -> Vec<$id> {
                grade.course.to_string().parse().into_iter().collect()
            }

            pub(super) fn register(builder: Builder) -> Builder {
                builder.register::<points>().register::<total>().register::<related>()
            }
        }
    };
}
program!(narrow, u32, u32, 1);
program!(wide, u64, i64, 1);
program!(text, u32, String, 1);
program!(helped, u32, u32, 2);

/// The database, and a program on it that names each type.
struct Database {
    memory: Memory,
    grades: MemorySource<narrow::Grade>,
    courses: MemorySource<narrow::Course>,
}

macro_rules! of {
    ($name:ident, $database:expr, $leads:expr, $course:expr) => {{
        let database: &Database = $database;
        let grades = As {
            table: database.grades.clone(),
            convert: |grade: &narrow::Grade| $name::Grade {
                id: grade.id.into(),
                course: $course(grade.course),
                points: grade.points,
            },
        };
        let courses =
            As { table: database.courses.clone(), convert: |of: &narrow::Course| $name::Course { id: of.id.into() } };
        let builder = Smache::builder("school")
            .backend(database.memory.clone())
            .source(Layered::new(grades))
            .source(Layered::new(courses));
        $name::register(builder.feeds($leads).maintenance($leads)).build().await
    }};
}

fn database() -> Result<Database> {
    let database = Database { memory: Memory::new(), grades: MemorySource::new(), courses: MemorySource::new() };
    database.courses.insert(narrow::Course { id: 7 })?;
    database.grades.insert(narrow::Grade { id: 1, course: 7, points: 10 })?;
    Ok(database)
}

#[tokio::test(start_paused = true)]
async fn a_leader_with_narrower_ids_and_fields_affects_what_a_wider_program_read() -> Result<()> {
    let database = database()?;
    let old = of!(narrow, &database, true, |course| course)?;
    let new = of!(wide, &database, false, i64::from)?;
    assert!(new.get(wide::points(1_u64)).await?.is_fresh());
    assert!(new.get(wide::total(7)).await?.is_fresh());
    assert!(new.get(wide::related(7_u64)).await?.is_fresh());
    database.grades.update(&1, |grade| grade.points = 20)?;
    old.run_until_idle().await?;
    assert!(!new.is_fresh(wide::points(1_u64)).await?, "by its id");
    assert!(!new.is_fresh(wide::total(7)).await?, "by an indexed field");
    assert!(!new.is_fresh(wide::related(7_u64)).await?, "by a relation");
    assert_eq!(*new.get(wide::points(1_u64).fresh()).await?, 20);
    assert_eq!(*new.get(wide::total(7).fresh()).await?, 20);
    database.grades.insert(narrow::Grade { id: 2, course: 7, points: 1 })?;
    old.run_until_idle().await?;
    assert!(!new.is_fresh(wide::total(7)).await?, "a row that is new");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn two_services_with_integers_of_their_own_follow_each_others_reports() -> Result<()> {
    let memory = Memory::new();
    let grades = MemorySource::<narrow::Grade>::without_feed();
    let builder = || Smache::builder("school").backend(memory.clone());
    let signed = As {
        table: grades.clone(),
        convert: |grade: &narrow::Grade| wide::Grade {
            id: grade.id.into(),
            course: grade.course.into(),
            points: grade.points,
        },
    };
    grades.insert(narrow::Grade { id: 1, course: 7, points: 10 })?;
    let one = builder().source(grades.clone()).register::<narrow::points>().register::<narrow::total>().build().await?;
    let two =
        builder().source(Layered::new(signed)).register::<wide::points>().register::<wide::total>().build().await?;
    for service in [&one, &two] {
        grades.update(&1, |grade| grade.points += 1)?;
        let points = 11 + u32::from(std::ptr::eq(service, &two));
        // Each reports, and both know.
        if std::ptr::eq(service, &one) {
            one.changed::<narrow::Grade>(&1).await?;
        } else {
            two.changed::<wide::Grade>(&1).await?;
        }
        assert_eq!(*one.get(narrow::points(1_u32).fresh()).await?, points);
        assert_eq!(*two.get(wide::points(1_u64).fresh()).await?, points);
        assert_eq!(*one.get(narrow::total(7).fresh()).await?, points);
        assert_eq!(*two.get(wide::total(7).fresh()).await?, points);
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_leader_with_another_type_of_a_field_does_not_confirm_the_index() -> Result<()> {
    let database = database()?;
    let _old = of!(text, &database, true, |course: u32| course.to_string())?;
    let new = of!(narrow, &database, false, |course| course)?;
    assert!(new.get(narrow::points(1_u32)).await?.is_fresh(), "both know the grade by its id");
    assert!(!new.get(narrow::total(7)).await?.is_fresh(), "the old leader hashes texts");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_leader_with_another_version_of_a_relation_does_not_confirm_it() -> Result<()> {
    let database = database()?;
    let _old = of!(narrow, &database, true, |course| course)?;
    let new = of!(helped, &database, false, |course| course)?;
    assert_ne!(narrow::related::declaration().hash(), helped::related::declaration().hash());
    assert!(new.get(helped::total(7)).await?.is_fresh());
    assert!(!new.get(helped::related(7_u32)).await?.is_fresh(), "its text is the same, and its helper is another");
    Ok(())
}
