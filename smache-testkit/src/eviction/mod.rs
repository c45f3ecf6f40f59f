//! Cases for a store with a capacity.

pub mod values;
