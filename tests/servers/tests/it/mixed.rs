//! One graph over several databases: courses in SQLite, participants in PostgreSQL, grades in MongoDB, results in Redis, jobs in
//! PostgreSQL.

use async_trait::async_trait;
use mongodb::{
    Client, Collection,
    bson::{doc, oid::ObjectId},
    options::ChangeStreamPreAndPostImages,
};
use smache::{
    Error, ErrorKind, Guarantee, Result, Smache,
    backend::EntityType,
    mongo::MongoSource,
    postgres::{Postgres, PostgresSource},
    redis::Redis,
    sqlite::{
        SqliteSource,
        sqlx::{self, PgPool, SqlitePool, postgres::PgPoolOptions, sqlite::SqliteConnectOptions},
    },
};
use smache_testkit::servers::{shared_mongo_uri, shared_postgres_url, shared_redis_url};

use crate::{
    school::{self, Course, Grade, Log, Participant, Roster},
    tale::{self, Data, Told},
};

struct Mixed {
    courses: SqlitePool,
    participants: PgPool,
    /// A table of its own on a server that others use too.
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
        let (pool, table) = (self.participants.clone(), self.table.clone());
        Roster::new(move |course| {
            let (pool, query) = (pool.clone(), format!("SELECT _id FROM {table} WHERE course_id = $1"));
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

#[tokio::test]
async fn what_runs_after_each_change_of_three_databases_in_one_graph() {
    let data = Mixed::create().await;
    let courses = SqliteSource::<Course>::new(&data.courses, "courses");
    let participants = || PostgresSource::<Participant>::new(&data.participants, &data.table);
    courses.install().await.expect("triggers");
    participants().install().await.expect("triggers");
    tale::fill(&data).await.expect("the data of a school");
    let log = Log::default();
    let builder = Smache::builder(&data.table)
        .store(Redis::connect(&shared_redis_url()).await.expect("Redis"))
        .queue(Postgres::connect(&shared_postgres_url()).await.expect("PostgreSQL"))
        .source(courses)
        .source(participants())
        .source(MongoSource::<Grade>::builder(&data.grades).pre_images(true).build())
        .state(log.clone())
        .state(data.roster())
        .strict();
    let smache = school::register(builder).build().await.expect("a system");
    tale::tell(&smache, &data, &log, Told::Both).await.expect("the story");
    let guarantees: Vec<_> = smache.doctor().await.parts.iter().filter_map(|part| part.examination.guarantee).collect();
    assert_eq!(guarantees, [Guarantee::ChangeFeed; 3]);
    smache.shutdown().await;
    participants().uninstall().await.expect("nothing is left of the triggers");
    let drop = format!("DROP TABLE {}", data.table);
    sqlx::query(sqlx::AssertSqlSafe(drop)).execute(&data.participants).await.expect("the table is dropped");
    data.grades.client().database(&data.table).drop().await.expect("the database is dropped");
}
