//! Verbs of reading.

use super::Smache;
use crate::{Cached, Call, Computed, Result};

impl Smache {
    /// The result of a call: the stored one at once; if there is none, the computed one.
    ///
    /// One round trip for a stored value, also a stale one, unless the call asks for more ([`Call::fresh`],
    /// [`Call::max_stale`], [`Call::at_least`]). Many readers of a missing value, in this process and in others, wait
    /// for one run.
    ///
    /// # Errors
    /// The function's own error ([`Error::function_error`](crate::Error::function_error)), its panic or its timeout, if
    /// there is no stored value that the call accepts; [`ErrorKind::Gone`](crate::ErrorKind::Gone) when an entity of
    /// the call does not exist; [`ErrorKind::Unregistered`](crate::ErrorKind::Unregistered),
    /// [`ErrorKind::Argument`](crate::ErrorKind::Argument), [`ErrorKind::TooLarge`](crate::ErrorKind::TooLarge);
    /// [`ErrorKind::Busy`](crate::ErrorKind::Busy) when another process does not finish in time;
    /// [`ErrorKind::Contended`](crate::ErrorKind::Contended) when the call asks for a fresh value and the data changes
    /// faster than the function runs; the store's errors, with [`StoreFailure::Error`](crate::StoreFailure::Error).
    ///
    /// # Cancel safety
    /// A dropped `get` leaves the run to other readers, and its result is stored.
    pub async fn get<F: Computed>(&self, call: Call<F>) -> Result<Cached<F::Output>> {
        let (function, key) = self.engine.key(&call)?;
        self.engine.read::<F>(function, key, call.want, None).await
    }

    /// The results of many calls of a function, in order: one look-up for all, then the missing ones at the same time.
    ///
    /// # Errors
    /// Each call has its own result; see [`get`](Self::get).
    pub async fn get_many<F: Computed>(
        &self,
        calls: impl IntoIterator<Item = Call<F>>,
    ) -> Vec<Result<Cached<F::Output>>> {
        self.engine.get_many(calls).await
    }

    /// The stored result, fresh or not; never computes.
    ///
    /// # Errors
    /// [`ErrorKind::Unregistered`](crate::ErrorKind::Unregistered),
    /// [`ErrorKind::Argument`](crate::ErrorKind::Argument), the store's errors.
    pub async fn peek<F: Computed>(&self, call: Call<F>) -> Result<Option<Cached<F::Output>>> {
        self.engine.peek(&call).await
    }

    /// Whether a result is stored and confirmed.
    ///
    /// # Errors
    /// As [`peek`](Self::peek).
    pub async fn is_fresh<F: Computed>(&self, call: Call<F>) -> Result<bool> {
        Ok(self.peek(call).await?.is_some_and(|found| found.is_fresh()))
    }

    /// Computes the result again, whatever is stored, and waits for it.
    ///
    /// # Errors
    /// As [`get`](Self::get); the stored value stays when the function fails.
    pub async fn refresh<F: Computed>(&self, call: Call<F>) -> Result<Cached<F::Output>> {
        self.engine.refresh(&call).await
    }
}
