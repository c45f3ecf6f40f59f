//! `#[computed]`: parse (`ast`, `attr`), validate (`valid`, `plain`), expand (`expand`), degrade (`fallback`).

mod ast;
mod attr;
mod expand;
mod fallback;
mod narrow;
mod plain;
mod relation;
mod valid;

#[cfg(test)]
mod tests;

use proc_macro2::TokenStream;

use self::{ast::Function, attr::Options};
use crate::errors::Errors;

/// The item that replaces the function.
pub(crate) fn expand(options: TokenStream, item: &TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let mut options = Options::parse(options, &mut errors);
    let mut function = match syn::parse2::<Function>(item.clone()) {
        Ok(function) => function,
        Err(error) => {
            errors.push(error);
            return fallback::keep(item, &errors);
        }
    };
    // Without the bad option, the rest of the function is right; with a bad signature, there is nothing to compute.
    options.default_id(&function.sig.ident, &mut errors);
    narrow::take(&mut function, &mut errors);
    let of_options = errors.len();
    valid::check(&function, &mut errors);
    if errors.len() > of_options {
        return fallback::expand(&function, &options, &errors);
    }
    relation::resolve(&mut options.relations, &function, &mut errors);
    let expanded = expand::expand(&function, &options);
    let errors = errors.to_tokens();
    quote::quote!(#errors #expanded)
}
