//! `#[derive(Entity)]`: parse (`ast`, `attr`), validate (`valid`), expand (`expand`), degrade (`fallback`).

mod ast;
mod attr;
mod expand;
mod fallback;
mod stored;
mod valid;

#[cfg(test)]
mod tests;

use proc_macro2::TokenStream;
use syn::DeriveInput;

use self::ast::Input;
pub(crate) use self::ast::constant;
use crate::errors::Errors;

/// The implementation of `EntityType`.
pub(crate) fn derive(item: &DeriveInput) -> TokenStream {
    let mut errors = Errors::default();
    let input = Input::parse(item, &mut errors);
    match valid::check(&input, &mut errors) {
        Some(entity) if errors.is_empty() => expand::expand(&input, &entity),
        _ => fallback::expand(&input, &errors),
    }
}
