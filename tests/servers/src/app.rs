//! The application: documents of a collection, functions of them, and a log of what ran where.

use std::time::Duration;

use mongodb::{
    Collection, Database,
    bson::{Document, doc},
};
use serde::{Deserialize, Serialize};
use smache::{Cx, Entity, Failure, State, computed};

/// A document: a number that only grows, and a label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Entity)]
#[entity(source = "docs")]
pub struct Doc {
    /// Its id.
    #[serde(rename = "_id")]
    #[entity(id)]
    pub id: i64,
    /// The number that the writers of the tests count up.
    pub n: i64,
    /// Some text.
    pub label: String,
}

impl Doc {
    /// A document without a label.
    #[must_use]
    pub fn new(id: i64, n: i64) -> Self {
        Self { id, n, label: String::new() }
    }
}

/// A run of a function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The function.
    pub function: String,
    /// The document that it is about, if it is about one.
    pub id: i64,
    /// The number that it read there.
    pub n: i64,
    /// The process that ran it.
    pub process: i64,
}

/// Where the functions write down that they run, as soon as they have read their data.
#[derive(Clone, Debug)]
pub struct Log {
    runs: Collection<Run>,
    docs: Collection<Doc>,
    gates: Collection<Document>,
}

impl Log {
    /// The log of a database.
    #[must_use]
    pub fn new(db: &Database) -> Self {
        Self { runs: db.collection("runs"), docs: db.collection("docs"), gates: db.collection("gates") }
    }

    async fn write(&self, function: &str, id: i64, n: i64) -> mongodb::error::Result<()> {
        let run = Run { function: function.to_owned(), id, n, process: i64::from(std::process::id()) };
        self.runs.insert_one(run).await.map(drop)
    }

    /// How many runs fit a filter.
    ///
    /// # Errors
    /// The driver's.
    pub async fn count(&self, filter: Document) -> mongodb::error::Result<u64> {
        self.runs.count_documents(filter).await
    }

    /// Lets the runs of [`fn@held`] through that have read that number of a document, or a lower one.
    ///
    /// # Errors
    /// The driver's.
    pub async fn let_through(&self, id: i64, n: i64) -> mongodb::error::Result<()> {
        let gate = doc! { "$set": { "n": n } };
        self.gates.update_one(doc! { "_id": id }, gate).upsert(true).await.map(drop)
    }

    async fn wait_at_the_gate(&self, id: i64, n: i64) -> mongodb::error::Result<()> {
        while self.gates.find_one(doc! { "_id": id, "n": { "$gte": n } }).await?.is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

/// The number of a document, after some milliseconds.
#[computed]
pub async fn report(doc: Entity<Doc>, millis: u64, log: State<Log>) -> Result<i64, Failure> {
    log.write("report", doc.id, doc.n).await?;
    tokio::time::sleep(Duration::from_millis(millis)).await;
    Ok(doc.n)
}

/// The number of a document, when the test lets it through: as slow as it wants.
#[computed]
pub async fn held(doc: Entity<Doc>, log: State<Log>) -> Result<i64, Failure> {
    log.write("held", doc.id, doc.n).await?;
    log.wait_at_the_gate(doc.id, doc.n).await?;
    Ok(doc.n)
}

/// The label of a document that need not exist.
#[computed]
pub async fn label(cx: &Cx, id: i64) -> Result<Option<String>, Failure> {
    Ok(cx.load::<Doc>(&id).await?.map(|doc| doc.label.clone()))
}

/// The sum of all documents: they are read through the context, which finds out by itself that it depends on all.
#[computed]
pub async fn total(cx: &Cx) -> Result<i64, Failure> {
    Ok(cx.all::<Doc>().await?.iter().map(|doc| doc.n).sum())
}

/// The answer of the application's own query about all documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Census {
    /// How many there are.
    pub docs: u64,
    /// How many have a label.
    pub labelled: u64,
}

/// A query past the context, of a source that is declared.
#[computed(sources(Doc))]
pub async fn census(log: State<Log>) -> Result<Census, Failure> {
    let docs = log.docs.count_documents(doc! {}).await?;
    let labelled = log.docs.count_documents(doc! { "label": { "$ne": "" } }).await?;
    Ok(Census { docs, labelled })
}
