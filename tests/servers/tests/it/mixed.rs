//! One graph over several places: courses in SQLite, participants in PostgreSQL, grades in MongoDB, remarks and scales
//! in the program itself, results in Redis, jobs in PostgreSQL.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use mongodb::{
    Client, Collection,
    bson::{doc, oid::ObjectId},
    options::ChangeStreamPreAndPostImages,
};
use serde::{Deserialize, Serialize};
use smache::{
    Announced, Cx, Entity, Error, ErrorKind, Result, Smache, State,
    backend::EntityType,
    computed,
    inspect::{Guarantee, Severity},
    memory::MemorySource,
    mongo::MongoSource,
    postgres::{Postgres, PostgresSource},
    sqlite::{
        SqliteSource,
        sqlx::{self, PgPool, SqlitePool, postgres::PgPoolOptions, sqlite::SqliteConnectOptions},
    },
};
use smache_testkit::servers::{shared_mongo_uri, shared_postgres_url};

use crate::{
    school::{self, Course, Grade, Log, Participant, Roster, passed},
    tale::{self, Data, Told},
    waits::{PATIENCE, until},
    world::patient_redis,
};

/// Data that the program itself keeps, and reports after it has changed it.
#[derive(Clone, Serialize, Deserialize, Entity)]
#[entity(source = "remarks")]
struct Remark {
    #[entity(id)]
    course: i64,
    text: String,
}

/// Data that the program itself keeps, and announces before it changes it.
#[derive(Clone, Serialize, Deserialize, Entity)]
#[entity(source = "scales")]
struct Scale {
    #[entity(id)]
    course: i64,
    best: i64,
}

#[derive(Clone, Default)]
struct Printed(Arc<AtomicU64>);

/// Uses all the places: the course of SQLite, results from PostgreSQL and MongoDB, and the program's own data.
#[computed(reads(Remark, Scale), calls(passed))]
async fn certificate(cx: &Cx, printed: State<Printed>, course: Entity<Course>) -> Result<String> {
    printed.0.fetch_add(1, Ordering::Relaxed);
    let verdict = if *cx.get(passed(course.id)).await? { "passed" } else { "failed" };
    let remark = cx.load::<Remark>(&course.id).await?.map_or_else(String::new, |remark| remark.text.clone());
    let best = cx.load::<Scale>(&course.id).await?.map_or(0, |scale| scale.best);
    Ok(format!("{} {verdict} of {best}: {remark}", course.title))
}

struct Mixed {
    courses: SqlitePool,
    participants: PgPool,
    /// A separate table on a server that others use too.
    table: String,
    grades: Collection<Grade>,
    _folder: tempfile::TempDir,
}

impl Mixed {
    async fn create() -> Self {
        let name = format!("mixed_{}", ObjectId::new().to_hex());
        let folder = tempfile::tempdir().expect("a folder");
        let file = SqliteConnectOptions::new().filename(folder.path().join("school.db")).create_if_missing(true);
        let courses = SqlitePool::connect_with(file).await.expect("a file");
        sqlx::query("CREATE TABLE courses (_id INTEGER PRIMARY KEY, title TEXT NOT NULL)")
            .execute(&courses)
            .await
            .expect("a table");
        let participants = PgPoolOptions::new().max_connections(5).connect(&shared_postgres_url()).await;
        let participants = participants.expect("PostgreSQL");
        let columns =
            "_id BIGINT PRIMARY KEY, course_id BIGINT NOT NULL, name TEXT NOT NULL, last_login BIGINT NOT NULL";
        let create = format!("CREATE TABLE {name} ({columns})");
        sqlx::query(sqlx::AssertSqlSafe(create)).execute(&participants).await.expect("a table");
        let db = Client::with_uri_str(shared_mongo_uri()).await.expect("a client").database(&name);
        let images = ChangeStreamPreAndPostImages::builder().enabled(true).build();
        db.create_collection(Grade::SOURCE).change_stream_pre_and_post_images(images).await.expect("a collection");
        Self { courses, participants, table: name, grades: db.collection(Grade::SOURCE), _folder: folder }
    }

    fn roster(&self) -> Roster {
        let pool = self.participants.clone();
        let table = self.table.clone();
        Roster::new(move |course| {
            let pool = pool.clone();
            let query = format!("SELECT _id FROM {table} WHERE course_id = $1");
            async move {
                let ids = sqlx::query_scalar(sqlx::AssertSqlSafe(query)).bind(course).fetch_all(&pool).await;
                ids.map_err(failed)
            }
        })
    }

    async fn course(&self, query: &'static str, id: i64, title: &str) -> Result<()> {
        sqlx::query(query).bind(id).bind(title).execute(&self.courses).await.map(drop).map_err(failed)
    }

    /// A statement on the table of the participants, which it calls `TABLE`.
    async fn participant(&self, query: &str, id: i64, number: Option<i64>, text: Option<&str>) -> Result<()> {
        let query = sqlx::AssertSqlSafe(query.replace("TABLE", &self.table));
        let query = sqlx::query(query).bind(id);
        let query = if let Some(number) = number { query.bind(number) } else { query };
        let query = if let Some(text) = text { query.bind(text.to_owned()) } else { query };
        query.execute(&self.participants).await.map(drop).map_err(failed)
    }
}

fn failed(error: impl Into<smache::backend::BoxError>) -> Error {
    Error::new(ErrorKind::Unavailable, "a database of the test fails").with_source(error)
}

#[async_trait]
impl Data for Mixed {
    async fn insert_course(&self, course: Course) -> Result<()> {
        self.course("INSERT INTO courses VALUES (?, ?)", course.id, &course.title).await
    }

    async fn set_title(&self, course: i64, title: &str) -> Result<()> {
        self.course("UPDATE courses SET title = ?2 WHERE _id = ?1", course, title).await
    }

    async fn insert_participant(&self, participant: Participant) -> Result<()> {
        let Participant { id, course_id, name, .. } = participant;
        self.participant("INSERT INTO TABLE VALUES ($1, $2, $3, 0)", id, Some(course_id), Some(&name)).await
    }

    async fn set_course(&self, participant: i64, course: i64) -> Result<()> {
        self.participant("UPDATE TABLE SET course_id = $2 WHERE _id = $1", participant, Some(course), None).await
    }

    async fn set_name(&self, participant: i64, name: &str) -> Result<()> {
        self.participant("UPDATE TABLE SET name = $2 WHERE _id = $1", participant, None, Some(name)).await
    }

    async fn set_login(&self, participant: i64, login: i64) -> Result<()> {
        self.participant("UPDATE TABLE SET last_login = $2 WHERE _id = $1", participant, Some(login), None).await
    }

    async fn delete_participant(&self, participant: i64) -> Result<()> {
        self.participant("DELETE FROM TABLE WHERE _id = $1", participant, None, None).await
    }

    async fn insert_grade(&self, grade: Grade) -> Result<()> {
        self.grades.insert_one(grade).await.map(drop).map_err(failed)
    }

    async fn set_points(&self, grade: i64, points: i64) -> Result<()> {
        let change = self.grades.update_one(doc! { "_id": grade }, doc! { "$set": { "points": points } });
        change.await.map(drop).map_err(failed)
    }

    async fn delete_grade(&self, grade: i64) -> Result<()> {
        self.grades.delete_one(doc! { "_id": grade }).await.map(drop).map_err(failed)
    }
}

/// The data that the program itself keeps.
struct Own {
    remarks: MemorySource<Remark>,
    scales: MemorySource<Scale>,
    printed: Printed,
}

impl Own {
    fn create() -> Result<Self> {
        let remarks = MemorySource::without_feed();
        let scales = MemorySource::without_feed();
        remarks.insert(Remark { course: 1, text: "fine".to_owned() })?;
        scales.insert(Scale { course: 1, best: 100 })?;
        Ok(Self { remarks, scales, printed: Printed::default() })
    }

    /// Whether so many certificates were printed when everything is computed, and the stored one says that.
    async fn printed(&self, smache: &Smache, times: u64, text: &str) -> Result<()> {
        smache.run_until_idle().await?;
        let stored = tale::stored(smache, || certificate(1)).await?;
        let printed = self.printed.0.load(Ordering::Relaxed);
        if stored.is_fresh() && *stored == text && printed == times {
            return Ok(());
        }
        let instead = format!("not `{text}` after {times}, but `{}` after {printed}", *stored);
        Err(Error::new(ErrorKind::Function, instead))
    }

    /// A change in each place, and what the certificate says after it.
    async fn tell(&self, smache: &Smache, data: &Mixed) -> Result<()> {
        assert_eq!(*smache.get(certificate(1)).await?, "c1! passed of 100: fine");
        data.set_title(1, "Logic").await?;
        self.printed(smache, 2, "Logic passed of 100: fine").await?;
        data.set_course(1, 2).await?;
        self.printed(smache, 3, "Logic failed of 100: fine").await?;
        data.set_points(2, 90).await?;
        self.printed(smache, 4, "Logic passed of 100: fine").await?;

        self.remarks.update(&1, |remark| remark.text = "well done".to_owned())?;
        smache.changed::<Remark>(&1).await?;
        self.printed(smache, 5, "Logic passed of 100: well done").await?;

        let intent = smache.intend().changes::<Scale>(&1)?.announce().await?;
        self.printed(smache, 5, "Logic passed of 100: well done").await?;
        self.scales.update(&1, |scale| scale.best = 120)?;
        intent.committed().await?;
        self.printed(smache, 6, "Logic passed of 120: well done").await?;

        // As if the program had ended between its commit and its report.
        drop(smache.intend().changes::<Scale>(&1)?.report_after(Duration::from_millis(300)).announce().await?);
        self.scales.update(&1, |scale| scale.best = 150)?;
        until("certificate of the unreported change", async || {
            self.printed(smache, 7, "Logic passed of 150: well done").await.map_err(|error| error.report())
        })
        .await;
        smache.inspect().audit().assert_clean();
        Ok(())
    }
}

#[tokio::test]
async fn what_runs_after_each_change_of_three_databases_and_the_program_in_one_graph() {
    let data = Mixed::create().await;
    let courses = SqliteSource::<Course>::new(&data.courses, "courses");
    let participants = || PostgresSource::<Participant>::new(&data.participants, &data.table);
    courses.install().await.expect("triggers");
    participants().install().await.expect("triggers");
    tale::fill(&data).await.expect("the data of a school");
    let log = Log::default();
    let own = Own::create().expect("what the program keeps");
    let builder = Smache::builder(&data.table)
        .feed_validity(tale::FEED_LEASE)
        .store_timeout(PATIENCE)
        .read_patience(PATIENCE)
        .store(patient_redis().await)
        .queue(Postgres::connect(&shared_postgres_url()).await.expect("PostgreSQL"))
        .source(courses)
        .source(participants())
        .source(MongoSource::<Grade>::builder(&data.grades).pre_images(true).build())
        .source(own.remarks.clone())
        .source(Announced::new(own.scales.clone()))
        .state(log.clone())
        .state(data.roster())
        .state(own.printed.clone())
        .register::<certificate>()
        .strict();
    let smache = school::register(builder).build().await.expect("a system");
    tale::tell(&smache, &data, &log, Told::Both).await.expect("the story");
    own.tell(&smache, &data).await.expect("the story of all places");
    examine(&smache).await;
    smache.shutdown().await;
    participants().uninstall().await.expect("nothing is left of the triggers");
    let drop = format!("DROP TABLE {}", data.table);
    sqlx::query(sqlx::AssertSqlSafe(drop)).execute(&data.participants).await.expect("the table is dropped");
    data.grades.client().database(&data.table).drop().await.expect("the database is dropped");
}

/// Each part says its kind and guarantee, and the text has both.
async fn examine(smache: &Smache) {
    let diagnosis = smache.inspect().doctor().await;
    let text = diagnosis.to_string();
    let parts: BTreeMap<_, _> = diagnosis.parts.iter().map(|part| (part.role.as_str(), &part.examination)).collect();
    assert_eq!(parts.len(), 7, "{text}");
    for (role, what) in [("store", "Redis "), ("queue", "PostgreSQL ")] {
        assert!(parts[role].what.starts_with(what) && parts[role].guarantee.is_none(), "{text}");
        assert!(text.lines().any(|line| line.starts_with(&format!("{role}: {what}"))), "{text}");
    }
    for (role, guarantee, printed) in [
        ("source courses", Guarantee::ChangeFeed, "(change feed;"),
        ("source participants", Guarantee::ChangeFeed, "(change feed;"),
        ("source grades", Guarantee::ChangeFeed, "(change feed;"),
        ("source remarks", Guarantee::BestEffort, "(best effort;"),
        ("source scales", Guarantee::Intent, "(intent;"),
    ] {
        assert_eq!(parts[role].guarantee, Some(guarantee), "{text}");
        let line = text.lines().find(|line| line.starts_with(&format!("{role}: "))).expect(role);
        assert!(line.contains(printed), "{line}");
    }
    let findings = diagnosis.findings();
    assert!(
        findings.iter().any(|(role, finding)| *role == "queue" && finding.problem.contains("reconciler")),
        "{text}"
    );
    // Servers of tests need not outlive a power cut.
    let mut dangers = findings.iter().filter(|(_, finding)| finding.severity == Severity::Danger);
    assert!(dangers.all(|(_, finding)| finding.fix.contains("fsync")), "{text}");
}
