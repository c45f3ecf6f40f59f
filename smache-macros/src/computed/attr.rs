//! The options of `#[computed(…)]`, and the places of the function's other attributes.

use std::time::Duration;

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use syn::{
    Attribute, Expr, ExprLit, Ident, Lit, LitStr, Meta, Path, Token, Type,
    ext::IdentExt,
    parse::{Parse, ParseStream, Parser},
    punctuated::Punctuated,
};

use super::relation::{self, Relation};
use crate::{
    duration,
    errors::Errors,
    facade, name,
    options::{self, Known, Opt},
    written::written,
};

const KNOWN: &[Known] = &[
    Known::once("id", "id = \"…\""),
    Known::once("version", "version = 2"),
    Known::once("ttl", "ttl = \"10m\""),
    Known::once("timeout", "timeout = \"30s\""),
    Known::once("refresh", "refresh = \"on_read\""),
    Known::once("cache_errors", "cache_errors = \"10s\""),
    Known::once("on_permanent", "on_permanent = \"remove\""),
    Known::once("sources", "sources(A, B)"),
    Known::once("reads", "reads(A, B)"),
    Known::once("calls", "calls(f, g)"),
    Known::repeated("relation", relation::FORM),
    facade::OPTION,
];

/// The options of a function.
#[derive(Default)]
pub(crate) struct Options {
    id: Option<LitStr>,
    pub(crate) version: Option<u32>,
    pub(crate) ttl: Option<Duration>,
    pub(crate) timeout: Option<Duration>,
    /// Whether the next reader computes, instead of a worker.
    pub(crate) refresh_on_read: Option<bool>,
    pub(crate) cache_errors: Option<Duration>,
    /// Whether a permanent error removes the value.
    pub(crate) remove_on_permanent: Option<bool>,
    pub(crate) sources: Vec<Type>,
    pub(crate) reads: Vec<Type>,
    pub(crate) calls: Vec<Path>,
    pub(crate) relations: Vec<Relation>,
    facade: Option<Path>,
}

impl Options {
    pub(crate) fn parse(tokens: TokenStream, errors: &mut Errors) -> Self {
        let mut options = Self::default();
        for option in options::parse(tokens, KNOWN, &mut Vec::new(), errors) {
            match option.name.to_string().as_str() {
                "id" => options.id = option.string(errors).filter(|id| check_id(id, &id.value(), errors)),
                "version" => options.version = version(&option, errors),
                "ttl" => options.ttl = duration(&option, errors),
                "timeout" => options.timeout = duration(&option, errors),
                "refresh" => options.refresh_on_read = refresh(&option, errors),
                "cache_errors" => options.cache_errors = duration(&option, errors),
                "on_permanent" => options.remove_on_permanent = on_permanent(&option, errors),
                "sources" => options.sources = types(&option, "source", errors),
                "reads" => options.reads = types(&option, "source", errors),
                "calls" => options.calls = calls(&option, errors),
                "relation" => options.relations.extend(Relation::parse(&option, errors)),
                _ => options.facade = facade::path(&option, errors),
            }
        }
        options.reads.retain(|read| {
            let covered = options.sources.contains(read);
            if covered {
                let message =
                    format!("`{}` is in `sources`, which covers what is read of it: remove it here", written(read));
                errors.at(read, message);
            }
            !covered
        });
        options
    }

    /// Makes the function's name the id where no valid id is declared.
    pub(crate) fn default_id(&mut self, function: &Ident, errors: &mut Errors) {
        if self.id.is_none() {
            let id = function.unraw().to_string();
            check_id(function, &id, errors);
            self.id = Some(LitStr::new(&id, Span::call_site()));
        }
    }

    pub(crate) fn id(&self) -> String {
        self.id.as_ref().map(LitStr::value).unwrap_or_default()
    }

    /// The path of all items that generated code uses.
    pub(crate) fn private(&self, span: Span) -> TokenStream {
        facade::private(self.facade.as_ref(), span)
    }
}

fn check_id(at: impl ToTokens, id: &str, errors: &mut Errors) -> bool {
    let mistake = name::mistake("function id", id);
    if let Some(message) = &mistake {
        errors.at(at, message);
    }
    mistake.is_none()
}

fn version(option: &Opt, errors: &mut Errors) -> Option<u32> {
    let literal = option.integer(errors)?;
    let version = literal.base10_parse::<u32>().ok().filter(|&version| version > 0);
    if version.is_none() {
        errors.at(&literal, "a version is a whole number from 1 to 4294967295");
    }
    version
}

fn duration(option: &Opt, errors: &mut Errors) -> Option<Duration> {
    let text = option.string(errors)?;
    match duration::parse(&text.value()) {
        Ok(duration) => Some(duration),
        Err(message) => {
            errors.at(&text, message);
            None
        }
    }
}

fn refresh(option: &Opt, errors: &mut Errors) -> Option<bool> {
    let text = option.string(errors)?;
    match text.value().as_str() {
        "background" => Some(false),
        "on_read" => Some(true),
        _ => {
            let fix = "write `\"background\"`, so that a worker recomputes a stale result, or `\"on_read\"`, so that its next reader does";
            errors.at(&text, format!("there is no such way to refresh: {fix}"));
            None
        }
    }
}

fn on_permanent(option: &Opt, errors: &mut Errors) -> Option<bool> {
    let text = option.string(errors)?;
    match text.value().as_str() {
        "keep" => Some(false),
        "remove" => Some(true),
        _ => {
            errors.at(&text, "what a permanent error does with the stored value is `\"keep\"` or `\"remove\"`");
            None
        }
    }
}

/// The types in `sources(A, B)` and its like.
fn types(option: &Opt, what: &str, errors: &mut Errors) -> Vec<Type> {
    list(option, Type::parse, &format!("a {what} is the type of its entities"), "the entities", errors)
}

fn calls(option: &Opt, errors: &mut Errors) -> Vec<Path> {
    list(option, Path::parse_mod_style, "a function is called by its name alone", "the functions", errors)
}

/// The items between the commas of `name(…)`, each once.
fn list<T: ToTokens + PartialEq>(
    option: &Opt,
    parse: fn(ParseStream<'_>) -> syn::Result<T>,
    rule: &str,
    what: &str,
    errors: &mut Errors,
) -> Vec<T> {
    let Some(list) = option.list(errors) else { return Vec::new() };
    let (name, form) = (&option.name, option.form);
    let parser = |input: ParseStream<'_>| Punctuated::<T, Token![,]>::parse_terminated_with(input, parse);
    let parsed = match parser.parse2(list) {
        Ok(parsed) => parsed,
        Err(error) => {
            errors.at_span(error.span(), format!("{rule}: write `{form}`"));
            return Vec::new();
        }
    };
    if parsed.is_empty() {
        errors.at(name, format!("`{name}()` names nothing: name {what} as in `{form}`, or leave it away"));
    }
    let mut once: Vec<T> = Vec::new();
    for item in parsed {
        if once.contains(&item) {
            errors.at(&item, format!("`{}` is in `{name}` twice: keep one", written(&item)));
        } else {
            once.push(item);
        }
    }
    once
}

/// The other attributes of the function, by the generated item that they belong to.
#[derive(Clone, Default)]
pub(crate) struct Attributes {
    /// `#[computed]` again.
    pub(crate) again: Vec<Attribute>,
    /// For everything: `#[cfg]` and `#[doc(hidden)]`.
    pub(crate) all: Vec<TokenStream>,
    /// For the function that makes the call: its docs, `#[deprecated]` and `#[must_use]`.
    pub(crate) call: Vec<TokenStream>,
    /// For the body: lints, `#[inline]`, attributes of other crates such as `#[tracing::instrument]`.
    pub(crate) body: Vec<TokenStream>,
    /// The first paragraph of the docs.
    pub(crate) summary: Vec<String>,
}

impl Attributes {
    pub(crate) fn split(attrs: Vec<Attribute>) -> Self {
        let mut split = Self::default();
        let mut summary_ended = false;
        for attr in attrs {
            if attr.path().segments.last().is_some_and(|last| last.ident == "computed") {
                split.again.push(attr);
                continue;
            }
            if let Some(text) = doc_text(&attr.meta) {
                for line in text.split('\n').map(str::trim) {
                    summary_ended |= line.is_empty() && !split.summary.is_empty();
                    if !summary_ended && !line.is_empty() {
                        split.summary.push(line.to_owned());
                    }
                }
            }
            match conditional(&attr.meta) {
                // One at a time, because the attributes under one condition may go to different items.
                Some((condition, metas)) => {
                    for meta in metas {
                        split.put(&meta, &quote!(#[cfg_attr(#condition, #meta)]));
                    }
                }
                None => split.put(&attr.meta, &attr.to_token_stream()),
            }
        }
        split
    }

    fn put(&mut self, meta: &Meta, attr: &TokenStream) {
        let path = meta.path();
        let hidden = matches!(meta, Meta::List(list) if list.tokens.to_string() == "hidden");
        let lists: &mut [&mut Vec<TokenStream>] = if path.is_ident("cfg") || (path.is_ident("doc") && hidden) {
            &mut [&mut self.all]
        } else if path.is_ident("doc") || path.is_ident("deprecated") || path.is_ident("must_use") {
            &mut [&mut self.call]
        } else if path.is_ident("allow") {
            // Unlike `expect`, which would find nothing in one of the two.
            &mut [&mut self.call, &mut self.body]
        } else {
            &mut [&mut self.body]
        };
        for list in lists {
            list.push(attr.clone());
        }
    }
}

fn doc_text(meta: &Meta) -> Option<String> {
    match meta {
        Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value()),
            _ => None,
        },
        _ => None,
    }
}

fn conditional(meta: &Meta) -> Option<(Meta, Vec<Meta>)> {
    let Meta::List(list) = meta else { return None };
    if !list.path.is_ident("cfg_attr") {
        return None;
    }
    let metas = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated).ok()?;
    let mut metas = metas.into_iter();
    Some((metas.next()?, metas.collect()))
}
