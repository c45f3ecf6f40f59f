//! The rules for a computed function. One error per mistake, each with its fix.

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::{Attribute, FnArg, GenericParam, Pat, Type};

use super::ast::{Function, Param, Returns, Role, is_context, peel};
use crate::{errors::Errors, written::written};

/// As many as the traits of the standard library and of serde are implemented for tuples.
const MOST_ARGUMENTS: usize = 12;

pub(crate) fn check(function: &Function, errors: &mut Errors) {
    for attr in &function.attrs.again {
        errors.at(attr, "`#[computed]` is there twice: keep one");
    }
    qualifiers(function, errors);
    let before = errors.len();
    for param in &function.params {
        mistake(param).into_iter().for_each(|error| errors.push(error));
    }
    // A function that is not async may well return a future; that is the same mistake.
    let returned = mistaken_return(function).filter(|_| function.sig.asyncness.is_some());
    returned.into_iter().for_each(|error| errors.push(error));
    generics(function, errors.len() > before, errors);
    counts(function, errors);
}

fn qualifiers(function: &Function, errors: &mut Errors) {
    let sig = &function.sig;
    if let Some(constness) = &sig.constness {
        errors.at(constness, "a computed function runs in workers and cannot be `const`: remove it");
    }
    if let Some(unsafety) = &sig.unsafety {
        errors.at(
            unsafety,
            "a computed function is called by workers and cannot be `unsafe`: use an `unsafe` block inside",
        );
    }
    if let Some(abi) = &sig.abi {
        errors.at(abi, "a computed function is called by workers and cannot be `extern`: remove it");
    }
    if let Some(variadic) = &sig.variadic {
        errors.at(variadic, "a computed function has a fixed number of arguments: take a `Vec<T>`");
    }
    if sig.asyncness.is_none() && sig.constness.is_none() {
        errors.at(sig.fn_token, format!("a computed function is async: write `async fn {}`", sig.ident));
    }
    for input in &sig.inputs {
        if let FnArg::Receiver(receiver) = input {
            let message = "a computed function is not a method: make it a free function and take what it needs as arguments, \
                `Entity<T>` or `State<T>`";
            errors.at(receiver, message);
        }
    }
}

fn generics(function: &Function, borrows: bool, errors: &mut Errors) {
    for param in &function.sig.generics.params {
        match param {
            // Where a borrowed type is reported already, the lifetime is part of that mistake.
            GenericParam::Lifetime(_) if borrows => {}
            GenericParam::Lifetime(lifetime) => {
                errors.at(
                    lifetime,
                    "a computed function has no lifetime parameters: arguments and results travel to workers",
                );
            }
            GenericParam::Type(_) | GenericParam::Const(_) => {
                errors.at(
                    param,
                    "a computed function is not generic: what is stored has one type, so write a function for each",
                );
            }
        }
    }
}

fn counts(function: &Function, errors: &mut Errors) {
    let contexts = function.params.iter().filter(|param| matches!(param.role, Role::Context));
    for param in contexts.skip(1) {
        errors.at(&param.written, "there is one context: use the other `&Cx`");
    }
    let arguments = function.params.iter().filter(|param| param.role.is_of_the_key());
    if let Some(param) = arguments.clone().nth(MOST_ARGUMENTS) {
        let message = format!(
            "a computed function takes at most {MOST_ARGUMENTS} arguments and this one takes {}: put some into a struct",
            arguments.count()
        );
        errors.at(&param.written, message);
    }
}

/// The mistake in the return type, if there is one.
pub(crate) fn mistaken_return(function: &Function) -> Option<syn::Error> {
    let (Returns::Value(ty) | Returns::Result(ty)) = &function.returns else { return None };
    let found = Found::of(ty.to_token_stream());
    if let Some(at) = found.opaque {
        return Some(syn::Error::new_spanned(at, "a result is stored and needs a type with a name: not `impl Trait`"));
    }
    let message = "a result is stored and cannot be borrowed: return an owned value, for example a `String`";
    found.borrowed.or(found.lifetime).map(|at| syn::Error::new_spanned(at, message))
}

/// The mistake in a parameter, if there is one.
fn mistake(param: &Param) -> Option<syn::Error> {
    param.written.attrs.iter().find_map(conditional).or_else(|| pattern(&param.written.pat)).or_else(|| in_type(param))
}

fn conditional(attr: &Attribute) -> Option<syn::Error> {
    let path = attr.path();
    let message = "a parameter cannot be conditional: write two functions, each with its own `#[cfg]`";
    (path.is_ident("cfg") || path.is_ident("cfg_attr")).then(|| syn::Error::new_spanned(attr, message))
}

fn pattern(pat: &Pat) -> Option<syn::Error> {
    match pat {
        Pat::Ident(ident) if ident.subpat.is_none() => None,
        Pat::Wild(_) => None,
        other => Some(syn::Error::new_spanned(other, "a parameter needs a name: take it apart in the body")),
    }
}

fn in_type(param: &Param) -> Option<syn::Error> {
    let ty = param.ty();
    let error = |at: TokenStream, message: String| Some(syn::Error::new_spanned(at, message));
    let found = Found::of(ty.to_token_stream());
    if let Some(at) = found.opaque {
        return error(at, "an argument needs a type with a name: not `impl Trait`".to_owned());
    }
    match &param.role {
        Role::Context => {
            let is_static = matches!(peel(ty), Type::Reference(to) if to.lifetime.as_ref().is_some_and(|name| name.ident == "static"));
            let message = "the context lives as long as the run: write `&Cx`";
            return if is_static { error(ty.to_token_stream(), message.to_owned()) } else { None };
        }
        // The inner type is one of the application; only a lifetime would be out of place.
        Role::Entity(_) | Role::State(_) => {
            let message = "entities and states are owned by the application: no lifetime but `'static`";
            return found.lifetime.and_then(|at| error(at, message.to_owned()));
        }
        Role::Raw => {}
    }
    match peel(ty) {
        ty if is_context(ty) => error(ty.to_token_stream(), "the context is borrowed: write `&Cx`".to_owned()),
        Type::Reference(reference) => Some(reference_to(peel(&reference.elem), reference)),
        _ if found.context => error(ty.to_token_stream(), "the context comes by itself: write `&Cx`".to_owned()),
        _ if found.entity => {
            let message = "only `Entity<T>` itself is loaded: take the ids and call `cx.load` or `cx.load_many`";
            error(ty.to_token_stream(), message.to_owned())
        }
        _ if found.state => error(
            ty.to_token_stream(),
            "only `State<T>` itself is given: take it without anything around it".to_owned(),
        ),
        _ => found.borrowed.or(found.lifetime).and_then(|at| {
            error(at, "an argument cannot borrow: take an owned type; arguments travel to workers".to_owned())
        }),
    }
}

/// Whether a type that is no entity, state or context contains one. It is not clear what a caller passes for it.
pub(crate) fn names_a_handle(param: &Param) -> bool {
    let found = Found::of(param.ty().to_token_stream());
    matches!(param.role, Role::Raw) && (found.entity || found.state || found.context)
}

fn reference_to(target: &Type, reference: &syn::TypeReference) -> syn::Error {
    let text = written(target);
    let message = if is_context(target) {
        "the context is shared: write `&Cx`".to_owned()
    } else if text == "str" {
        "take `String`: arguments travel to workers".to_owned()
    } else if let Type::Slice(slice) = target {
        format!("take `Vec<{}>`: arguments travel to workers", written(&slice.elem))
    } else {
        let found = Found::of(target.to_token_stream());
        if found.entity || found.state {
            format!("take `{text}` itself: it is a cheap handle")
        } else if text.ends_with(|last: char| last.is_alphanumeric())
            && text.contains(char::is_uppercase)
            && text != "String"
        {
            format!("take `{text}`, or `Entity<{text}>` if it is an entity: arguments travel to workers")
        } else {
            format!("take `{text}`: arguments travel to workers")
        }
    };
    syn::Error::new_spanned(reference, message)
}

/// The notable parts anywhere within a type.
#[derive(Default)]
struct Found {
    opaque: Option<TokenStream>,
    borrowed: Option<TokenStream>,
    lifetime: Option<TokenStream>,
    context: bool,
    entity: bool,
    state: bool,
}

impl Found {
    fn of(tokens: TokenStream) -> Self {
        let mut found = Self::default();
        found.look(tokens);
        found
    }

    fn look(&mut self, tokens: TokenStream) {
        let mut tokens = tokens.into_iter().peekable();
        while let Some(token) = tokens.next() {
            match &token {
                TokenTree::Group(group) => self.look(group.stream()),
                TokenTree::Punct(punct) if punct.as_char() == '&' && self.borrowed.is_none() => {
                    self.borrowed = Some(token.to_token_stream());
                }
                TokenTree::Punct(punct) if punct.as_char() == '\'' => {
                    if let Some(name) = tokens.next()
                        && name.to_string() != "static"
                        && self.lifetime.is_none()
                    {
                        self.lifetime = Some([token, name].into_iter().collect());
                    }
                }
                TokenTree::Ident(ident) => {
                    let generic = matches!(tokens.peek(), Some(TokenTree::Punct(next)) if next.as_char() == '<');
                    self.entity |= generic && ident == "Entity";
                    self.state |= generic && ident == "State";
                    self.context |= !generic && ident == "Cx";
                    if ident == "impl" && self.opaque.is_none() {
                        self.opaque = Some(token.to_token_stream());
                    }
                }
                _ => {}
            }
        }
    }
}
