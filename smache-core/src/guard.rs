//! Calls into code of the application from tasks that must outlive its panics.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::FutureExt;

use crate::{Error, ErrorKind, Result, computed::panic_text};

/// How often the same panic is logged at most.
const PERIOD: Duration = Duration::from_secs(10);
/// How many different panics the process distinguishes.
const MOST: usize = 1_000;

static SEEN: Mutex<Option<HashMap<String, Seen>>> = Mutex::new(None);

struct Seen {
    logged: Instant,
    unlogged: u64,
}

/// Calls code of the application, for example the `Deserialize` of an entity, from a task that must outlive its panic.
/// A panic becomes an error that names `what`, and a line in the log, at most one every ten seconds for the same
/// `what`.
///
/// For authors of sources: the feed decodes changed entities, and is one task for all results that depend on the
/// source. A change whose entity cannot be decoded is delivered with [`Snapshot::Unknown`](crate::Snapshot::Unknown).
///
/// # Errors
/// Those of the call, and [`ErrorKind::Panicked`] when it panics.
pub fn guarded<T>(what: &str, call: impl FnOnce() -> Result<T>) -> Result<T> {
    // The data that the call had borrowed is not used again: its error counts as an entity that cannot be read.
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| Err(panicked(what, panic_text(panic.as_ref()))))
}

/// The error of a panic, logged now and then.
pub(crate) fn panicked(what: &str, text: &str) -> Error {
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    let seen = seen.get_or_insert_default();
    let unlogged = match seen.get_mut(what) {
        Some(one) if one.logged.elapsed() < PERIOD => {
            one.unlogged += 1;
            None
        }
        Some(one) => {
            one.logged = Instant::now();
            Some(std::mem::take(&mut one.unlogged))
        }
        None => {
            if seen.len() >= MOST {
                seen.retain(|_, one| one.logged.elapsed() < PERIOD);
            }
            if seen.len() < MOST {
                seen.insert(what.to_owned(), Seen { logged: Instant::now(), unlogged: 0 });
            }
            Some(0)
        }
    };
    if let Some(unlogged) = unlogged {
        tracing::error!(what, panic = text, unlogged, "code of the application panicked: fix it");
    }
    Error::new(ErrorKind::Panicked, format!("{what} panicked: {text}"))
}

/// How often in a row a feed panicked at the same place.
#[derive(Debug, Default)]
pub(crate) struct Strikes(AtomicU32);

impl Strikes {
    /// How often a feed may panic at the same place before it passes over that place.
    const MOST: u32 = 3;

    /// A step of a feed, whose panic is an error. A feed that panics again and again counts as one that has lost its
    /// history: a change of unknown extent.
    pub(crate) async fn count<T>(&self, what: &str, step: impl Future<Output = Result<T>>) -> Result<T> {
        let panic = match AssertUnwindSafe(step).catch_unwind().await {
            Ok(done) => return done,
            Err(panic) => panic,
        };
        let error = panicked(what, panic_text(panic.as_ref()));
        if self.0.fetch_add(1, Ordering::Relaxed) + 1 < Self::MOST {
            return Err(error);
        }
        self.forget();
        let message = "the feed panics at the same place again and again: its sources start a new epoch behind it";
        Err(Error::new(ErrorKind::HistoryLost, message).with_source(error))
    }

    /// The feed has passed that place.
    pub(crate) fn forget(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_that_names_what_was_called() {
        let error =
            guarded("the `Deserialize` of `User`", || -> Result<()> { panic!("a fly") }).expect_err("it panics");
        assert_eq!(error.kind(), ErrorKind::Panicked);
        assert_eq!(error.to_string(), "the `Deserialize` of `User` panicked: a fly");
        assert_eq!(guarded("a sum", || Ok(1)).expect("it does not"), 1);
    }
}
