//! The options in `#[entity(…)]`.

use proc_macro2::{Span, TokenStream};
use syn::{Attribute, Ident, LitStr, Path};

use crate::{
    errors::Errors,
    facade, name,
    options::{self, Known, Opt},
};

const OF_TYPE: &[Known] =
    &[Known::once("source", "source = \"…\""), Known::repeated("index", "index(a, b)"), facade::OPTION];
const OF_FIELD: &[Known] = &[Known::once("id", "id"), Known::once("index", "index"), Known::once("field", "field")];

/// The options of a type.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) source: Option<LitStr>,
    /// The fields of each compound index.
    pub(crate) indexes: Vec<Vec<Ident>>,
    /// Whether a mistake in these options is reported already; if so, a missing option is not reported as well.
    pub(crate) mistaken: bool,
    facade: Option<Path>,
}

/// The options of a field.
pub(crate) struct FieldOptions {
    /// The attribute that makes it the id.
    pub(crate) id: Option<Attribute>,
    /// The mark that makes predicates find entities by it.
    pub(crate) index: Option<Ident>,
    /// The mark that gives it a token.
    pub(crate) field: Option<Ident>,
    /// Whether a mistake in these options is reported already.
    pub(crate) mistaken: bool,
}

impl Options {
    pub(crate) fn parse(attrs: &[Attribute], errors: &mut Errors) -> Self {
        let before = errors.len();
        let mut options = Self::default();
        for (_, option) in options::in_attributes(attrs, "entity", OF_TYPE, errors) {
            match option.name.to_string().as_str() {
                "source" => {
                    options.source = option.string(errors);
                    let mistake =
                        options.source.as_ref().and_then(|source| name::mistake("source id", &source.value()));
                    mistake.into_iter().for_each(|message| errors.at(&options.source, message));
                }
                "index" => options.indexes.extend(index(&option, errors)),
                _ => options.facade = facade::path(&option, errors),
            }
        }
        options.mistaken = errors.len() > before;
        options
    }

    pub(crate) fn private(&self, span: Span) -> TokenStream {
        facade::private(self.facade.as_ref(), span)
    }
}

impl FieldOptions {
    pub(crate) fn parse(attrs: &[Attribute], errors: &mut Errors) -> Self {
        let before = errors.len();
        let mut options = Self { id: None, index: None, field: None, mistaken: false };
        for (attr, option) in options::in_attributes(attrs, "entity", OF_FIELD, errors) {
            if option.flag(errors).is_none() {
                continue;
            }
            match option.name.to_string().as_str() {
                "id" => options.id = Some(attr.clone()),
                "index" => options.index = Some(option.name),
                _ => options.field = Some(option.name),
            }
        }
        options.mistaken = errors.len() > before;
        options
    }

    /// Whether it has a token.
    pub(crate) fn is_marked(&self) -> bool {
        self.index.is_some() || self.field.is_some()
    }
}

/// The fields of a compound index.
fn index(option: &Opt, errors: &mut Errors) -> Option<Vec<Ident>> {
    let list = option.list(errors)?;
    let names = match options::names(list) {
        Ok(names) => names,
        Err(error) => {
            errors.at_span(error.span(), "an index names fields: write `index(a, b)`");
            return None;
        }
    };
    match names.as_slice() {
        [] => errors.at(&option.name, "`index()` names nothing: name the fields as in `index(a, b)`, or remove it"),
        [one] => {
            let message = format!(
                "an index of one field is written at the field: remove this and write `#[entity(index)]` above `{one}`"
            );
            errors.at(one, message);
        }
        _ => {}
    }
    Some(names)
}
