//! The bounds and choices of a system.

use std::time::Duration;

use crate::{Codec, Error, ErrorKind, Result, computed::Outages};

/// The result of `get` while the store fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum StoreFailure {
    /// Computes directly, once for all readers in this process; the value is `Unconfirmed` and not stored.
    #[default]
    Compute,
    /// Returns the store's error.
    Error,
}

/// The reaction to a function that reads a source which it does not declare. Results are right either way if it reads
/// through its context: declarations serve people, drawings and the reads by a function's own client.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub enum Strictness {
    /// No reaction.
    #[default]
    Lenient,
    /// Logs a warning for a share of the runs, from 0 to 1. For production.
    Sampled(f64),
    /// The run fails with [`ErrorKind::Undeclared`]. For tests.
    Strict,
}

/// Bounds and choices of a system.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) store_timeout: Duration,
    pub(crate) wait_timeout: Option<Duration>,
    /// How long a reader waits for the store at least, before it goes around it.
    pub(crate) read_patience: Duration,
    /// After how many failures in a row readers go around the store at once; zero means never.
    pub(crate) breaker_failures: u32,
    pub(crate) between_probes: Duration,
    pub(crate) run_lease: Duration,
    pub(crate) feed_validity: Duration,
    pub(crate) max_argument_bytes: usize,
    pub(crate) max_value_bytes: usize,
    pub(crate) max_dependencies: usize,
    pub(crate) codec: Codec,
    /// How long the entries of a function stay when no program has it.
    pub(crate) forget_after: Duration,
    pub(crate) store_failure: StoreFailure,
    pub(crate) strictness: Strictness,
    pub(crate) outages: Option<Outages>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            store_timeout: Duration::from_secs(5),
            wait_timeout: None,
            read_patience: Duration::from_millis(500),
            breaker_failures: 5,
            between_probes: Duration::from_millis(500),
            run_lease: Duration::from_secs(10),
            feed_validity: Duration::from_secs(2),
            max_argument_bytes: 4 << 20,
            max_value_bytes: 16 << 20,
            max_dependencies: 10_000,
            codec: Codec::default(),
            forget_after: Duration::from_secs(7 * 86_400),
            store_failure: StoreFailure::default(),
            strictness: Strictness::default(),
            outages: None,
        }
    }
}

impl Settings {
    /// # Errors
    /// [`ErrorKind::Config`] with the name of a bound of zero, or of a share that is none.
    pub(crate) fn check(&self) -> Result<()> {
        let bounds = [
            ("store_timeout", self.store_timeout),
            ("wait_timeout", self.wait_timeout.unwrap_or(Duration::MAX)),
            ("read_patience", self.read_patience),
            ("between_probes", self.between_probes),
            ("run_lease", self.run_lease),
            ("feed_validity", self.feed_validity),
            ("forget_after", self.forget_after),
        ];
        let sizes = [
            ("max_argument_bytes", self.max_argument_bytes),
            ("max_value_bytes", self.max_value_bytes),
            ("max_dependencies", self.max_dependencies),
        ];
        if let Strictness::Sampled(share) = self.strictness
            && !(0.0..=1.0).contains(&share)
        {
            let message = format!("the share of sampled runs is {share}: give it a number from 0 to 1");
            return Err(Error::new(ErrorKind::Config, message));
        }
        if let Some((name, _)) = sizes.into_iter().find(|(_, bytes)| *bytes == 0) {
            return Err(Error::new(ErrorKind::Config, format!("`{name}` is zero, so that nothing fits: give it more")));
        }
        match bounds.into_iter().find(|(_, bound)| bound.as_millis() == 0) {
            Some((name, _)) => {
                Err(Error::new(ErrorKind::Config, format!("`{name}` is below a millisecond: give it more")))
            }
            None => Ok(()),
        }
    }
}
