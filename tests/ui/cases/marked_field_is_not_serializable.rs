use smache::{Entity, computed};

struct Color(u8);

#[derive(Entity)]
#[entity(source = "cars", index(color, paint))]
struct Car {
    #[entity(id)]
    id: u64,
    #[entity(index)]
    color: Color,
    paint: Vec<Color>,
    #[entity(index)]
    number: u64,
    #[entity(field)]
    trim: Color,
}

#[computed]
async fn car(car: Entity<Car>) -> u64 {
    car.id
}

fn main() {
    let _ = (Car::NUMBER.eq(1_u64), car(1_u64));
}
