//! The implementation of `EntityType`.

use proc_macro2::TokenStream;
use quote::quote_spanned;

use super::{ast::Input, valid::Entity};
use crate::facade::{laid_over, relaid};

pub(crate) fn expand(input: &Input<'_>, entity: &Entity<'_>) -> TokenStream {
    let span = laid_over(input.original.ident.span());
    let private = input.options.private(span);
    let name = relaid(&input.original.ident);
    let (impl_generics, ty_generics, where_clause) = input.original.generics.split_for_impl();
    let (member, ty) = (&entity.id.member, entity.id.ty);
    let source = entity.source;
    quote_spanned! {span=>
        #[automatically_derived]
        impl #impl_generics #private::EntityType for #name #ty_generics #where_clause {
            type Id = #ty;

            const SOURCE: &'static ::core::primitive::str = #source;

            fn id(&self) -> &Self::Id {
                &self.#member
            }
        }
    }
}
