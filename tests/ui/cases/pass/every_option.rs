//! All options at once, and what they say in the declaration.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use smache::{Computed, Declaration, Entity, computed};

mod vendored {
    pub use smache as cache;
}

#[derive(Clone, Serialize, Deserialize, Entity)]
#[entity(source = "handins", crate = "crate::vendored::cache")]
struct Handin {
    #[entity(id)]
    id: u64,
}

#[derive(Clone, Serialize, Deserialize, Entity)]
#[entity(source = "school/courses:v2")]
struct Course {
    #[entity(id)]
    id: u64,
}

#[computed(
    id = "reports.grades/v1",
    version = 2,
    ttl = "10m",
    timeout = "500ms",
    write_through = false,
    sources(Handin, Course),
    crate = "vendored::cache"
)]
async fn grades(course: Entity<Course>, limit: u32) -> u64 {
    course.id + u64::from(limit)
}

fn main() {
    let by_hand = Declaration::new("reports.grades/v1")
        .version(2)
        .entity::<Course>()
        .param(smache::backend::Role::Raw, "u32")
        .source::<Handin>()
        .source::<Course>()
        .output("u64")
        .ttl(Duration::from_secs(600))
        .timeout(Duration::from_millis(500))
        .write_through(false);
    assert_eq!(format!("{:?}", grades::declaration()), format!("{by_hand:?}"));
    assert_eq!(grades::declaration().key(), by_hand.key());
}
