//! Invalidations within the transaction of a writer.

use std::time::Duration;

use super::Engine;
use crate::{
    ChangeToken, EntryId, Error, ErrorKind, InTransactionOutcome, InvalidateInTransaction, Invalidation, Result,
    WriterTransaction,
};

impl Engine {
    /// An invalidation in a transaction. Returns the token of its revision, and the jobs that the caller enqueues after
    /// the commit.
    pub(crate) async fn invalidate_in(
        &self,
        transaction: &mut dyn WriterTransaction,
        invalidation: Invalidation,
    ) -> Result<(ChangeToken, Vec<EntryId>)> {
        let bound = self.settings.store_timeout;
        let mut asked = self.some_generation().await?;
        for last in [false, true] {
            let request = InvalidateInTransaction {
                namespace: self.namespace.clone(),
                incarnation: asked.incarnation.clone(),
                jobs: self.store.job_writes(),
                // The server gives up before this program does, so that its error can name the transaction that it
                // waited for.
                patience: bound.mul_f64(0.8).max(Duration::from_millis(1)),
                invalidation: invalidation.clone(),
            };
            match self.timed("invalidate", transaction.invalidate(request)).await {
                Ok(InTransactionOutcome::Invalidated(invalidated)) => {
                    let token = ChangeToken::new(&self.namespace, asked.as_number(), invalidated.revision);
                    return Ok((token, invalidated.jobs));
                }
                Ok(InTransactionOutcome::OtherStore) if last => break,
                // The store may have another generation than the one that this program saw last.
                Ok(InTransactionOutcome::OtherStore) => asked = self.present_generation().await?,
                Err(error) if error.kind() == ErrorKind::WrongServer => return Err(self.name_store(error).await),
                Err(error) => return Err(error),
            }
        }
        let fix = "give the transaction's database to the builder as the backend, or call `changed` after the commit";
        let message = format!(
            "the store is not in the database of the transaction, so that a change and its report cannot be one step: {fix}"
        );
        Err(self.name_store(Error::new(ErrorKind::WrongServer, message)).await)
    }

    /// The error with the store's description of itself, if it answers.
    async fn name_store(&self, error: Error) -> Error {
        match self.timed("examine", self.store.examine()).await {
            Ok(examination) => error.with_context("store", examination.what),
            Err(_) => error,
        }
    }
}
