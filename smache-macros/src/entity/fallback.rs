//! An implementation for a type with a mistake, so that the compiler does not report the uses of the type as well.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::Member;

use super::{
    ast::{Field, Input},
    expand::tokens,
};
use crate::errors::Errors;

pub(crate) fn expand(input: &Input<'_>, errors: &Errors) -> TokenStream {
    let errors = errors.to_tokens();
    let private = input.options.private(input.original.ident.span());
    let name = &input.original.ident;
    let (impl_generics, ty_generics, where_clause) = input.original.generics.split_for_impl();
    if input.original.generics.lifetimes().next().is_some() {
        return errors;
    }
    let id = probable_id(&input.fields).map_or_else(|| quote!(()), |field| field.ty.to_token_stream());
    let tokens = tokens(input);
    quote! {
        #errors
        #tokens

        #[automatically_derived]
        impl #impl_generics #private::EntityType for #name #ty_generics #where_clause {
            type Id = #id;

            const SOURCE: &'static ::core::primitive::str = "";

            fn id(&self) -> &Self::Id {
                ::core::unreachable!()
            }
        }
    }
}

/// The field that is marked, or else has the name of an id.
fn probable_id<'a>(fields: &'a [Field<'a>]) -> Option<&'a Field<'a>> {
    let named = |field: &&Field<'_>| matches!(&field.member, Member::Named(name) if name == "id" || name == "_id");
    fields.iter().find(|field| field.options.id.is_some()).or_else(|| fields.iter().find(named))
}
