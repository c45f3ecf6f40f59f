//! The data of a shop, and its computed functions, which do not mention where the data is stored.

use serde::{Deserialize, Serialize};
use smache::{Builder, Cx, Entity, Failure, State, computed};

use crate::Ran;

/// A row of PostgreSQL.
#[derive(Clone, Debug, Serialize, Deserialize, Entity)]
#[entity(source = "orders")]
pub struct Order {
    #[entity(id)]
    pub id: i64,
    #[entity(index)]
    pub customer: i64,
    pub sku: String,
    pub pieces: i64,
}

/// A document of MongoDB.
#[derive(Clone, Debug, Serialize, Deserialize, Entity)]
#[entity(source = "products")]
pub struct Product {
    #[serde(rename = "_id")]
    #[entity(id)]
    pub sku: String,
    pub cents: i64,
}

/// Data of the program itself, which reports their changes.
#[derive(Clone, Debug, Serialize, Deserialize, Entity)]
#[entity(source = "discounts")]
pub struct Discount {
    #[entity(id)]
    pub customer: i64,
    pub percent: i64,
}

/// The price of a piece for a customer: from a document, and from the program's own data.
#[computed(reads(Product, Discount))]
pub async fn price(cx: &Cx, ran: State<Ran>, customer: i64, sku: String) -> Result<i64, Failure> {
    ran.note(format!("price of {sku} for {customer}"));
    let cents = cx.load::<Product>(&sku).await?.map_or(0, |product| product.cents);
    let percent = cx.load::<Discount>(&customer).await?.map_or(0, |discount| discount.percent);
    Ok(cents * (100 - percent) / 100)
}

/// The sum that a customer has to pay: from rows, and for each of them the price above.
#[computed(reads(Order), calls(price))]
pub async fn invoice(cx: &Cx, ran: State<Ran>, customer: i64) -> Result<i64, Failure> {
    ran.note(format!("invoice of {customer}"));
    let mut cents = 0;
    for order in cx.find(Order::CUSTOMER.eq(customer)).await? {
        cents += order.pieces * *cx.get(price(customer, order.sku.clone())).await?;
    }
    Ok(cents)
}

pub fn register(builder: Builder) -> Builder {
    builder.register::<price>().register::<invoice>()
}
