use smache::{Entity, EntityType};

#[derive(Entity)]
#[entity(source = "forms", index(), index(course), index(course.id, name), index = "course", index(1, 2))]
struct Forms {
    #[entity(id)]
    id: u64,
    course: u64,
    #[entity(index(course))]
    name: String,
}

#[derive(Entity)]
#[entity(source = "fields", index(course, participant), index(course, name, course))]
#[entity(index(name, course), index(course, name))]
struct Fields {
    #[entity(id)]
    id: u64,
    course: u64,
    name: String,
}

#[derive(Entity)]
#[entity(source = "ids", index(course, id))]
struct OfTheId {
    #[entity(id, index)]
    id: u64,
    course: u64,
}

#[derive(Entity)]
#[entity(source = "tuples", index(a, b))]
struct Tuple(#[entity(id)] u64, #[entity(index, field)] u8, #[entity(field)] u8);

#[derive(Entity)]
#[entity(source = "constants", index(Name, name))]
struct OneConstant {
    #[entity(id)]
    id: u64,
    name: String,
    #[allow(non_snake_case)]
    Name: String,
}

fn main() {
    let _ = (Forms::COURSE, Fields::COURSE, Fields::NAME, OfTheId::ID, OfTheId::COURSE, OneConstant::NAME);
    let _ = Fields::indexes();
    let _ = Tuple::fields();
}
