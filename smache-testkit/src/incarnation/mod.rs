//! The cases of a store whose server becomes another incarnation that has kept its data.

pub mod change;
