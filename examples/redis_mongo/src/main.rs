//! The story of SMache on real servers: results in Redis, data in MongoDB, the worker in a separate process.
//!
//! `REDIS_URL=redis://… MONGODB_URI=mongodb://… cargo run -p redis_mongo`
//! (or `scripts/with-servers cargo run -p redis_mongo`, which starts private servers).

mod app;

use std::{
    env,
    error::Error,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use app::{User, greeting};
use mongodb::bson::{doc, oid::ObjectId};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    match env::args().nth(1).as_deref() {
        Some("worker") => app::work().await,
        None => read().await,
        Some(other) => Err(format!("unknown argument `{other}`: give none, or `worker`").into()),
    }
}

/// A web server, say: it only reads.
async fn read() -> Result<(), Box<dyn Error>> {
    // A separate namespace and database, so that runs side by side do not meet.
    let name = format!("redis_mongo_{}", ObjectId::new().to_hex());
    let db = app::database(&name).await?;
    let users = db.collection::<User>("users");
    let john = User { id: ObjectId::new(), name: "John".into() };
    users.insert_one(&john).await?;

    let smache = app::smache(&name, &db).await?;
    let worker = Worker::spawn(&name)?;

    let hello = timed("first read, computed while we wait", smache.get(greeting(john.id))).await?;
    println!("            \"{hello}\"");
    let hello = timed("second read, from Redis", smache.get(greeting(john.id))).await?;
    println!("            \"{hello}\"");

    println!("\n   another program renames the user in MongoDB\n");
    users.update_one(doc! { "_id": john.id }, doc! { "$set": { "name": "Johnny" } }).await?;
    let changed = Instant::now();
    while smache.is_fresh(greeting(john.id)).await? {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    println!("{:>10.1?}  until the change stream has marked the result stale", changed.elapsed());
    let hello = timed("read meanwhile: at once, the old value", smache.get(greeting(john.id))).await?;
    println!("            \"{hello}\"");

    while !smache.is_fresh(greeting(john.id)).await? {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    println!("{:>10.1?}  until the worker in the other process has computed it again", changed.elapsed());
    let hello = timed("read after it: at once, the new value", smache.get(greeting(john.id))).await?;
    println!("            \"{hello}\"");
    assert_eq!(hello, "Hello, Johnny".to_owned());
    assert_eq!(
        smache.inspect().stats().await?.process.runs,
        1,
        "this process computed the first value and nothing else"
    );

    drop(worker);
    db.drop().await?;
    app::stop(smache, &db).await;
    Ok(())
}

/// The worker process; dropping this value ends it.
struct Worker(Child);

impl Worker {
    fn spawn(name: &str) -> Result<Self, Box<dyn Error>> {
        let child = Command::new(env::current_exe()?).args(["worker", name]).stdin(Stdio::piped()).spawn()?;
        Ok(Self(child))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Closing its standard input asks it to stop; waiting leaves nothing running.
        drop(self.0.stdin.take());
        if let Err(error) = self.0.wait() {
            eprintln!("the worker cannot be waited for: {error}");
        }
    }
}

async fn timed<T>(step: &str, work: impl Future<Output = T>) -> T {
    let start = Instant::now();
    let result = work.await;
    println!("{:>10.1?}  {step}", start.elapsed());
    result
}
