//! The rest of a function with a mistake: as much as keeps its callers, and the body, free of follow-up errors.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{FnArg, token::Async};

use super::{
    ast::{Function, Role},
    attr::Options,
    expand::{argument_names, body, call_with, id_param, marker, output},
    valid::{mistaken_return, names_a_handle},
};
use crate::errors::Errors;

/// The unchanged item.
pub(crate) fn keep(item: &TokenStream, errors: &Errors) -> TokenStream {
    let errors = errors.to_tokens();
    quote!(#errors #item)
}

/// A function that can be called, registered and checked, but not computed.
pub(crate) fn expand(function: &Function, options: &Options, errors: &Errors) -> TokenStream {
    // An `impl` cannot contain the other items.
    if function.sig.inputs.iter().any(|input| matches!(input, FnArg::Receiver(_))) {
        let Function { attrs, vis, sig, body, .. } = function;
        let attrs = attrs.all.iter().chain(&attrs.call).chain(&attrs.body);
        return keep(&quote!(#(#attrs)* #vis #sig #body), errors);
    }
    let private = options.private(function.sig.ident.span());
    let errors = errors.to_tokens();
    let name = &function.sig.ident;
    let all = &function.attrs.all;
    let marker = marker(function);
    let call = call(function, &private);
    let body = body(&acceptable(function));
    let generic = !function.sig.generics.params.is_empty();
    let output = if generic || mistaken_return(function).is_some() { quote!(()) } else { output(function, &private) };
    quote! {
        #errors
        #marker
        #call
        #body

        #(#all)*
        impl #private::Computed for #name {
            type Args = ();
            type Output = #output;

            fn declaration() -> #private::Declaration {
                ::core::unreachable!()
            }

            async fn compute(_: &#private::Cx, _: Self::Args) -> ::core::result::Result<Self::Output, #private::Failure> {
                ::core::unreachable!()
            }
        }
    }
}

/// A call with as many arguments, of the types as written; where the types are not clear, of any.
fn call(function: &Function, private: &TokenStream) -> TokenStream {
    let names = argument_names(function);
    let generic = !function.sig.generics.params.is_empty();
    let params = function.params.iter().zip(names).filter_map(|(param, name)| match &param.role {
        Role::State(_) | Role::Context => None,
        _ if generic || names_a_handle(param) => Some(quote!(#name: impl ::core::marker::Sized)),
        Role::Entity(entity) => Some(id_param(&name, param, entity, private)),
        Role::Raw => {
            let ty = param.ty();
            Some(quote!(#name: #ty))
        }
    });
    let params = quote!(#(#params),*);
    call_with(function, private, &params, &TokenStream::new(), &quote!(::core::unreachable!()))
}

/// The function with the qualifiers of a computed function.
fn acceptable(function: &Function) -> Function {
    let mut sig = function.sig.clone();
    sig.constness = None;
    sig.unsafety = None;
    sig.abi = None;
    sig.variadic = None;
    sig.asyncness.get_or_insert_with(Async::default);
    Function { sig, ..function.clone() }
}
