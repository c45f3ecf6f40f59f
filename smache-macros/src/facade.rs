//! The path of the facade in generated code.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote_spanned};
use syn::Path;

use crate::{
    errors::Errors,
    options::{Known, Opt},
};

/// The option for an application that renames or re-exports the facade.
pub(crate) const OPTION: Known = Known::once("crate", "crate = \"::smache\"");

/// The value of the option.
pub(crate) fn path(option: &Opt, errors: &mut Errors) -> Option<Path> {
    let text = option.string(errors)?;
    let path = text.parse_with(Path::parse_mod_style);
    if path.is_err() {
        errors.at(&text, format!("`{}` is not the path of a module: write `{}`", text.value(), OPTION.form));
    }
    path.ok()
}

/// The hidden module with every item that generated code names, at the place where its errors are to point.
pub(crate) fn private(facade: Option<&Path>, span: Span) -> TokenStream {
    match facade {
        // Without the hygiene of the macro: a path such as `crate::cache` belongs to the user.
        Some(path) => {
            let path = located(path, span);
            quote_spanned!(span=> #path::__private)
        }
        None => quote_spanned!(span=> ::smache::__private),
    }
}

/// Tokens of the user, with their own hygiene, at another place.
pub(crate) fn located(tokens: impl ToTokens, span: Span) -> TokenStream {
    let located = tokens.to_token_stream().into_iter().map(|mut token| {
        token.set_span(token.span().located_at(span));
        token
    });
    located.collect()
}

/// The hygiene of the macro at the place of a token of the user: names in the user's scope do not interfere, lints
/// leave it alone, and errors point at the user's text.
pub(crate) fn laid_over(span: Span) -> Span {
    Span::mixed_site().located_at(span)
}

/// An identifier of the user, laid over itself.
pub(crate) fn relaid(ident: &Ident) -> Ident {
    let mut ident = ident.clone();
    ident.set_span(laid_over(ident.span()));
    ident
}

/// The first token: errors at a type cannot point at all of its tokens, since joining spans is not stable.
pub(crate) fn first_token(tokens: impl ToTokens) -> Span {
    tokens.to_token_stream().into_iter().next().map_or_else(Span::call_site, |token: TokenTree| token.span())
}
