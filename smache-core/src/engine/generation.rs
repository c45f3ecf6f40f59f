//! The generation of the store that this program saw last.

use std::sync::{Mutex, PoisonError};

use super::Engine;
use crate::{Epoch, Incarnation, Lookup, Result, change_token::StoreGeneration};

/// The generation of the store that this program saw last, so that a transaction need not ask another connection for
/// it.
#[derive(Debug, Default)]
pub(crate) struct Generation(Mutex<Option<SeenGeneration>>);

/// The generation of the store in a look-up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SeenGeneration {
    pub(crate) incarnation: Incarnation,
    epoch: Epoch,
}

impl SeenGeneration {
    pub(crate) fn of(lookup: &Lookup) -> Self {
        Self { incarnation: lookup.incarnation.clone(), epoch: lookup.validity.epoch }
    }

    /// The form for tokens.
    pub(crate) fn as_number(&self) -> StoreGeneration {
        StoreGeneration::new(&self.incarnation, &self.epoch)
    }
}

impl Generation {
    pub(crate) fn remember(&self, lookup: &Lookup) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(SeenGeneration::of(lookup));
    }

    fn known(&self) -> Option<SeenGeneration> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Engine {
    pub(crate) async fn present_generation(&self) -> Result<SeenGeneration> {
        let lookup = self.timed("lookup", self.store.lookup(&[])).await?;
        self.generation.remember(&lookup);
        Ok(SeenGeneration::of(&lookup))
    }

    /// The generation that was seen last. A token of an earlier generation than the present one proves nothing, which
    /// is safe.
    pub(crate) async fn some_generation(&self) -> Result<SeenGeneration> {
        match self.generation.known() {
            Some(known) => Ok(known),
            None => self.present_generation().await,
        }
    }
}
