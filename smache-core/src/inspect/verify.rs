//! Checking a stored value against a run: finds functions with reads that SMache does not know of.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::Inspector;
use crate::{
    Call, Computed, Cx, Freshness, Result,
    call_key::CallKey,
    codec,
    engine::{Engine, Function, call},
    tracking::{CallFrame, Meta},
};

/// A second after the validity of the feeds, every earlier change has been delivered, or the value is not fresh.
const BEYOND: Duration = Duration::from_secs(1);
/// How much longer the check waits for a late feed.
const MORE: Duration = Duration::from_secs(5);
/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// The result of a check of a stored value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verified {
    /// A run gives the stored value.
    Same,
    /// A run gives another value, and no change has made the stored one stale: the function reads something that it
    /// does not depend on, or does not give the same result twice.
    Different,
    /// The value is not stored or not fresh, or a change overtook it during the check: there is nothing to compare.
    Unknown,
}

impl Inspector {
    /// Runs the function of a stored fresh result once more, beside the cache, and compares: a check for functions that
    /// read through their own database client. Its result is not stored, and readers notice nothing; a nested call
    /// without a fresh stored result runs and is stored as usual.
    ///
    /// Takes a run of the function, and about three seconds more when the values differ, since a change may just be on
    /// its way.
    ///
    /// # Errors
    /// The function's own, [`ErrorKind::Unregistered`](crate::ErrorKind::Unregistered),
    /// [`ErrorKind::Argument`](crate::ErrorKind::Argument), the store's.
    pub async fn verify<F: Computed>(&self, call: Call<F>) -> Result<Verified> {
        let (function, key) = self.engine.key(&call)?;
        let Some((version, stored, Freshness::Fresh { .. })) = self.engine.stored(&key).await? else {
            return Ok(Verified::Unknown);
        };
        let computed = self.engine.run_beside(function, &key).await?;
        if computed == stored {
            return Ok(Verified::Same);
        }
        let delivered = Instant::now() + self.engine.settings.feed_validity + BEYOND;
        loop {
            let confirmed = match self.engine.stored(&key).await? {
                Some((present, _, freshness)) if present == version => freshness.is_fresh(),
                _ => return Ok(Verified::Unknown),
            };
            if confirmed && Instant::now() > delivered {
                return Ok(Verified::Different);
            }
            // The feed may be late for a moment.
            if Instant::now() > delivered + MORE {
                return Ok(Verified::Unknown);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl Engine {
    /// The version, the hash and the freshness of a value, if it is stored and not stale.
    async fn stored(&self, key: &CallKey) -> Result<Option<(u64, [u8; 16], Freshness)>> {
        let lookup = self.timed("lookup", self.store.lookup(&[key.id])).await?;
        let Some(entry) = lookup.entries.first().and_then(Option::as_ref) else { return Ok(None) };
        let meta = Meta::read(&entry.meta).filter(|meta| meta.check == key.check);
        let freshness = self.freshness(&lookup.validity, entry, meta.as_ref(), lookup.now, &lookup.incarnation);
        let present = !matches!(freshness, Freshness::Stale { .. })
            && !entry.is_expired(lookup.now)
            && !codec::is_failure(&entry.value);
        Ok(meta.filter(|_| present).map(|meta| (entry.version, meta.hash, freshness)))
    }

    /// Runs a function without storing its result. Returns the hash of its value.
    async fn run_beside(self: &Arc<Self>, function: &Function, key: &CallKey) -> Result<[u8; 16]> {
        let frame = CallFrame { parent: key.id, token: None, start_revision: None, depth: 1 };
        let cx = Cx::new(Arc::clone(self), frame);
        let output = call(function, &cx, key).await?;
        self.observe(function, &cx.tracked())?;
        Ok(output.encoded.hash)
    }
}
