//! The input of `#[derive(Entity)]`.

use proc_macro2::Ident;
use syn::{Data, DeriveInput, Index, Member, Type, ext::IdentExt};

use super::{
    attr::{FieldOptions, Options},
    stored::Container,
};
use crate::errors::Errors;

/// A type and its options.
pub(crate) struct Input<'a> {
    pub(crate) original: &'a DeriveInput,
    pub(crate) options: Options,
    pub(crate) stored: Container,
    pub(crate) fields: Vec<Field<'a>>,
}

/// A field of a struct, named or by its position.
pub(crate) struct Field<'a> {
    pub(crate) original: &'a syn::Field,
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
        Self { original, options, stored: Container::of(&original.attrs), fields }
    }

    /// The fields that have a token: those with a mark and those in a compound index.
    pub(crate) fn marked(&self) -> impl Iterator<Item = &Field<'a>> + Clone {
        let named = |field: &Field<'_>| self.options.indexes.iter().flatten().any(|name| field.is_called(name));
        self.fields.iter().filter(move |field| field.options.is_marked() || named(field))
    }

    /// The field of a name.
    pub(crate) fn field(&self, name: &Ident) -> Option<&Field<'a>> {
        self.fields.iter().find(|field| field.is_called(name))
    }
}

impl<'a> Field<'a> {
    fn parse((index, original): (usize, &'a syn::Field), errors: &mut Errors) -> Self {
        let member = original.ident.clone().map_or_else(|| Member::Unnamed(Index::from(index)), Member::Named);
        Self { original, options: FieldOptions::parse(&original.attrs, errors), member, ty: &original.ty }
    }

    /// The name of the constant for its token, where it has one.
    pub(crate) fn constant(&self) -> Option<Ident> {
        self.original.ident.as_ref().map(constant)
    }

    fn is_called(&self, name: &Ident) -> bool {
        self.original.ident.as_ref().is_some_and(|own| own.unraw() == name.unraw())
    }
}

/// The name of the constant for a field of a name.
pub(crate) fn constant(field: &Ident) -> Ident {
    Ident::new(&field.unraw().to_string().to_uppercase(), field.span())
}
