//! The story of a school on real servers: the functions that ran after each change, by the source and by the contents
//! of its changes.

use async_trait::async_trait;
use mongodb::{
    Client, Collection, Database,
    bson::{Document, doc, oid::ObjectId},
    options::ChangeStreamPreAndPostImages,
};
use serde::{Serialize, de::DeserializeOwned};
use smache::{
    Backend, Builder, Error, ErrorKind, Result, Smache,
    backend::{DataSource, EntityType},
    memory::Memory,
    mongo::{Mongo, MongoSource, note_reads},
    postgres::Postgres,
    redis::{Redis, RedisSource},
    sqlite::Sqlite,
};
use smache_testkit::servers::{shared_mongo_uri, shared_postgres_url};

use crate::{
    place::ON_MONGO,
    school::{self, Course, Grade, Log, Participant, Roster, course_score},
    tables::Tables,
    tale::{self, Data, Told},
    waits::PATIENCE,
    world::patient_redis,
};

/// The data of a school in MongoDB.
struct Collections {
    db: Database,
}

impl Collections {
    async fn create(pre_images: bool) -> Self {
        let name = format!("school_{}", ObjectId::new().to_hex());
        let client = Client::with_uri_str(shared_mongo_uri()).await.expect("a client");
        let db = client.database(&name);
        for source in [Course::SOURCE, Participant::SOURCE, Grade::SOURCE] {
            let images = ChangeStreamPreAndPostImages::builder().enabled(pre_images).build();
            db.create_collection(source).change_stream_pre_and_post_images(images).await.expect("a collection");
        }
        Self { db }
    }

    fn of<T: EntityType>(&self) -> Collection<T> {
        self.db.collection(T::SOURCE)
    }

    async fn insert<T: EntityType + Serialize>(&self, entity: T) -> Result<()> {
        self.of::<T>().insert_one(entity).await.map(drop).map_err(failed)
    }

    async fn set<T: EntityType>(&self, id: i64, change: Document) -> Result<()> {
        self.of::<T>().update_one(doc! { "_id": id }, doc! { "$set": change }).await.map(drop).map_err(failed)
    }

    async fn delete<T: EntityType>(&self, id: i64) -> Result<()> {
        self.of::<T>().delete_one(doc! { "_id": id }).await.map(drop).map_err(failed)
    }

    fn roster(&self) -> Roster {
        roster(&self.db)
    }

    fn sources(&self, builder: Builder, pre_images: bool) -> Builder {
        builder
            .source(MongoSource::<Course>::builder(&self.of::<Course>()).pre_images(pre_images).build())
            .source(MongoSource::<Participant>::builder(&self.of::<Participant>()).pre_images(pre_images).build())
            .source(MongoSource::<Grade>::builder(&self.of::<Grade>()).pre_images(pre_images).build())
    }
}

/// The application's own query.
fn roster(db: &Database) -> Roster {
    let participants = db.collection::<Document>(Participant::SOURCE);
    Roster::new(move |course| {
        let participants = participants.clone();
        async move {
            let ids = participants.distinct("_id", doc! { "course_id": course }).await.map_err(failed)?;
            Ok(ids.iter().filter_map(mongodb::bson::Bson::as_i64).collect())
        }
    })
}

fn failed(error: mongodb::error::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "the database of the test fails").with_source(error)
}

#[async_trait]
impl Data for Collections {
    async fn insert_course(&self, course: Course) -> Result<()> {
        self.insert(course).await
    }

    async fn set_title(&self, course: i64, title: &str) -> Result<()> {
        self.set::<Course>(course, doc! { "title": title }).await
    }

    async fn insert_participant(&self, participant: Participant) -> Result<()> {
        self.insert(participant).await
    }

    async fn set_course(&self, participant: i64, course: i64) -> Result<()> {
        self.set::<Participant>(participant, doc! { "course_id": course }).await
    }

    async fn set_name(&self, participant: i64, name: &str) -> Result<()> {
        self.set::<Participant>(participant, doc! { "name": name }).await
    }

    async fn set_login(&self, participant: i64, login: i64) -> Result<()> {
        self.set::<Participant>(participant, doc! { "last_login": login }).await
    }

    async fn delete_participant(&self, participant: i64) -> Result<()> {
        self.delete::<Participant>(participant).await
    }

    async fn insert_grade(&self, grade: Grade) -> Result<()> {
        self.insert(grade).await
    }

    async fn set_points(&self, grade: i64, points: i64) -> Result<()> {
        self.set::<Grade>(grade, doc! { "points": points }).await
    }

    async fn delete_grade(&self, grade: i64) -> Result<()> {
        self.delete::<Grade>(grade).await
    }
}

fn builder(backend: impl Backend, log: &Log, roster: Roster) -> Builder {
    let namespace = format!("school_{}", ObjectId::new().to_hex());
    let builder = Smache::builder(namespace).backend(backend).feed_validity(tale::FEED_LEASE);
    let builder = builder.store_timeout(PATIENCE).read_patience(PATIENCE);
    school::register(builder.state(log.clone()).state(roster).strict())
}

/// Tells the story of some data to a system on them.
async fn tell(data: &impl Data, builder: Builder, log: &Log, told: Told) {
    tale::fill(data).await.expect("the data of a school");
    let smache = builder.build().await.expect("a system");
    tale::tell(&smache, data, log, told).await.expect("the story");
    smache.shutdown().await;
}

async fn on_mongo(backend: impl Backend, pre_images: bool) {
    let data = Collections::create(pre_images).await;
    let log = Log::default();
    let builder = data.sources(builder(backend, &log, data.roster()), pre_images);
    tell(&data, builder, &log, if pre_images { Told::Both } else { Told::Id }).await;
    data.db.drop().await.expect("the database is dropped");
}

#[tokio::test]
async fn what_runs_after_each_change_of_mongo_with_pre_images_and_redis() {
    on_mongo(patient_redis().await, true).await;
}

#[tokio::test]
async fn what_runs_after_each_change_of_mongo_without_pre_images_and_redis() {
    on_mongo(patient_redis().await, false).await;
}

#[tokio::test]
async fn what_runs_after_each_change_of_mongo_and_a_store_in_memory() {
    on_mongo(Memory::new(), true).await;
}

/// The story on tables in memory, with a store and a queue elsewhere.
async fn on_tables(backend: impl Backend) {
    let tables = Tables::default();
    let log = Log::default();
    let builder = builder(backend, &log, tables.roster()).source(tables.courses.clone());
    let builder = builder.source(tables.participants.clone()).source(tables.grades.clone());
    tell(&tables, builder, &log, Told::Both).await;
}

#[tokio::test]
async fn what_runs_after_each_change_of_tables_in_memory_and_redis() {
    on_tables(patient_redis().await).await;
}

/// A database for results and jobs.
async fn store_in_mongo() -> (Mongo, Database) {
    let name = format!("results_{}", ObjectId::new().to_hex());
    let url = shared_mongo_uri().replace("/?", &format!("/{name}?"));
    // Nothing stops the shared server, and the disk of the machine is slow.
    let mongo = Mongo::builder(&url).journal(false).connect().await.expect("MongoDB");
    (mongo, Client::with_uri_str(url).await.expect("a client").database(&name))
}

#[tokio::test]
async fn what_runs_after_each_change_with_a_store_in_mongo() {
    let _turn = ON_MONGO.acquire().await.expect("it stays open");
    let (mongo, results) = store_in_mongo().await;
    on_tables(mongo).await;
    results.drop().await.expect("the database is dropped");
}

#[tokio::test]
async fn what_runs_after_each_change_of_mongo_and_a_store_in_mongo() {
    let _turn = ON_MONGO.acquire().await.expect("it stays open");
    let (mongo, results) = store_in_mongo().await;
    on_mongo(mongo, true).await;
    results.drop().await.expect("the database is dropped");
}

#[tokio::test]
async fn what_runs_after_each_change_with_a_store_in_postgres() {
    on_tables(Postgres::connect(&shared_postgres_url()).await.expect("PostgreSQL")).await;
}

#[tokio::test]
async fn what_runs_after_each_change_with_a_store_in_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    on_tables(Sqlite::open(folder.path().join("cache.db")).await.expect("a file")).await;
}

/// The data of a school in tables of Redis.
struct RedisTables {
    courses: RedisSource<Course>,
    participants: RedisSource<Participant>,
    grades: RedisSource<Grade>,
}

impl RedisTables {
    fn new(redis: &Redis) -> Self {
        let name = ObjectId::new().to_hex();
        Self { courses: table(redis, &name), participants: table(redis, &name), grades: table(redis, &name) }
    }

    fn roster(&self) -> Roster {
        let participants = self.participants.clone();
        Roster::new(move |course| {
            let participants = participants.clone();
            async move {
                let mut ids = Vec::new();
                for image in participants.list().await? {
                    let participant = image.get::<Participant>()?;
                    ids.extend((participant.course_id == course).then_some(participant.id));
                }
                Ok(ids)
            }
        })
    }
}

fn table<T: EntityType + Serialize + DeserializeOwned>(redis: &Redis, name: &str) -> RedisSource<T> {
    RedisSource::builder(redis).table(format!("{}.{name}", T::SOURCE)).build().expect("a good name")
}

#[async_trait]
impl Data for RedisTables {
    async fn insert_course(&self, course: Course) -> Result<()> {
        self.courses.put(&course).await.map(drop)
    }

    async fn set_title(&self, course: i64, title: &str) -> Result<()> {
        self.courses.update(&course, |course| title.clone_into(&mut course.title)).await.map(drop)
    }

    async fn insert_participant(&self, participant: Participant) -> Result<()> {
        self.participants.put(&participant).await.map(drop)
    }

    async fn set_course(&self, participant: i64, course: i64) -> Result<()> {
        self.participants.update(&participant, |participant| participant.course_id = course).await.map(drop)
    }

    async fn set_name(&self, participant: i64, name: &str) -> Result<()> {
        self.participants.update(&participant, |participant| name.clone_into(&mut participant.name)).await.map(drop)
    }

    async fn set_login(&self, participant: i64, login: i64) -> Result<()> {
        self.participants.update(&participant, |participant| participant.last_login = login).await.map(drop)
    }

    async fn delete_participant(&self, participant: i64) -> Result<()> {
        self.participants.remove(&participant).await.map(drop)
    }

    async fn insert_grade(&self, grade: Grade) -> Result<()> {
        self.grades.put(&grade).await.map(drop)
    }

    async fn set_points(&self, grade: i64, points: i64) -> Result<()> {
        self.grades.update(&grade, |grade| grade.points = points).await.map(drop)
    }

    async fn delete_grade(&self, grade: i64) -> Result<()> {
        self.grades.remove(&grade).await.map(drop)
    }
}

#[tokio::test]
async fn what_runs_after_each_change_of_tables_in_redis() {
    let redis = patient_redis().await;
    let tables = RedisTables::new(&redis);
    let log = Log::default();
    let builder = builder(redis, &log, tables.roster()).source(tables.courses.clone());
    let builder = builder.source(tables.participants.clone()).source(tables.grades.clone());
    tell(&tables, builder, &log, Told::Both).await;
}

#[tokio::test]
async fn a_client_that_tells_what_it_reads_is_audited() {
    let data = Collections::create(true).await;
    tale::fill(&data).await.expect("the data of a school");
    let mut options = mongodb::options::ClientOptions::parse(shared_mongo_uri()).await.expect("a good URI");
    note_reads(&mut options, data.db.name(), [(Course::SOURCE, Course::SOURCE), (Grade::SOURCE, Grade::SOURCE)]);
    let client = Client::with_options(options).expect("a client");
    // A roster that also looks at something that the function does not declare.
    let courses = client.database(data.db.name()).collection::<Document>(Course::SOURCE);
    let grades = client.database(data.db.name()).collection::<Document>(Grade::SOURCE);
    let careless = Roster::new(move |course| {
        let courses = courses.clone();
        let grades = grades.clone();
        async move {
            courses.find_one(doc! { "_id": course }).await.map_err(failed)?;
            grades.count_documents(doc! {}).await.map_err(failed)?;
            Ok(vec![])
        }
    });
    let log = Log::default();
    let smache = data.sources(builder(patient_redis().await, &log, careless), true).build().await.expect("a system");
    smache.get(course_score(1)).await.expect("both are declared");
    let audit = smache.inspect().audit();
    let of = audit.functions.iter().find(|function| function.name == "course_score").expect("it is registered");
    assert!(of.undeclared.is_empty() && of.unread.is_empty(), "what its client read counts: {audit}");
    assert_eq!(smache.get(school::directory()).await.expect("declared").len(), 2);
    smache.shutdown().await;
    data.db.drop().await.expect("the database is dropped");
}
