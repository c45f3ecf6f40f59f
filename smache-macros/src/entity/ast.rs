//! The type that `#[derive(Entity)]` stands on.

use syn::{Data, DeriveInput, Index, Member, Type};

use super::attr::{FieldOptions, Options};
use crate::errors::Errors;

/// A type and its options.
pub(crate) struct Input<'a> {
    pub(crate) original: &'a DeriveInput,
    pub(crate) options: Options,
    pub(crate) fields: Vec<Field<'a>>,
}

/// A field of a struct, named or by its position.
pub(crate) struct Field<'a> {
    pub(crate) options: FieldOptions,
    pub(crate) member: Member,
    pub(crate) ty: &'a Type,
}

impl<'a> Input<'a> {
    pub(crate) fn parse(original: &'a DeriveInput, errors: &mut Errors) -> Self {
        let options = Options::parse(&original.attrs, errors);
        let fields = match &original.data {
            Data::Struct(data) => data.fields.iter().enumerate().map(|field| Field::parse(field, errors)).collect(),
            Data::Enum(_) | Data::Union(_) => Vec::new(),
        };
        Self { original, options, fields }
    }
}

impl<'a> Field<'a> {
    fn parse((index, original): (usize, &'a syn::Field), errors: &mut Errors) -> Self {
        let member = original.ident.clone().map_or_else(|| Member::Unnamed(Index::from(index)), Member::Named);
        Self { options: FieldOptions::parse(&original.attrs, errors), member, ty: &original.ty }
    }
}
