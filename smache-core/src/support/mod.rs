//! The facts and the small steps that all backends share, each in one place.
//!
//! A store, a queue or a source of another kind of server takes its bounds from [`limits`], so that a record, a job and
//! a graph look the same wherever they are kept. The functions are the parts of a step that do not depend on the
//! server: the edges of an entry, the walk over waiting runs, the warning about damage. A backend that does such a part
//! in a script or in SQL passes the limits in and follows the same rules.

mod causes;
mod damage;
mod edges;
mod layout;
pub mod limits;
mod numbers;
mod waits;

pub use self::{
    causes::{NEW_EPOCH, UNFINISHED, clip, kept_cause, note_cause},
    damage::{
        log_damaged_change, log_damaged_epoch, log_damaged_job, log_damaged_mark, log_damaged_position,
        log_damaged_record, log_damaged_state,
    },
    edges::{EdgeChanges, distinct, edges},
    layout::other_layout,
    numbers::{LATEST, count, few, millis, number, time},
    waits::WaitWalk,
};
