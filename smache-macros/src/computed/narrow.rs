//! `#[entity(fields(…))]` on a parameter: the function reads these fields of the entity and no others.

use proc_macro2::{Ident, TokenStream};
use quote::quote_spanned;
use syn::{Attribute, FnArg, Type, ext::IdentExt};

use super::{
    ast::{Function, Param, Role},
    valid::names_a_handle,
};
use crate::{
    entity,
    errors::Errors,
    facade::{laid_over, relaid},
    options::{self, Known, Opt},
};

const KNOWN: &[Known] = &[Known::once("fields", "fields(a, b)")];

/// Takes the attribute from the parameters. One with a mistake is left out.
pub(super) fn take(function: &mut Function, errors: &mut Errors) {
    for input in &mut function.sig.inputs {
        let (FnArg::Typed(syn::PatType { attrs, .. }) | FnArg::Receiver(syn::Receiver { attrs, .. })) = input;
        attrs.retain(|attr| !is_ours(attr));
    }
    for param in &mut function.params {
        let attrs: Vec<Attribute> = param.written.attrs.extract_if(.., |attr| is_ours(attr)).collect();
        let before = errors.len();
        let options = options::in_attributes(&attrs, "entity", KNOWN, errors);
        let is_entity = matches!(param.role, Role::Entity(_));
        for (attr, option) in options {
            if is_entity {
                param.narrowed = fields(&option, errors);
            } else if errors.len() == before && !names_a_handle(param) {
                // An `Entity` in another form is a mistake that is reported elsewhere.
                let message = "only an `Entity<T>` is narrowed to some of its fields: remove this attribute";
                errors.at(attr, message);
            }
        }
    }
}

fn is_ours(attr: &Attribute) -> bool {
    attr.path().is_ident("entity")
}

fn fields(option: &Opt, errors: &mut Errors) -> Vec<Ident> {
    let Some(list) = option.list(errors) else { return Vec::new() };
    let names = match options::names(list) {
        Ok(names) => names,
        Err(error) => {
            errors.at_span(error.span(), "the fields of an entity are written by name: `fields(a, b)`");
            return Vec::new();
        }
    };
    if names.is_empty() {
        let message = "`fields()` names nothing: name what the function reads as in `fields(a, b)`, or remove it";
        errors.at(&option.name, message);
    }
    let mut fields: Vec<Ident> = Vec::new();
    for name in names {
        if fields.iter().any(|field| field.unraw() == name.unraw()) {
            errors.at(&name, format!("the field `{}` is there twice: keep one", name.unraw()));
        } else {
            fields.push(name);
        }
    }
    fields
}

/// The fields to which a parameter is narrowed, if it is.
pub(super) fn expand(param: &Param, entity: &Type, private: &TokenStream) -> Option<TokenStream> {
    let first = param.narrowed.first()?;
    let mut tokens = param.narrowed.iter().map(|field| {
        let constant = relaid(&entity::constant(field));
        quote_spanned!(constant.span()=> <#entity>::#constant)
    });
    let one = tokens.next();
    Some(quote_spanned! {laid_over(first.span())=>
        <#private::Fields<#entity> as ::core::convert::From<_>>::from(#one) #(| #tokens)*
    })
}
