//! A shorter sequence that fails as well.

use std::time::{Duration, Instant};

use super::{
    Shape,
    operation::Operation,
    sequence::{Difference, play},
};
use crate::BackendHarness;

/// How long a failed sequence may be made shorter.
const PATIENCE: Duration = Duration::from_secs(60);

/// Leaves out what the failure does not need: larger parts first, single operations last.
pub(super) async fn shrink(
    harness: &BackendHarness,
    shape: Shape,
    operations: Vec<Operation>,
    difference: Difference,
) -> (Vec<Operation>, Difference) {
    let started = Instant::now();
    let mut kept = operations;
    kept.truncate(difference.step + 1);
    let mut difference = difference;
    let mut part = kept.len().div_ceil(2);
    while part > 0 {
        let mut at = 0;
        let mut shorter = false;
        while at < kept.len() {
            if started.elapsed() > PATIENCE {
                return (kept, difference);
            }
            let mut without = kept.clone();
            without.drain(at..(at + part).min(kept.len()));
            match play(harness, shape, &without).await {
                Err(other) => {
                    without.truncate(other.step + 1);
                    (kept, difference, shorter) = (without, other, true);
                }
                Ok(()) => at += part,
            }
        }
        // Another round of single operations, while it helps.
        if part > 1 || !shorter {
            part /= 2;
        }
    }
    (kept, difference)
}
