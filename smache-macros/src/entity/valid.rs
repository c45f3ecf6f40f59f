//! The rules for an entity. One error per mistake, each with its fix.

use proc_macro2::{Ident, TokenStream};
use quote::quote;
use syn::{Data, GenericParam, LitStr, Member, ext::IdentExt};

use super::ast::{Field, Input};
use crate::errors::Errors;

/// An entity without a mistake.
pub(crate) struct Entity<'a> {
    pub(crate) source: &'a LitStr,
    pub(crate) id: &'a Field<'a>,
}

pub(crate) fn check<'a>(input: &'a Input<'_>, errors: &mut Errors) -> Option<Entity<'a>> {
    let name = &input.original.ident;
    let kind = match &input.original.data {
        Data::Struct(_) => None,
        Data::Enum(data) => Some(data.enum_token.span),
        Data::Union(data) => Some(data.union_token.span),
    };
    if let Some(span) = kind {
        errors.at_span(span, "an entity is a struct: put this into a field of one, beside its id");
        return None;
    }
    for param in &input.original.generics.params {
        if let GenericParam::Lifetime(lifetime) = param {
            errors.at(lifetime, "an entity owns its data, because it is kept and shared: no lifetime parameters");
        }
    }
    if input.options.source.is_none() && !input.options.mistaken {
        errors.at(name, format!("`{name}` has no source: write `#[entity(source = \"…\")]` above it"));
    }
    let mut ids = input.fields.iter().filter(|field| field.options.id.is_some());
    let id = ids.next();
    if id.is_none() && !input.fields.iter().any(|field| field.options.mistaken) {
        errors.at(name, format!("`{name}` has no id: write `#[entity(id)]` above the field that is its id"));
    }
    for second in ids {
        errors
            .at(&second.options.id, "an entity has one id: put the fields into a struct and keep that, as in `#[entity(id)] #[serde(flatten)] key: Key`");
    }
    tokens(input, errors);
    indexes(input, errors);
    input.stored.check(input.marked(), errors);
    Some(Entity { source: input.options.source.as_ref()?, id: id? })
}

/// Each field with a token has a name, and a constant that no other field has.
fn tokens(input: &Input<'_>, errors: &mut Errors) {
    let mut seen: Vec<(&Ident, Ident)> = Vec::new();
    for field in input.marked() {
        if let (Some(_), Some(mark)) = (&field.options.id, &field.options.index) {
            errors.at(mark, "an entity is loaded by its id, with `cx.load`: remove `index`");
        }
        let (Some(name), Some(constant)) = (&field.original.ident, field.constant()) else {
            for mark in field.options.index.iter().chain(&field.options.field).take(1) {
                let message = format!(
                    "a field of a tuple struct is not stored under a name: write a struct with named fields, or remove `{mark}`"
                );
                errors.at(mark, message);
            }
            continue;
        };
        match seen.iter().find(|(_, other)| *other == constant) {
            Some((first, _)) => {
                let message = format!(
                    "`{first}` and `{name}` would have one constant, `{constant}`: rename one of them and keep its stored name \
                     with `#[serde(rename = \"{name}\")]`"
                );
                errors.at(name, message);
            }
            None => seen.push((name, constant)),
        }
    }
}

fn indexes(input: &Input<'_>, errors: &mut Errors) {
    let is_tuple = input.fields.iter().any(|field| matches!(field.member, Member::Unnamed(_)));
    let mut seen: Vec<Vec<String>> = Vec::new();
    for index in &input.options.indexes {
        let mut names: Vec<String> = Vec::new();
        for name in index {
            let plain = name.unraw().to_string();
            match input.field(name) {
                None if is_tuple => {
                    let message = "a field of a tuple struct is not stored under a name: write a struct with named fields, or \
                        remove this index";
                    errors.at(name, message);
                    break;
                }
                None => {
                    let fields = input.fields.iter().filter_map(|field| field.original.ident.as_ref());
                    let fields: Vec<String> = fields.map(|field| format!("`{field}`")).collect();
                    let message = format!(
                        "`{}` has no field `{plain}`: its fields are {}",
                        input.original.ident,
                        fields.join(", ")
                    );
                    errors.at(name, message);
                }
                Some(field) if field.options.id.is_some() => {
                    let message = format!(
                        "`{plain}` is the id, and an entity is loaded by its id with `cx.load`: leave it out of the index"
                    );
                    errors.at(name, message);
                }
                Some(_) if names.contains(&plain) => {
                    errors.at(name, format!("the field `{plain}` is in this index twice: keep one"));
                }
                Some(_) => {}
            }
            names.push(plain);
        }
        // All fields are compared with equality, so another order is the same index.
        names.sort();
        if index.len() > 1 && seen.contains(&names) {
            errors.at(list(index), "an index over these fields is there already: keep one");
        }
        seen.push(names);
    }
}

fn list(index: &[Ident]) -> TokenStream {
    quote!(#(#index)*)
}
