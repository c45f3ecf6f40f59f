//! Examines a collection and its server.

use std::time::Duration;

use mongodb::{
    Database,
    bson::{Document, doc},
};
use smache_core::{ErrorKind, Examination, Finding, Guarantee, Result, Severity};

use crate::{error::bounded, link::Link, primary::Primary};

/// A feed that stands still soon falls behind a history that is shorter.
const SHORT: Duration = Duration::from_secs(3_600);

/// The server's answers about a collection.
#[derive(Debug, Default)]
struct Seen {
    version: Option<String>,
    hosts: usize,
    exists: bool,
    pre_images: bool,
    /// How far the history reaches back; `None` where the user lacks the right, and while the oplog has dropped
    /// nothing.
    history: Option<Duration>,
}

/// Asks the server how a collection is set up.
pub(crate) async fn examine(database: &Database, collection: &str, hint: bool, limit: Duration) -> Result<Examination> {
    let doing = format!("examining the collection `{}.{collection}`", database.name());
    let primary = Primary::ask(database, limit, &doing).await?;
    let ask = async {
        let info = database.run_command(doc! { "buildInfo": 1 }).await?;
        let found = database.run_command(doc! { "listCollections": 1, "filter": { "name": collection } }).await?;
        Ok((info, found))
    };
    let (info, found) = bounded(limit, ErrorKind::Timeout, &doing, ask).await?;
    let of_it = found.get_document("cursor").and_then(|cursor| cursor.get_array("firstBatch")).ok();
    let of_it = of_it.and_then(|batch| batch.first()?.as_document());
    let images =
        of_it.and_then(|found| found.get_document("options").ok()?.get_document("changeStreamPreAndPostImages").ok());
    let seen = Seen {
        version: info.get_str("version").ok().map(str::to_owned),
        hosts: primary.hosts.len(),
        exists: of_it.is_some(),
        pre_images: images.is_some_and(|images| images.get_bool("enabled").unwrap_or(false)),
        // A source does not need the right to read the oplog otherwise.
        history: tokio::time::timeout(limit, history(database)).await.ok().flatten(),
    };
    Ok(judge(&seen, &format!("{}.{collection}", database.name()), hint))
}

/// The time between the first and the last entry of the oplog, if its beginning was dropped.
async fn history(database: &Database) -> Option<Duration> {
    let log = database.client().database("local").collection::<Document>("oplog.rs");
    let end = async |order: i32| {
        let parts = doc! { "ts": 1, "o.msg": 1 };
        log.find_one(doc! {}).sort(doc! { "$natural": order }).projection(parts).await.ok().flatten()
    };
    let first = end(1).await?;
    let last = end(-1).await?;
    if is_beginning(&first) {
        return None;
    }
    let time = |entry: &Document| entry.get_timestamp("ts").ok().map(|stamp| stamp.time);
    Some(Duration::from_secs(time(&last)?.saturating_sub(time(&first)?).into()))
}

/// Whether this is the first entry that a replica set writes.
fn is_beginning(entry: &Document) -> bool {
    entry.get_document("o").and_then(|note| note.get_str("msg")) == Ok("initiating set")
}

fn judge(seen: &Seen, name: &str, hint: bool) -> Examination {
    let version = seen.version.as_deref().unwrap_or("of an unknown version");
    // The name without the database: the command runs in the shell of that database.
    let alone = name.split_once('.').map_or(name, |(_, alone)| alone);
    let turn_on = format!("db.runCommand({{ collMod: {alone:?}, changeStreamPreAndPostImages: {{ enabled: true }} }})");
    Examination::new(format!("the collection `{name}` of MongoDB {version}, a set of {}", seen.hosts))
        .guarantee(Guarantee::ChangeFeed)
        .finding(!seen.exists, || {
            let problem = "there is no such collection: it is watched, and is empty until a program writes to it";
            Finding::new(Severity::Warning, problem, "check its name, or create it")
        })
        .finding(seen.history.is_some_and(|history| history < SHORT), || {
            let reach = seen.history.unwrap_or_default();
            let problem = format!("the history of changes reaches back {reach:?}: a feed that stands still for longer loses it");
            Finding::new(Severity::Warning, problem, "raise `oplogSizeMB`, or `storage.oplogMinRetentionHours`")
        })
        .finding(seen.exists && hint && !seen.pre_images, || {
            let problem = "the source says that pre-images are kept, and the collection keeps none: every change makes all \
                           predicates on it stale";
            Finding::new(Severity::Warning, problem, format!("leave `.pre_images(true)` away, or {turn_on}"))
        })
        .finding(seen.exists && !hint && seen.pre_images, || {
            let problem = "the collection keeps pre-images, and the source does not know it";
            Finding::new(Severity::Advice, problem, "say `.pre_images(true)`: `find` then needs fewer dependencies")
        })
        .finding(seen.exists && !hint && !seen.pre_images, || {
            let problem = "the collection keeps no pre-images: what relations and predicates lead to is known only after a \
                           change";
            Finding::new(Severity::Advice, problem, turn_on)
        })
}

/// The server's answers about itself to a store or a queue.
#[derive(Debug, Default)]
struct Server {
    version: Option<String>,
    set: String,
    name: String,
    /// A host on another machine whose connection is not encrypted.
    in_the_clear: Option<String>,
    /// A host on another machine whose certificate is not verified.
    unverified: Option<String>,
    /// Whether the server's task that removes expired documents runs; `None` where the user lacks the right.
    removes: Option<bool>,
    /// Whether the storage engine keeps data over a restart.
    persistent: Option<bool>,
}

/// Asks the server of a store or a queue how it is set up.
pub(crate) async fn examine_backend(link: &Link) -> Result<Examination> {
    const STEP: &str = "examine";
    let primary = Primary::ask(&link.database, link.timeout, STEP).await?;
    let info = link.run(STEP, async { link.database.run_command(doc! { "buildInfo": 1 }).await }).await?;
    // A store does not need the rights for these otherwise.
    let admin = link.database.client().database("admin");
    let asked = async |command: Document| link.run(STEP, async { admin.run_command(command).await }).await.ok();
    let monitor = asked(doc! { "getParameter": 1, "ttlMonitorEnabled": 1 }).await;
    let status = asked(doc! { "serverStatus": 1, "repl": 0, "metrics": 0, "locks": 0 }).await;
    let engine = status.as_ref().and_then(|status| status.get_document("storageEngine").ok());
    let server = Server {
        version: info.get_str("version").ok().map(str::to_owned),
        set: primary.set,
        name: link.server.to_string(),
        in_the_clear: link.in_the_clear.clone(),
        unverified: link.unverified.clone(),
        removes: monitor.and_then(|monitor| monitor.get_bool("ttlMonitorEnabled").ok()),
        persistent: engine.and_then(|engine| engine.get_bool("persistent").ok()),
    };
    Ok(judge_server(&server))
}

fn judge_server(server: &Server) -> Examination {
    let version = server.version.as_deref().unwrap_or("of an unknown version");
    Examination::new(format!("MongoDB {version} at {}, the replica set `{}`", server.name, server.set))
        .finding(server.in_the_clear.is_some(), || {
            let host = server.in_the_clear.as_deref().unwrap_or_default();
            Finding::in_the_clear(format!("add `tls=true` to the URL: values and passwords go to `{host}`"))
        })
        .finding(server.unverified.is_some(), || {
            let host = server.unverified.as_deref().unwrap_or_default();
            let fix = "leave `tlsInsecure` and `tlsAllowInvalidCertificates` away from the URL";
            Finding::unverified(format!("{fix}, and name the authority of `{host}` with `tlsCAFile`"))
        })
        .finding(server.persistent == Some(false), || {
            let problem = "the storage engine keeps nothing over a restart: if all members restart, everything is computed again";
            Finding::new(Severity::Warning, problem, "use the engine `wiredTiger`")
        })
        .finding(server.removes == Some(false), || {
            let problem = "the server does not remove documents by their age, so that expired entries of a program that does not \
                           run any more stay";
            Finding::new(Severity::Advice, problem, "set the parameter `ttlMonitorEnabled` to true")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_lacks_is_found_with_its_fix() {
        let good = || Server {
            version: Some("7.0.1".into()),
            set: "rs0".into(),
            name: "db:27017/shop".into(),
            in_the_clear: None,
            unverified: None,
            removes: Some(true),
            persistent: Some(true),
        };
        assert_eq!(judge_server(&good()).findings, []);
        assert_eq!(judge_server(&Server { removes: None, persistent: None, ..good() }).findings, []);
        assert!(judge_server(&good()).what.contains("MongoDB 7.0.1 at db:27017/shop"));
        for (server, severity, fix) in [
            (
                Server { in_the_clear: Some("db".into()), ..good() },
                Severity::Danger,
                "`tls=true` to the URL: values and",
            ),
            (Server { unverified: Some("db".into()), ..good() }, Severity::Danger, "tlsAllowInvalidCertificates"),
            (Server { persistent: Some(false), ..good() }, Severity::Warning, "wiredTiger"),
            (Server { removes: Some(false), ..good() }, Severity::Advice, "ttlMonitorEnabled"),
        ] {
            let examination = judge_server(&server);
            let [finding] = &examination.findings[..] else { panic!("{examination:?}") };
            assert_eq!(finding.severity, severity, "{finding:?}");
            assert!(finding.fix.contains(fix), "{finding:?}");
        }
    }

    fn good() -> Seen {
        Seen {
            version: Some("7.0.1".into()),
            hosts: 3,
            exists: true,
            pre_images: true,
            history: Some(Duration::from_secs(86_400)),
        }
    }

    #[test]
    fn what_is_missing_is_found_with_its_fix() {
        assert_eq!(judge(&good(), "shop.users", true).findings, []);
        let table = [
            (Seen { exists: false, ..good() }, true, Severity::Warning, "create it"),
            (Seen { history: Some(Duration::from_secs(60)), ..good() }, true, Severity::Warning, "oplogSizeMB"),
            (Seen { pre_images: false, ..good() }, true, Severity::Warning, "collMod: \"users\","),
            (Seen { pre_images: false, ..good() }, false, Severity::Advice, "collMod: \"users\","),
            (good(), false, Severity::Advice, ".pre_images(true)"),
        ];
        for (seen, hint, severity, fix) in table {
            let examination = judge(&seen, "shop.users", hint);
            let [finding] = &examination.findings[..] else { panic!("{seen:?}: {examination:?}") };
            assert_eq!(finding.severity, severity, "{finding:?}");
            assert!(finding.fix.contains(fix), "{finding:?}");
        }
        let hidden = judge(&Seen { history: None, ..good() }, "shop.users", true);
        assert_eq!((hidden.findings.len(), hidden.guarantee), (0, Some(Guarantee::ChangeFeed)));
    }
}
