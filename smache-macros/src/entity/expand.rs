//! The implementation of `EntityType`, and the constants that are the tokens of its fields.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::{Attribute, Meta};

use super::{
    ast::{Field, Input},
    valid::Entity,
};
use crate::facade::{first_token, laid_over, located, relaid};

pub(crate) fn expand(input: &Input<'_>, entity: &Entity<'_>) -> TokenStream {
    let span = laid_over(input.original.ident.span());
    let private = input.options.private(span);
    let name = relaid(&input.original.ident);
    let (impl_generics, ty_generics, where_clause) = input.original.generics.split_for_impl();
    let member = &entity.id.member;
    let ty = entity.id.ty;
    let source = entity.source;
    let tokens = tokens(input);
    let (beside, methods) = declared(input, &private).unwrap_or_default();
    quote_spanned! {span=>
        #tokens
        #beside

        #[automatically_derived]
        impl #impl_generics #private::EntityType for #name #ty_generics #where_clause {
            type Id = #ty;

            const SOURCE: &'static ::core::primitive::str = #source;

            fn id(&self) -> &Self::Id {
                &self.#member
            }

            #methods
        }
    }
}

/// One constant for each field with a token.
pub(super) fn tokens(input: &Input<'_>) -> TokenStream {
    let mut seen: Vec<Ident> = Vec::new();
    let mut constants = Vec::new();
    for field in input.marked() {
        // Two constants of one name are a mistake that is reported elsewhere.
        if let (Some(name), Some(constant), Some(stored)) =
            (&field.original.ident, field.constant(), input.stored.name(field))
            && !seen.contains(&constant)
        {
            constants.push(token(input, field, name, &constant, &stored));
            seen.push(constant);
        }
    }
    if constants.is_empty() {
        return TokenStream::new();
    }
    let name = relaid(&input.original.ident);
    let (impl_generics, ty_generics, where_clause) = input.original.generics.split_for_impl();
    quote_spanned! {laid_over(name.span())=>
        #[automatically_derived]
        // A field may be deprecated, or have a name that has no upper case.
        #[allow(deprecated, non_upper_case_globals)]
        impl #impl_generics #name #ty_generics #where_clause {
            #(#constants)*
        }
    }
}

fn token(input: &Input<'_>, field: &Field<'_>, name: &Ident, constant: &Ident, stored: &str) -> TokenStream {
    let span = laid_over(name.span());
    let private = input.options.private(span);
    let constant = relaid(constant);
    let vis = &field.original.vis;
    let ty = field.ty;
    let member = &field.member;
    let mut docs: Vec<TokenStream> =
        field.original.attrs.iter().filter(|attr| is_docs(attr)).map(ToTokens::to_token_stream).collect();
    if docs.is_empty() {
        let text = format!(" The field `{name}`, to find entities by it or to read it alone.");
        docs.push(quote!(#[doc = #text]));
    }
    let entity = Ident::new("__entity", Span::mixed_site());
    quote_spanned! {span=>
        #(#docs)*
        #vis const #constant: #private::Field<Self, #ty> =
            #private::Field::new(#stored, |#entity: &Self| &#entity.#member);
    }
}

fn is_docs(attr: &Attribute) -> bool {
    matches!(&attr.meta, Meta::NameValue(pair) if pair.path.is_ident("doc"))
}

/// The indexes and the narrowable fields of the entity: a function beside the implementation, and the methods.
///
/// Both come from one function, because the compiler reports a type that is not serializable once within one function,
/// but again in each further one.
fn declared(input: &Input<'_>, private: &TokenStream) -> Option<(TokenStream, TokenStream)> {
    let indexes = indexes(input, private);
    let fields = fields(input, private)?;
    if indexes.is_empty() {
        let methods = quote! {
            fn fields() -> #private::Fields<Self> {
                #fields
            }
        };
        return Some((TokenStream::new(), methods));
    }
    let name = relaid(&input.original.ident);
    let (impl_generics, ty_generics, where_clause) = input.original.generics.split_for_impl();
    let beside = quote! {
        #[automatically_derived]
        impl #impl_generics #name #ty_generics #where_clause {
            #[doc(hidden)]
            #[allow(clippy::type_complexity)]
            fn __declared() -> (fn() -> ::std::vec::Vec<#private::Index<Self>>, fn() -> #private::Fields<Self>) {
                (|| ::std::vec![#(#indexes),*], || #fields)
            }
        }
    };
    let methods = quote! {
        fn indexes() -> ::std::vec::Vec<#private::Index<Self>> {
            (Self::__declared().0)()
        }

        fn fields() -> #private::Fields<Self> {
            (Self::__declared().1)()
        }
    };
    Some((beside, methods))
}

/// The indexes of the entity: the fields with a mark, then the compound ones.
fn indexes(input: &Input<'_>, private: &TokenStream) -> Vec<TokenStream> {
    let single = input.fields.iter().filter(|field| field.options.index.is_some()).map(|field| vec![field]);
    let compound =
        input.options.indexes.iter().map(|names| names.iter().filter_map(|name| input.field(name)).collect());
    single.chain(compound).filter_map(|fields| index(&fields, private)).collect()
}

fn index(fields: &[&Field<'_>], private: &TokenStream) -> Option<TokenStream> {
    let mut tokens = fields.iter().filter_map(|field| at_the_type(field));
    let (span, first) = tokens.next()?;
    let private = located(private, span);
    let on = quote_spanned!(span=> #private::Index::on(#first));
    Some(tokens.fold(on, |index, (span, token)| quote_spanned!(span=> #index.and(#token))))
}

/// All fields with a token.
fn fields(input: &Input<'_>, private: &TokenStream) -> Option<TokenStream> {
    let mut tokens = input.marked().filter_map(at_the_type);
    let (span, first) = tokens.next()?;
    let fields = located(private, span);
    let from = quote_spanned!(span=> <#fields::Fields<Self> as ::core::convert::From<_>>::from(#first));
    Some(tokens.fold(from, |all, (span, token)| quote_spanned!(span=> #all | #token)))
}

/// The token of a field, laid over its type: the compiler reports a type that is not serializable there.
fn at_the_type(field: &Field<'_>) -> Option<(Span, TokenStream)> {
    let span = laid_over(first_token(field.ty));
    let mut constant = field.constant()?;
    constant.set_span(span);
    Some((span, quote_spanned!(span=> Self::#constant)))
}
