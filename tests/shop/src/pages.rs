//! The pages that the shop computes, in two releases.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use smache::{Builder, Cached, Cx, Entity, Result, Smache, computed};

use crate::{Product, Review};

/// The contents of a page.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Page {
    /// The price.
    pub cents: i64,
    /// The reviews.
    pub stars: Stars,
}

/// The reviews of a product.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Stars {
    /// How many there are.
    pub reviews: i64,
    /// All their stars.
    pub sum: i64,
}

/// The stars of a product.
#[computed(reads(Review))]
async fn stars(cx: &Cx, product_id: i64) -> Result<Stars> {
    let reviews = cx.find(Review::PRODUCT_ID.eq(product_id)).await?;
    Ok(Stars { reviews: reviews.len() as i64, sum: reviews.iter().map(|review| review.stars).sum() })
}

mod first {
    use super::{Cx, Entity, Page, Product, Result, computed, stars};

    #[computed(id = "page", calls(stars))]
    pub(super) async fn page(cx: &Cx, product: Entity<Product>) -> Result<Page> {
        let stars = cx.get(stars(product.id)).await?;
        Ok(Page { cents: product.cents, stars: (*stars).clone() })
    }
}

mod second {
    use super::{Cx, Entity, Page, Product, Result, computed, stars};

    /// The same with a new argument.
    #[computed(id = "page", calls(stars))]
    pub(super) async fn page(cx: &Cx, product: Entity<Product>, percent: i64) -> Result<Page> {
        let stars = cx.get(stars(product.id)).await?;
        Ok(Page { cents: product.cents * percent / 100, stars: (*stars).clone() })
    }
}

/// Which release of the program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// `page(product)`.
    First,
    /// `page(product, percent)`.
    Second,
}

impl Release {
    /// Its functions.
    pub fn register(self, builder: Builder) -> Builder {
        let builder = builder.register::<stars>();
        match self {
            Self::First => builder.register::<first::page>(),
            Self::Second => builder.register::<second::page>(),
        }
    }

    /// The page of a product.
    ///
    /// # Errors
    /// Those of [`Smache::get`].
    pub async fn page(self, smache: &Smache, product: i64) -> Result<Cached<Page>> {
        match self {
            Self::First => smache.get(first::page(product)).await,
            Self::Second => smache.get(second::page(product, 100)).await,
        }
    }
}

impl FromStr for Release {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "first" => Ok(Self::First),
            "second" => Ok(Self::Second),
            other => Err(format!("{other:?} is no release: `first` or `second`")),
        }
    }
}
