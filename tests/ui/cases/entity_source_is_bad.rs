use smache::Entity;

#[derive(Entity)]
#[entity(source = "")]
struct Empty(#[entity(id)] u64);

#[derive(Entity)]
#[entity(source = "my users")]
struct Space(#[entity(id)] u64);

#[derive(Entity)]
#[entity(
    source = "123456789_123456789_123456789_123456789_123456789_123456789_123456789_123456789_123456789_123456789_123456789_123456789_123456789"
)]
struct Long(#[entity(id)] u64);

fn uses(_: impl smache::EntityType) {}

fn main() {
    uses(Empty(1));
    uses(Space(1));
    uses(Long(1));
}
