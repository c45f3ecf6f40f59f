//! The options between the parentheses of an attribute. Read by hand, because one bad option must not hide the next.

use proc_macro2::{Delimiter, Ident, TokenStream, TokenTree};
use quote::quote;
use syn::{
    Attribute, LitInt, LitStr, Meta, Token, ext::IdentExt, parse::ParseStream, parse::Parser, punctuated::Punctuated,
};

use crate::errors::Errors;

/// An option that an attribute knows.
pub(crate) struct Known {
    name: &'static str,
    /// How it is written, for messages.
    pub(crate) form: &'static str,
    repeats: bool,
}

impl Known {
    /// An option that may be there once.
    pub(crate) const fn once(name: &'static str, form: &'static str) -> Self {
        Self { name, form, repeats: false }
    }

    /// An option that may be there any number of times.
    pub(crate) const fn repeated(name: &'static str, form: &'static str) -> Self {
        Self { name, form, repeats: true }
    }
}

/// An option as written.
pub(crate) struct Opt {
    pub(crate) name: Ident,
    pub(crate) form: &'static str,
    value: Value,
}

enum Value {
    None,
    Equals(TokenStream),
    List(TokenStream),
}

/// The known options, each as often as it may be there; all others are mistakes.
pub(crate) fn parse(tokens: TokenStream, known: &[Known], seen: &mut Vec<String>, errors: &mut Errors) -> Vec<Opt> {
    let pieces = split_at_commas(tokens);
    pieces.into_iter().filter_map(|piece| parse_one(piece, known, seen, errors)).collect()
}

/// The options in all attributes of a name, each with its attribute.
pub(crate) fn in_attributes<'a>(
    attrs: &'a [Attribute],
    name: &str,
    known: &[Known],
    errors: &mut Errors,
) -> Vec<(&'a Attribute, Opt)> {
    let mut seen = Vec::new();
    let mut all = Vec::new();
    for attr in attrs.iter().filter(|attr| attr.path().is_ident(name)) {
        match &attr.meta {
            Meta::List(list) => {
                let options = parse(list.tokens.clone(), known, &mut seen, errors);
                all.extend(options.into_iter().map(|option| (attr, option)));
            }
            _ => {
                let forms: Vec<String> = known.iter().map(|known| format!("`#[{name}({})]`", known.form)).collect();
                errors.at(attr, format!("write {}", forms.join(" or ")));
            }
        }
    }
    all
}

fn parse_one(piece: Vec<TokenTree>, known: &[Known], seen: &mut Vec<String>, errors: &mut Errors) -> Option<Opt> {
    let whole: TokenStream = piece.iter().cloned().collect();
    let mut piece = piece.into_iter();
    let names = || known.iter().map(|known| format!("`{}`", known.form)).collect::<Vec<_>>().join(", ");
    let Some(TokenTree::Ident(name)) = piece.next() else {
        errors.at(whole, format!("this is not an option: write {}", names()));
        return None;
    };
    let Some(&Known { form, repeats, .. }) = known.iter().find(|known| name == known.name) else {
        errors.at(whole, format!("unknown option `{name}`: the options are {}", names()));
        return None;
    };
    if !repeats && seen.contains(&name.to_string()) {
        errors.at(whole, format!("the option `{name}` is there twice: keep one"));
        return None;
    }
    seen.push(name.to_string());
    let value = match piece.next() {
        None => Value::None,
        Some(TokenTree::Punct(punct)) if punct.as_char() == '=' => Value::Equals(piece.by_ref().collect()),
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Parenthesis => Value::List(group.stream()),
        Some(_) => {
            errors.at(whole, format!("the option `{name}` is written `{form}`"));
            return None;
        }
    };
    let option = Opt { name, form, value };
    if piece.next().is_some() {
        errors.at(whole, format!("the option `{}` is written `{form}`", option.name));
        return None;
    }
    Some(option)
}

fn split_at_commas(tokens: TokenStream) -> Vec<Vec<TokenTree>> {
    let mut pieces = vec![Vec::new()];
    for token in tokens {
        match (&token, pieces.last_mut()) {
            (TokenTree::Punct(punct), _) if punct.as_char() == ',' => pieces.push(Vec::new()),
            (_, Some(piece)) => piece.push(token),
            (_, None) => {}
        }
    }
    // An empty piece is a trailing comma, or a doubled one that does no harm.
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

/// Names of fields between commas. A keyword is one too, because `type` is the name of the field `r#type`.
pub(crate) fn names(list: TokenStream) -> syn::Result<Vec<Ident>> {
    let parse = |input: ParseStream<'_>| Punctuated::<Ident, Token![,]>::parse_terminated_with(input, Ident::parse_any);
    parse.parse2(list).map(|names| names.into_iter().collect())
}

impl Opt {
    /// The value of `name = "…"`.
    pub(crate) fn string(&self, errors: &mut Errors) -> Option<LitStr> {
        self.literal(errors)
    }

    /// The value of `name = 1`.
    pub(crate) fn integer(&self, errors: &mut Errors) -> Option<LitInt> {
        self.literal(errors)
    }

    /// The tokens of `name(…)`.
    pub(crate) fn list(&self, errors: &mut Errors) -> Option<TokenStream> {
        match &self.value {
            Value::List(list) => Some(list.clone()),
            _ => self.wrong_form(errors),
        }
    }

    /// The bare name.
    pub(crate) fn flag(&self, errors: &mut Errors) -> Option<()> {
        match &self.value {
            Value::None => Some(()),
            _ => self.wrong_form(errors),
        }
    }

    fn literal<T: syn::parse::Parse>(&self, errors: &mut Errors) -> Option<T> {
        match &self.value {
            Value::Equals(value) => syn::parse2(value.clone()).ok().or_else(|| self.wrong_form(errors)),
            _ => self.wrong_form(errors),
        }
    }

    fn wrong_form<T>(&self, errors: &mut Errors) -> Option<T> {
        let name = &self.name;
        let value = match &self.value {
            Value::None => TokenStream::new(),
            Value::Equals(value) | Value::List(value) => value.clone(),
        };
        errors.at(quote!(#name #value), format!("the option `{name}` is written `{}`", self.form));
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Known] = &[
        Known::once("id", "id = \"…\""),
        Known::once("version", "version = 2"),
        Known::once("sources", "sources(A, B)"),
        Known::repeated("index", "index(a, b)"),
    ];

    fn mistakes(tokens: &str) -> Vec<String> {
        let mut errors = Errors::default();
        let options = parse(tokens.parse().expect("tokens"), KNOWN, &mut Vec::new(), &mut errors);
        for option in options {
            match option.name.to_string().as_str() {
                "id" => drop(option.string(&mut errors)),
                "version" => drop(option.integer(&mut errors)),
                _ => drop(option.list(&mut errors)),
            }
        }
        errors.messages()
    }

    #[test]
    fn good_options_are_read_in_any_order() {
        assert_eq!(mistakes(""), [""; 0]);
        assert_eq!(mistakes("index(a, b), sources(A, B<C, D>), index(c, d), version = 3, id = \"x\","), [""; 0]);
    }

    #[test]
    fn one_bad_option_does_not_hide_the_next() {
        let messages = mistakes("id, version = \"x\", 7, sources = [A], nonsense = 1, id = \"y\", version 2");
        assert_eq!(
            messages,
            [
                "this is not an option: write `id = \"…\"`, `version = 2`, `sources(A, B)`, `index(a, b)`",
                "unknown option `nonsense`: the options are `id = \"…\"`, `version = 2`, `sources(A, B)`, `index(a, b)`",
                "the option `id` is there twice: keep one",
                "the option `version` is there twice: keep one",
                "the option `id` is written `id = \"…\"`",
                "the option `version` is written `version = 2`",
                "the option `sources` is written `sources(A, B)`",
            ]
        );
    }

    #[test]
    fn a_value_with_more_behind_it_is_refused() {
        assert_eq!(mistakes("sources(A) B"), ["the option `sources` is written `sources(A, B)`"]);
        assert_eq!(mistakes("version: 2"), ["the option `version` is written `version = 2`"]);
    }
}
