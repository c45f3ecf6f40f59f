//! Tells the auditor what the application reads through its own client.

use std::collections::HashMap;

use mongodb::{
    event::{
        EventHandler,
        command::{CommandEvent, CommandStartedEvent},
    },
    options::ClientOptions,
};
use smache_core::note_read;

/// The commands that read a collection, which they name in their first field.
const READS: [&str; 5] = ["find", "aggregate", "count", "distinct", "mapReduce"];

/// Lets the application's client report to [strict mode](smache_core::Builder::strict) and to the
/// [auditor](smache_core::inspect::Inspector::audit) which collections computed functions read through it. `sources`
/// pairs each collection with its source.
///
/// A read counts for the computed function in whose task it starts, not where the function moves it to another task.
/// Further round trips of a cursor do not count again. The handler replaces a command handler that the options have.
///
/// ```no_run
/// # async fn example() -> mongodb::error::Result<()> {
/// let mut options = mongodb::options::ClientOptions::parse("mongodb://localhost").await?;
/// smache_mongo::note_reads(&mut options, "school", [("grades", "grades")]);
/// let client = mongodb::Client::with_options(options)?;
/// # Ok(())
/// # }
/// ```
pub fn note_reads<C: Into<String>, S: Into<String>>(
    options: &mut ClientOptions,
    database: impl Into<String>,
    sources: impl IntoIterator<Item = (C, S)>,
) {
    let database = database.into();
    let sources: HashMap<String, String> =
        sources.into_iter().map(|(collection, source)| (collection.into(), source.into())).collect();
    options.command_event_handler = Some(EventHandler::callback(move |event| {
        if let CommandEvent::Started(started) = event
            && started.db == database
            && let Some(source) = read(&started).and_then(|collection| sources.get(collection))
        {
            note_read(source);
        }
    }));
}

/// The collection that a command reads.
fn read(started: &CommandStartedEvent) -> Option<&str> {
    let name = READS.into_iter().find(|name| started.command_name == *name)?;
    started.command.get_str(name).ok()
}
