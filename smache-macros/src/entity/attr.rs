//! The options in `#[entity(…)]`.

use proc_macro2::{Span, TokenStream};
use syn::{Attribute, LitStr, Meta, Path};

use crate::{
    errors::Errors,
    facade, name,
    options::{self, Known, Opt},
};

const OF_TYPE: &[Known] = &[("source", "source = \"…\""), facade::OPTION];
const OF_FIELD: &[Known] = &[("id", "id")];

/// The options of a type.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) source: Option<LitStr>,
    /// Whether a mistake in here is reported already; then nothing is said to be missing.
    pub(crate) mistaken: bool,
    facade: Option<Path>,
}

/// The options of a field.
pub(crate) struct FieldOptions {
    /// The attribute that makes it the id.
    pub(crate) id: Option<Attribute>,
    /// Whether a mistake in here is reported already.
    pub(crate) mistaken: bool,
}

impl Options {
    pub(crate) fn parse(attrs: &[Attribute], errors: &mut Errors) -> Self {
        let before = errors.len();
        let mut options = Self::default();
        for (_, option) in in_attributes(attrs, OF_TYPE, errors) {
            if option.name == "source" {
                options.source = option.string(errors);
                let mistake = options.source.as_ref().and_then(|source| name::mistake("source id", &source.value()));
                mistake.into_iter().for_each(|message| errors.at(&options.source, message));
            } else {
                options.facade = facade::path(&option, errors);
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
        let mut id = None;
        for (attr, option) in in_attributes(attrs, OF_FIELD, errors) {
            if option.flag(errors).is_some() {
                id = Some(attr.clone());
            }
        }
        Self { id, mistaken: errors.len() > before }
    }
}

fn in_attributes<'a>(attrs: &'a [Attribute], known: &[Known], errors: &mut Errors) -> Vec<(&'a Attribute, Opt)> {
    let mut seen = Vec::new();
    let mut all = Vec::new();
    for attr in attrs.iter().filter(|attr| attr.path().is_ident("entity")) {
        match &attr.meta {
            Meta::List(list) => {
                let options = options::parse(list.tokens.clone(), known, &mut seen, errors);
                all.extend(options.into_iter().map(|option| (attr, option)));
            }
            _ => {
                let forms: Vec<String> = known.iter().map(|(_, form)| format!("`#[entity({form})]`")).collect();
                errors.at(attr, format!("write {}", forms.join(" or ")));
            }
        }
    }
    all
}
