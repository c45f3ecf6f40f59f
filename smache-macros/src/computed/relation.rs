//! `relation(…)`: from a changed entity to the ids of an `Entity` argument. Parsed, joined with its parameter,
//! expanded.

use proc_macro2::{Ident, Span, TokenStream};
use quote::quote_spanned;
use syn::{
    Expr, ExprClosure, LitInt, Pat, ReturnType, Token, Type,
    ext::IdentExt,
    parse::{ParseStream, Parser},
};

use super::ast::{Function, Param, Returns, Role};
use crate::{
    errors::Errors,
    expression,
    facade::{first_token, laid_over, located},
    options::Opt,
    written::written,
};

pub(crate) const FORM: &str = "relation(A, |a| a.b_id)";

const TO: &str = "behind the map comes the name of an `Entity` argument: write `to = b`";

/// A relation as written.
pub(crate) struct Relation {
    option: Ident,
    /// The entity that changes.
    pub(crate) from: Type,
    map: Map,
    to: Option<Ident>,
    version: Option<u32>,
    target: Option<Target>,
}

enum Map {
    /// The path of a function.
    Path(Expr),
    /// `|entity| ids`.
    Closure(ExprClosure),
    /// `async |cx, entity| ids`.
    Async(ExprClosure),
}

/// The parameter that the ids are of.
struct Target {
    /// Its position among the arguments of the key.
    key: usize,
    entity: Type,
}

struct Written {
    from: Type,
    map: Expr,
    to: Option<Ident>,
    version: Option<u32>,
}

impl Written {
    /// A text that ends too early is reported at the option: its end is no place in the text.
    fn parse(input: ParseStream<'_>, option: Span) -> syn::Result<Self> {
        let form = |at: Span| {
            let span = if input.is_empty() { option } else { at };
            syn::Error::new(span, format!("a relation is written `{FORM}`"))
        };
        let from = input.parse().map_err(|error| form(error.span()))?;
        input.parse::<Token![,]>().map_err(|error| form(error.span()))?;
        if input.is_empty() {
            return Err(form(option));
        }
        let version = version(input, option)?;
        let map = input.parse().map_err(|error: syn::Error| {
            // The parser's own words describe a mistake within the map.
            let text = error.to_string();
            let ended = input.is_empty() && text.starts_with("unexpected end of input");
            syn::Error::new(if ended { option } else { error.span() }, format!("the map of this relation: {text}"))
        })?;
        let mut to = None;
        if input.parse::<Option<Token![,]>>().map_err(|error| form(error.span()))?.is_some() && !input.is_empty() {
            let word = input.call(Ident::parse_any).map_err(|error| form(error.span()))?;
            if word != "to" {
                return Err(syn::Error::new(word.span(), TO));
            }
            let name = input.parse::<Token![=]>().and_then(|_| input.call(Ident::parse_any));
            to = Some(
                name.map_err(|error| syn::Error::new(if input.is_empty() { word.span() } else { error.span() }, TO))?,
            );
            input.parse::<Option<Token![,]>>()?;
        }
        if input.is_empty() { Ok(Self { from, map, to, version }) } else { Err(form(input.span())) }
    }
}

/// `version = 2,` in front of the map.
fn version(input: ParseStream<'_>, option: Span) -> syn::Result<Option<u32>> {
    let ahead = input.fork();
    let word: Option<Ident> = ahead.parse().ok();
    if word.is_none_or(|word| word != "version") || !ahead.peek(Token![=]) || ahead.peek(Token![==]) {
        return Ok(None);
    }
    let word: Ident = input.parse()?;
    input.parse::<Token![=]>()?;
    let mistake = |at: Span| {
        let message = "the version of a relation is a whole number from 1 to 4294967295, and its map comes behind it: write \
            `relation(A, version = 2, |a| a.b_id)`";
        syn::Error::new(if input.is_empty() { option } else { at }, message)
    };
    let number: LitInt = input.parse().map_err(|_| mistake(word.span()))?;
    let version = number.base10_parse::<u32>().ok().filter(|version| *version > 0);
    let version = version.ok_or_else(|| mistake(number.span()))?;
    input.parse::<Token![,]>().map_err(|_| mistake(word.span()))?;
    Ok(Some(version))
}

impl Relation {
    pub(crate) fn parse(option: &Opt, errors: &mut Errors) -> Option<Self> {
        let list = option.list(errors)?;
        if list.is_empty() {
            errors.at(&option.name, format!("`relation()` names nothing: write `{FORM}`"));
            return None;
        }
        let parse = |input: ParseStream<'_>| Written::parse(input, option.name.span());
        match parse.parse2(list) {
            Ok(Written { from, map, to, version }) => {
                let map = Map::parse(map, errors)?;
                Some(Self { option: option.name.clone(), from, map, to, version, target: None })
            }
            Err(error) => {
                errors.push(error);
                None
            }
        }
    }

    /// Finds the parameter, or says why there is none.
    fn resolve(&mut self, function: &Function, errors: &mut Errors) {
        let keys = function.params.iter().filter(|param| param.role.is_of_the_key()).enumerate();
        let entities: Vec<(usize, &Param, &Type)> = keys
            .filter_map(|(key, param)| match &param.role {
                Role::Entity(entity) => Some((key, param, entity)),
                _ => None,
            })
            .collect();
        let names: Vec<String> =
            entities.iter().filter_map(|(_, param, _)| Some(format!("`{}`", param.name()?))).collect();
        let names = names.join(", ");
        let is_called = |param: &Param, to: &Ident| param.name().is_some_and(|name| name.unraw() == to.unraw());
        let found = match (&self.to, entities.as_slice()) {
            (_, []) => {
                let from = written(&self.from);
                let message = format!(
                    "a relation gives the ids of an `Entity` argument, and there is none: take one, or write \
                     `sources({from})` instead"
                );
                errors.at(&self.option, message);
                None
            }
            (None, [only]) => Some(only),
            (None, _) if names.is_empty() => {
                errors.at(&self.option, "give the `Entity` argument of this relation a name, and say it with `to = …`");
                None
            }
            (None, _) => {
                let message = format!("there are several `Entity` arguments: say which with `to = …`, one of {names}");
                errors.at(&self.option, message);
                None
            }
            (Some(to), all) => {
                let found = all.iter().find(|(_, param, _)| is_called(param, to));
                if found.is_none() {
                    let fix = if names.is_empty() {
                        "give the argument a name".to_owned()
                    } else {
                        format!("write one of {names}")
                    };
                    errors.at(to, format!("`{to}` is no `Entity` argument: {fix}"));
                }
                found
            }
        };
        self.target = found.map(|&(key, _, entity)| Target { key, entity: entity.clone() });
    }

    /// The call on the declaration.
    pub(crate) fn expand(&self, private: &TokenStream) -> Option<TokenStream> {
        let Target { key, entity: to } = self.target.as_ref()?;
        let from = &self.from;
        let text = self.map.text();
        // Laid over the map, because the compiler reports ids of a wrong type there.
        let span = laid_over(self.map.span());
        let [cx, entity, ids] = ["__cx", "__entity", "__ids"].map(|name| Ident::new(name, span));
        let private = &located(private, span);
        let key_of = located(to, span);
        let id = quote_spanned!(span=> <#key_of as #private::EntityType>::Id);
        let into_ids = quote_spanned!(span=> #private::IntoIds::<#id>::into_ids);
        let relation = match &self.map {
            Map::Path(path) => quote_spanned! {span=>
                new(#key, #text, |#entity: &#from| #into_ids(#path(#entity)))
            },
            Map::Closure(closure) => {
                let output = &closure.output;
                let body = &closure.body;
                let binding = closure.inputs.first().map(|pattern| binding(pattern, &entity));
                // A closure in the closure, so that `return` and `?` in the body keep their meaning. The signature of
                // the user's own closure would not let it return references into the entity.
                quote_spanned! {span=>
                    new(#key, #text, |#entity: &#from| {
                        #binding
                        #into_ids((move || #output #body)())
                    })
                }
            }
            Map::Async(closure) => {
                let mut patterns = closure.inputs.iter();
                let bindings = [&cx, &entity]
                    .map(|given| patterns.next().map(|pattern| binding(pattern, given)).unwrap_or_default());
                let body = &closure.body;
                let answer = match &closure.output {
                    // Without a type, the body is the ids, and `?` in it ends the relation.
                    ReturnType::Default => quote_spanned!(span=> let #ids = #body;),
                    ReturnType::Type(_, ty) => {
                        let attempt = matches!(Returns::of(&closure.output), Returns::Result(_))
                            .then(|| quote_spanned!(span=> let #ids = #ids?;));
                        quote_spanned!(span=> let #ids: #ty = async #body.await; #attempt)
                    }
                };
                quote_spanned! {span=>
                    of_async(#key, #text, |#cx, #entity| ::std::boxed::Box::pin(async move {
                        #(#bindings)*
                        #answer
                        ::core::result::Result::Ok::<::std::vec::Vec<#id>, #private::Failure>(#into_ids(#ids))
                    }))
                }
            }
        };
        let version = self.version.map(|version| quote_spanned!(span=> .version(#version)));
        Some(quote_spanned!(span=> .relation(#private::Relation::<#from, #to>::#relation #version)))
    }
}

/// Finds the parameter of each relation. A relation without one is left out.
pub(crate) fn resolve(relations: &mut Vec<Relation>, function: &Function, errors: &mut Errors) {
    for relation in relations.iter_mut() {
        relation.resolve(function, errors);
    }
    relations.retain(|relation| relation.target.is_some());
}

fn binding(pattern: &Pat, given: &Ident) -> TokenStream {
    quote_spanned!(laid_over(first_token(pattern))=> let #pattern = #given;)
}

impl Map {
    fn parse(map: Expr, errors: &mut Errors) -> Option<Self> {
        match map {
            // `$map` of a `macro_rules!` comes in an invisible group.
            Expr::Group(group) => Self::parse(*group.expr, errors),
            Expr::Paren(paren) => Self::parse(*paren.expr, errors),
            Expr::Path(_) => Some(Self::Path(map)),
            Expr::Closure(closure) => Self::closure(closure, errors),
            other => {
                let message = "a relation maps with a closure or with the path of a function: write `|a| …` or `of_a`";
                errors.at(other, message);
                None
            }
        }
    }

    fn closure(closure: ExprClosure, errors: &mut Errors) -> Option<Self> {
        let span = closure.or1_token.spans[0];
        let mistake = match (closure.asyncness.is_some(), closure.inputs.len()) {
            (false, 1) => return Some(Self::Closure(closure)),
            (true, 2) => return Some(Self::Async(closure)),
            (false, 2) => "with the context, a relation is async: write `async |cx, a| …`",
            (false, _) => "a relation is given the changed entity: write `|a| …`",
            (true, _) => "an async relation is given the context and the changed entity: write `async |cx, a| …`",
        };
        errors.at_span(span, mistake);
        None
    }

    /// The text of the map, independent of its layout.
    fn text(&self) -> String {
        match self {
            Self::Path(path) => written(path),
            Self::Closure(closure) | Self::Async(closure) => expression::of_closure(closure),
        }
    }

    fn span(&self) -> Span {
        match self {
            Self::Path(path) => first_token(path),
            Self::Closure(closure) | Self::Async(closure) => first_token(&closure.body),
        }
    }
}
