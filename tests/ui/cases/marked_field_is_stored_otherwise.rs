use serde::{Deserialize, Serialize};
use smache::{Entity, EntityType};

#[derive(Serialize, Deserialize, Entity)]
#[entity(source = "grades", index(course, participant))]
struct Grade {
    #[entity(id)]
    id: u64,
    #[serde(alias = "class")]
    course: u64,
    #[serde(rename(serialize = "who"))]
    participant: u64,
    #[entity(index)]
    #[serde(flatten)]
    rest: Rest,
    #[entity(index)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    points: Option<u32>,
    #[entity(field)]
    #[serde(default, skip)]
    seen: bool,
    #[entity(field)]
    #[serde(with = "text")]
    number: u64,
    #[serde(alias = "note", skip_serializing_if = "String::is_empty")]
    unmarked: String,
}

#[derive(Serialize, Deserialize, Entity)]
#[entity(source = "renamed")]
#[serde(rename_all(serialize = "camelCase"))]
struct Renamed {
    #[entity(id)]
    id: u64,
    #[entity(index)]
    course: u64,
    #[entity(index)]
    course_id: u64,
    #[entity(field)]
    first_name: String,
    #[entity(field)]
    #[serde(rename = "last")]
    last_name: String,
}

#[derive(Clone, Serialize, Deserialize, Entity)]
#[entity(source = "converted")]
#[serde(into = "Rest", from = "Rest")]
struct Converted {
    #[entity(id)]
    id: u64,
    #[entity(index)]
    more: u64,
}

#[derive(Clone, Serialize, Deserialize, Entity)]
#[entity(source = "unmarked")]
#[serde(into = "Rest", from = "Rest")]
struct Unmarked {
    #[entity(id)]
    id: u64,
}

#[derive(Serialize, Deserialize)]
struct Rest {
    more: u64,
}

impl From<Rest> for Converted {
    fn from(Rest { more }: Rest) -> Self {
        Self { id: 1, more }
    }
}

impl From<Converted> for Rest {
    fn from(Converted { more, .. }: Converted) -> Self {
        Self { more }
    }
}

impl From<Rest> for Unmarked {
    fn from(Rest { more: id }: Rest) -> Self {
        Self { id }
    }
}

impl From<Unmarked> for Rest {
    fn from(Unmarked { id: more }: Unmarked) -> Self {
        Self { more }
    }
}

mod text {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        number.to_string().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

fn main() {
    let _ = (Grade::COURSE.name(), Grade::POINTS.name(), Renamed::fields(), Converted::MORE.name());
    let _ = Unmarked::fields();
}
