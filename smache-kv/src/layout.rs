//! The layout of a namespace: what another release has written in another way is left alone.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::atomic::{AtomicU64, Ordering},
};

use smache_core::{Error, ErrorKind, Incarnation, Result};

use crate::{codec::whole_number, key_value::Access, keys::Keys, step::Step};

/// How keys and values are laid out. Whoever changes either raises it.
pub(crate) const LAYOUT: u64 = 1;

/// In which incarnation of the store the layout of a namespace was found to be this one, as a hash; 0 is none. A namespace keeps
/// its layout until it is emptied, so that one look an incarnation is enough.
#[derive(Debug, Default)]
pub(crate) struct KnownLayout(AtomicU64);

impl KnownLayout {
    pub(crate) fn is_known_in(&self, incarnation: &Incarnation) -> bool {
        self.0.load(Ordering::Relaxed) == hash(incarnation)
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
    /// Refuses a namespace of another layout. One without any gets it with what the step writes.
    pub(crate) async fn check_layout(&mut self) -> Result<()> {
        let keys = self.keys();
        match self.get(&keys.layout()).await? {
            None => self.brings_layout = self.access == Access::Write,
            Some(found) => {
                let found = whole_number(&found);
                if found != Some(LAYOUT) {
                    return Err(other_layout(found, keys));
                }
                self.area.shared.layout.set_known_in(&self.incarnation);
            }
        }
        Ok(())
    }
}

fn other_layout(found: Option<u64>, keys: &Keys) -> Error {
    const EMPTY: &str = "empty it with `KvBackend::clear` once no program uses it any more";
    let (what, fix) = match found {
        Some(found) if found > LAYOUT => (format!("is of layout {found}"), "upgrade this program"),
        Some(found) => (format!("is of layout {found}"), EMPTY),
        None => ("is of a layout that cannot be read".to_owned(), EMPTY),
    };
    let namespace = keys.namespace();
    let message = format!(
        "the namespace `{namespace}` {what} and this program knows layout {LAYOUT}: {fix}, or use another namespace"
    );
    Error::new(ErrorKind::WrongServer, message)
}
