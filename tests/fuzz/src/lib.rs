//! What the fuzz targets of the packages share. A target is a test named `fuzz_…` beside the code that it calls, so that
//! nothing becomes public for it.
//!
//! Random bytes rarely come far into a decoder, so most targets encode a random value and [damage](damaged) the bytes.
//! `cargo test` runs each target for a moment, and `scripts/fuzz` for the seconds that it is given.

use std::{
    fmt::Debug,
    panic::RefUnwindSafe,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use proptest::{
    arbitrary::{Arbitrary, any},
    collection::vec,
    strategy::{BoxedStrategy, Strategy},
    test_runner::{Config, RngSeed, TestRunner},
};

/// How long a target runs unless `SMACHE_FUZZ_SECONDS` says otherwise.
const A_MOMENT: Duration = Duration::from_millis(400);

/// How many values are made from one seed.
const VALUES: u32 = 64;

/// Calls a target with random values, for a moment or as long as `SMACHE_FUZZ_SECONDS` says. A value that makes it panic
/// is made smaller and printed with the seed, and `SMACHE_FUZZ_SEED` begins with that seed.
///
/// # Panics
/// When the target does.
pub fn fuzz<T: Arbitrary + Debug>(target: impl Fn(&T) + RefUnwindSafe) {
    let time = number("SMACHE_FUZZ_SECONDS").map_or(A_MOMENT, Duration::from_secs);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos() as u64);
    let first = number("SMACHE_FUZZ_SEED").unwrap_or(now);
    let started = Instant::now();
    for round in 0_u64.. {
        let seed = first.wrapping_add(round);
        let rng_seed = RngSeed::Fixed(seed);
        let config =
            Config { cases: VALUES, failure_persistence: None, max_shrink_iters: 4_096, rng_seed, ..Config::default() };
        let outcome = TestRunner::new(config).run(&any::<T>(), |value| {
            target(&value);
            Ok(())
        });
        if let Err(error) = outcome {
            panic!("with SMACHE_FUZZ_SEED={seed}: {error}");
        }
        if started.elapsed() >= time {
            return;
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// A few changes to bytes, each a kind, a place and a byte. Many would leave nothing that a decoder gets into.
#[derive(Debug, Clone, Default)]
pub struct Edits(Vec<(u8, u16, u8)>);

impl Arbitrary for Edits {
    type Parameters = ();
    type Strategy = BoxedStrategy<Self>;

    fn arbitrary_with((): ()) -> Self::Strategy {
        vec(any::<(u8, u16, u8)>(), 0..4).prop_map(Self).boxed()
    }
}

/// Bytes with edits: bytes replaced, bits turned, parts left out, repeated and cut off, lengths that lie.
#[must_use]
pub fn damaged(bytes: &[u8], edits: &Edits) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for &(kind, place, byte) in &edits.0 {
        let at = usize::from(place) % (bytes.len() + 1);
        let some = usize::from(byte) % 9;
        let end = (at + some).min(bytes.len());
        match kind % 7 {
            0 => bytes.insert(at, byte),
            1 if at < bytes.len() => bytes[at] = byte,
            2 if at < bytes.len() => bytes[at] ^= 1 << (byte % 8),
            3 => drop(bytes.drain(at..end)),
            4 => bytes.truncate(at),
            5 => {
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
            _ => bytes[at..end].fill(0xff),
        }
    }
    bytes
}

/// The same for texts.
#[must_use]
pub fn damaged_text(text: &str, edits: &Edits) -> String {
    String::from_utf8_lossy(&damaged(text.as_bytes(), edits)).into_owned()
}

/// Calls a decoder of so many bytes, and checks that it never holds more than [`A_BYTE`] for each of them and
/// [`AT_ALL`] beside. A length in the bytes must not decide.
///
/// # Panics
/// When it allocates more.
pub fn bounded<T>(bytes: usize, decode: impl FnOnce() -> T) -> T {
    let mut decoded = None;
    let allocated = allocation_counter::measure(|| decoded = Some(decode())).bytes_max;
    let most = AT_ALL + A_BYTE * bytes as u64;
    assert!(allocated <= most, "{allocated} bytes are allocated for {bytes}, more than {most}");
    decoded.expect("the measured call ends")
}

/// How many bytes a decoder may hold for a byte of its input: an element of one byte may be a struct with a list in it.
pub const A_BYTE: u64 = 256;

/// How many bytes a decoder may hold whatever its input is, for errors and their texts.
pub const AT_ALL: u64 = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_change_bytes_where_they_say() {
        let edited = |kind, place, byte| damaged(b"abcdef", &Edits(vec![(kind, place, byte)]));
        assert_eq!(edited(0, 6, b'x'), b"abcdefx");
        assert_eq!(edited(1, 0, b'x'), b"xbcdef");
        assert_eq!(edited(2, 0, 1), b"cbcdef");
        assert_eq!(edited(3, 1, 2), b"adef");
        assert_eq!(edited(4, 3, 0), b"abc");
        assert_eq!(edited(5, 0, 3), b"abcabcdef");
        assert_eq!(edited(6, 4, 8), b"abcd\xff\xff");
        assert_eq!(damaged(b"", &Edits(vec![(1, 9, 9), (2, 9, 9), (3, 9, 9), (5, 9, 9)])), b"");
    }

    #[test]
    #[should_panic(expected = "with SMACHE_FUZZ_SEED=")]
    fn target_that_panics_is_found() {
        fuzz::<Vec<u8>>(|bytes| assert!(bytes.len() < 50));
    }

    #[test]
    #[should_panic(expected = "bytes are allocated for 10")]
    fn decoder_that_believes_a_length_is_found() {
        bounded(10, || Vec::<u8>::with_capacity(1 << 20));
    }
}
