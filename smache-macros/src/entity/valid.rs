//! What an entity may look like. One error a mistake, each with its fix.

use syn::{Data, GenericParam, LitStr};

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
            .at(&second.options.id, "an entity has one id: put the fields into a struct, or keep one `#[entity(id)]`");
    }
    Some(Entity { source: input.options.source.as_ref()?, id: id? })
}
