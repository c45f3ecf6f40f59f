//! The input of `#[computed]`, as written.

use proc_macro2::{Group, TokenStream};
use syn::{
    FnArg, GenericArgument, Ident, Pat, PatType, Path, PathArguments, PathSegment, ReturnType, Signature, Token, Type,
    Visibility,
    ext::IdentExt,
    parse::{Parse, ParseStream},
};

use super::attr::Attributes;

/// A function. Its body stays tokens: the macro does not look inside, and the compiler reports mistakes there at their
/// place.
#[derive(Clone)]
pub(crate) struct Function {
    pub(crate) attrs: Attributes,
    pub(crate) vis: Visibility,
    pub(crate) sig: Signature,
    pub(crate) params: Vec<Param>,
    pub(crate) returns: Returns,
    pub(crate) body: Group,
}

/// A parameter with a type, so not `self`.
#[derive(Clone)]
pub(crate) struct Param {
    pub(crate) written: PatType,
    pub(crate) role: Role,
    /// The only fields of an entity that the function reads; empty where it may read all.
    pub(crate) narrowed: Vec<Ident>,
}

/// The role of a parameter, by its type.
#[derive(Clone)]
pub(crate) enum Role {
    /// `Entity<T>`.
    Entity(Type),
    /// `State<T>`.
    State(Type),
    /// `&Cx`.
    Context,
    /// Anything else.
    Raw,
}

/// The return type of a function.
#[derive(Clone)]
pub(crate) enum Returns {
    Unit,
    /// The value itself.
    Value(Type),
    /// A type called `…Result`.
    Result(Type),
}

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let ahead = input.fork();
        let attrs = input.call(syn::Attribute::parse_outer)?;
        let vis: Visibility = input.parse()?;
        let no_function = || syn::Error::new_spanned(rest(&ahead), "`#[computed]` belongs on an `async fn`");
        if !input.peek(Token![fn]) && !starts_a_function(input) {
            return Err(no_function());
        }
        let sig: Signature = input.parse()?;
        if input.peek(Token![;]) {
            let message = "a computed function has a body: a declaration in a trait or an `extern` block is not one";
            return Err(syn::Error::new_spanned(&sig, message));
        }
        let body: Group = input.parse().map_err(|_| no_function())?;
        let typed = sig.inputs.iter().filter_map(|input| match input {
            FnArg::Typed(written) => {
                Some(Param { role: Role::of(&written.ty), written: written.clone(), narrowed: Vec::new() })
            }
            FnArg::Receiver(_) => None,
        });
        Ok(Self {
            attrs: Attributes::split(attrs),
            vis,
            params: typed.collect(),
            returns: Returns::of(&sig.output),
            sig,
            body,
        })
    }
}

fn rest(input: ParseStream<'_>) -> TokenStream {
    let cursor = input.cursor();
    cursor.token_stream()
}

/// `const fn`, `unsafe extern "C" fn` and the like, but not `const X`.
fn starts_a_function(input: ParseStream<'_>) -> bool {
    let ahead = input.fork();
    while !ahead.peek(Token![fn]) {
        let qualifier = ahead.peek(Token![const])
            || ahead.peek(Token![async])
            || ahead.peek(Token![unsafe])
            || ahead.peek(Token![extern])
            || ahead.peek(syn::LitStr);
        if !qualifier || ahead.parse::<proc_macro2::TokenTree>().is_err() {
            return false;
        }
    }
    true
}

impl Role {
    fn of(ty: &Type) -> Self {
        match peel(ty) {
            Type::Path(path) => match (path.path.segments.last(), only_argument(&path.path)) {
                (Some(last), Some(of)) if last.ident == "Entity" => Self::Entity(of.clone()),
                (Some(last), Some(of)) if last.ident == "State" => Self::State(of.clone()),
                _ => Self::Raw,
            },
            Type::Reference(reference) if reference.mutability.is_none() && is_context(&reference.elem) => {
                Self::Context
            }
            _ => Self::Raw,
        }
    }

    /// Whether it is an argument of the call.
    pub(crate) fn is_of_the_key(&self) -> bool {
        matches!(self, Self::Entity(_) | Self::Raw)
    }
}

impl Param {
    /// Its name, where it has one: `_: u8` and a pattern have none.
    pub(crate) fn name(&self) -> Option<Ident> {
        match &*self.written.pat {
            Pat::Ident(pat) if pat.subpat.is_none() => Some(pat.ident.clone()),
            _ => None,
        }
    }

    pub(crate) fn ty(&self) -> &Type {
        &self.written.ty
    }
}

impl Returns {
    pub(crate) fn of(output: &ReturnType) -> Self {
        let ReturnType::Type(_, ty) = output else { return Self::Unit };
        match peel(ty) {
            Type::Path(path) => match path.path.segments.last() {
                Some(last) if last.ident.unraw().to_string().ends_with("Result") => Self::Result((**ty).clone()),
                _ => Self::Value((**ty).clone()),
            },
            _ => Self::Value((**ty).clone()),
        }
    }
}

/// The first argument of a type, which is the value of a result.
pub(crate) fn value_of(result: &Type) -> Option<&Type> {
    match peel(result) {
        Type::Path(path) => first_argument(path.path.segments.last()?),
        _ => None,
    }
}

/// Whether a type is `Cx`.
pub(crate) fn is_context(ty: &Type) -> bool {
    let Type::Path(path) = peel(ty) else { return false };
    path.path.segments.last().is_some_and(|last| last.ident == "Cx" && last.arguments.is_none())
}

/// A type without the parentheses and invisible groups around it; `$ty` of a `macro_rules!` comes in such a group.
pub(crate) fn peel(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => peel(&group.elem),
        Type::Paren(paren) => peel(&paren.elem),
        other => other,
    }
}

/// The only type argument of a path.
fn only_argument(path: &Path) -> Option<&Type> {
    let last = path.segments.last()?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    if arguments.args.len() == 1 { first_argument(last) } else { None }
}

fn first_argument(segment: &PathSegment) -> Option<&Type> {
    let PathArguments::AngleBracketed(arguments) = &segment.arguments else { return None };
    match arguments.args.first()? {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    }
}
