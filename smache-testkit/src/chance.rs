//! Random choices that can be made again: `SMACHE_SEED` is the seed that a failed case has named.

/// A small generator, started at random. Its `Debug` output names the seed.
#[derive(Debug)]
pub(crate) struct Chance {
    seed: u64,
    state: u64,
}

impl Chance {
    pub(crate) fn new() -> Self {
        let seed = match std::env::var("SMACHE_SEED") {
            Ok(seed) => seed.parse().unwrap_or_else(|_| panic!("SMACHE_SEED is {seed:?} and no number")),
            Err(_) => {
                let mut bytes = [0; 8];
                getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
                u64::from_le_bytes(bytes)
            }
        };
        Self::of(seed)
    }

    /// The generator that starts with a seed.
    pub(crate) fn of(seed: u64) -> Self {
        Self { seed, state: seed }
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    /// Any number: `splitmix64`.
    pub(crate) fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below a bound.
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        let high = self.number() >> 32;
        u32::try_from((high * u64::from(bound)) >> 32).expect("it is below a bound of 32 bits")
    }
}
