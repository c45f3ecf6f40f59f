//! The examination of real servers.

use mongodb::{Client, bson::oid::ObjectId};
use smache::{
    Smache,
    backend::EntityType,
    inspect::{Diagnosis, Guarantee, Severity},
    mongo::MongoSource,
    redis::Redis,
};
use smache_testkit::servers::{shared_mongo_uri, shared_redis_url};

use crate::school::{Course, Grade, Participant};

/// The text for a role: its kind, and its findings.
fn of<'a>(diagnosis: &'a Diagnosis, role: &str) -> (&'a str, String) {
    let part = diagnosis.parts.iter().find(|part| part.role == role).expect("every part is examined");
    let findings = part.examination.findings.iter();
    let findings = findings.map(|finding| format!("{}: {}; {}", finding.severity, finding.problem, finding.fix));
    (&part.examination.what, findings.collect::<Vec<_>>().join("\n"))
}

#[tokio::test]
async fn real_servers_say_what_they_are_and_what_is_unsafe_about_them() {
    let name = format!("doctor_{}", ObjectId::new().to_hex());
    let db = Client::with_uri_str(shared_mongo_uri()).await.expect("a client").database(&name);
    for source in [Course::SOURCE, Participant::SOURCE] {
        db.create_collection(source).await.expect("a collection");
    }
    let redis = Redis::connect(shared_redis_url()).await.expect("Redis");
    let smache = Smache::builder(&name)
        .backend(redis)
        .source(MongoSource::<Course>::new(&db.collection::<Course>(Course::SOURCE)))
        .source(
            MongoSource::<Participant>::builder(&db.collection::<Participant>(Participant::SOURCE))
                .pre_images(true)
                .build(),
        )
        .source(MongoSource::<Grade>::new(&db.collection::<Grade>("nobody_made_it")))
        .build()
        .await
        .expect("a system");
    let diagnosis = smache.inspect().doctor().await;
    let guarantees: Vec<_> = diagnosis.parts.iter().filter_map(|part| part.examination.guarantee).collect();
    assert_eq!(guarantees, [Guarantee::ChangeFeed; 3]);
    for role in ["store", "queue"] {
        let (what, _) = of(&diagnosis, role);
        assert!(what.starts_with("Redis ") && what.contains(" at "), "{diagnosis}");
        assert!(!what.contains('@'), "no secret: {what}");
    }
    let (what, findings) = of(&diagnosis, "source courses");
    assert!(what.starts_with(&format!("the collection `{name}.courses` of MongoDB ")), "{what}");
    assert!(findings.contains("keeps no pre-images") && findings.contains("collMod"), "{findings}");
    let (_, findings) = of(&diagnosis, "source participants");
    assert!(findings.contains("warning: the source says that pre-images are kept"), "{findings}");
    let (_, findings) = of(&diagnosis, "source grades");
    assert!(findings.contains("warning: there is no such collection"), "{findings}");
    assert!(diagnosis.worst() >= Some(Severity::Warning));
    smache.shutdown().await;
    db.drop().await.expect("the database is dropped");
}
