//! The layout of a namespace: one of another release stays unchanged.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::atomic::{AtomicU64, Ordering},
};

use smache_core::{Error, Incarnation, Result, support::other_layout};

use crate::{codec::whole_count, key_value::Access, keys::Keys, step::Step};

/// The layout of keys and values. A change of either raises it.
pub(crate) const LAYOUT: u64 = 2;

/// The incarnation of the store on which the namespace was found to have this layout, as a hash; 0 is none. A namespace
/// keeps its layout until it is emptied, so one look for each incarnation is enough.
#[derive(Debug, Default)]
pub(crate) struct KnownLayout(AtomicU64);

impl KnownLayout {
    pub(crate) fn is_known_in(&self, incarnation: &Incarnation) -> bool {
        self.0.load(Ordering::Relaxed) == hash(incarnation)
    }

    /// Whether it is known in an incarnation, which may be an earlier one.
    pub(crate) fn is_known(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }

    pub(crate) fn set_known_in(&self, incarnation: &Incarnation) {
        self.0.store(hash(incarnation), Ordering::Relaxed);
    }

    /// The namespace was emptied.
    pub(crate) fn forget(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

fn hash(incarnation: &Incarnation) -> u64 {
    let mut hasher = DefaultHasher::new();
    incarnation.as_str().hash(&mut hasher);
    hasher.finish().max(1)
}

impl Step<'_> {
    /// Refuses a namespace of another layout. A namespace without one gets it with the writes of the step.
    pub(crate) async fn check_layout(&mut self) -> Result<()> {
        let keys = self.keys();
        match self.get(&keys.layout()).await? {
            None => self.brings_layout = self.access == Access::Write,
            Some(found) => {
                let found = whole_count(&found);
                if found != Some(LAYOUT) {
                    return Err(refused(found, keys));
                }
                self.area.shared.layout.set_known_in(&self.incarnation);
            }
        }
        Ok(())
    }
}

fn refused(found: Option<u64>, keys: &Keys) -> Error {
    let what = format_args!("the namespace `{}` is", keys.namespace());
    let older = "empty it with `KvBackend::clear` once no program uses it any more";
    other_layout(what, found, LAYOUT, older, "another namespace")
}
