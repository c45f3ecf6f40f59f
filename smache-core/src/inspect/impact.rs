//! The entries that a change would make stale, without the change.

use std::{
    collections::{BTreeMap, HashMap, hash_map},
    fmt,
};

use super::Inspector;
use crate::{
    Capability, Change, ChangeKind, EntityKey, EntityType, EntryId, Page, Result, Snapshot, Via, engine::Moment,
    source::can,
};

/// How many calls are listed.
const LISTED: usize = 20;
/// How many entries are counted at most.
const COUNTED: usize = 1_000_000;
/// How many entries a page has.
const PAGE: usize = 500;

/// The entries that a change of an entity would make stale. `Display` says it in a few lines.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Impact {
    /// The change: `grades 7 updated`.
    pub change: String,
    /// How many entries it would make stale.
    pub entries: usize,
    /// How many of them must run again; the others run only if the values of their nested calls change.
    pub direct: usize,
    /// These numbers by function.
    pub functions: Vec<ImpactedFunction>,
    /// Some of the calls, at most 20.
    pub calls: Vec<String>,
    /// Whether everything was counted: false above a million entries.
    pub complete: bool,
}

/// The entries of one function among those that a change would make stale.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImpactedFunction {
    /// The function's id; its key where this program does not know it.
    pub function: String,
    /// Entries that must run again.
    pub direct: usize,
    /// Entries that are affected only through nested calls.
    pub through_calls: usize,
}

impl Inspector {
    /// Counts the entries that an update of all fields of an entity would make stale, directly or through nested calls.
    /// Nothing goes stale.
    ///
    /// Relations and predicates are evaluated on the present entity. Where the source does not show what entities were
    /// before, the count covers everything that such a change affects.
    ///
    /// # Errors
    /// [`ErrorKind::Unregistered`](crate::ErrorKind::Unregistered) for an unknown source; its errors and the store's.
    pub async fn impact<T: EntityType>(&self, id: &T::Id) -> Result<Impact> {
        let engine = &self.engine;
        let source = engine.source_of::<T>()?;
        let key = EntityKey::encode(id)?;
        let image = source.load(std::slice::from_ref(&key)).await?.pop().flatten();
        let mut change = Change::new(source.id().clone(), key, ChangeKind::Update);
        change.after = image.map_or(Snapshot::Absent, Snapshot::Known);
        if can(&**source, Capability::BeforeImages) {
            change.before = change.after.clone();
        }
        let mut affected: HashMap<EntryId, Via> = HashMap::new();
        let mut complete = true;
        for dependency in engine
            .route(std::slice::from_ref(&change), Moment::Committed)
            .await?
            .iter()
            .map(|changed| changed.dependency)
        {
            let mut page = Page::first(PAGE);
            loop {
                let found = engine.timed("dependants", engine.store.dependants(&dependency, page)).await?;
                for (id, via) in found.entries {
                    match affected.entry(id) {
                        hash_map::Entry::Occupied(mut known) if via == Via::Direct => drop(known.insert(via)),
                        hash_map::Entry::Occupied(_) => {}
                        hash_map::Entry::Vacant(new) => drop(new.insert(via)),
                    }
                }
                complete &= affected.len() <= COUNTED;
                match found.next.filter(|_| complete) {
                    Some(next) => page = Page { cursor: Some(next), limit: PAGE },
                    None => break,
                }
            }
        }
        let mut functions: BTreeMap<String, ImpactedFunction> = BTreeMap::new();
        for (id, via) in &affected {
            let known = engine.registry.by_key(id.function());
            let name = known.map_or_else(|| id.function().to_string(), |function| function.name.to_owned());
            let on = functions.entry(name.clone()).or_insert(ImpactedFunction {
                function: name,
                direct: 0,
                through_calls: 0,
            });
            match via {
                Via::Direct => on.direct += 1,
                Via::Child | Via::Guard => on.through_calls += 1,
            }
        }
        let mut listed: Vec<&EntryId> = affected.keys().collect();
        listed.sort();
        let mut calls = Vec::new();
        for id in listed.into_iter().take(LISTED) {
            calls.push(engine.call_of(id).await?);
        }
        calls.sort();
        Ok(Impact {
            change: format!("{} {} {}", change.source, change.key, change.kind.verb()),
            entries: affected.len(),
            direct: affected.values().filter(|via| **via == Via::Direct).count(),
            functions: functions.into_values().collect(),
            calls,
            complete,
        })
    }
}

impl fmt::Display for Impact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at_least = if self.complete { "" } else { "at least " };
        let change = &self.change;
        let entries = self.entries;
        let direct = self.direct;
        write!(f, "{change} would make {at_least}{entries} entries stale, {direct} of which must run again")?;
        for on in &self.functions {
            write!(f, "\n  {}: {} must run, {} through nested calls", on.function, on.direct, on.through_calls)?;
        }
        if !self.calls.is_empty() {
            let more = if self.entries > self.calls.len() { ", …" } else { "" };
            write!(f, "\n  among them {}{more}", self.calls.join(", "))?;
        }
        Ok(())
    }
}
