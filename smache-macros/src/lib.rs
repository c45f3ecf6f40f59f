//! The macros of SMache: `#[computed]` and `#[derive(Entity)]`.
//!
//! Applications use them through the crate `smache`, which re-exports them.

mod computed;
mod duration;
mod entity;
mod errors;
mod expression;
mod facade;
mod name;
mod options;
mod written;

use proc_macro::TokenStream;

#[doc = include_str!("docs/computed.md")]
#[proc_macro_attribute]
pub fn computed(options: TokenStream, item: TokenStream) -> TokenStream {
    computed::expand(options.into(), &item.into()).into()
}

#[doc = include_str!("docs/entity.md")]
#[proc_macro_derive(Entity, attributes(entity))]
pub fn derive_entity(item: TokenStream) -> TokenStream {
    let item = syn::parse_macro_input!(item as syn::DeriveInput);
    entity::derive(&item).into()
}
