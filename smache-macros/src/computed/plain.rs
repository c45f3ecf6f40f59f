//! Arguments are plain data: an entity among them would be part of the key, and its changes would go unnoticed.

use proc_macro2::TokenStream;
use quote::quote_spanned;
use syn::{GenericArgument, PathArguments, Type};

use super::{
    ast::{Function, Param, Role, peel},
    attr::Options,
};
use crate::{
    facade::{first_token, laid_over},
    written::written,
};

/// Types that are known not to be entities.
const PLAIN: [&str; 17] = [
    "u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64", "i128", "isize", "f32", "f64", "bool",
    "char", "String",
];

/// A constant for each type in an argument, which does not compile where the type is an entity.
pub(super) fn checks(function: &Function, options: &Options) -> TokenStream {
    let raw = function.params.iter().filter(|param| matches!(param.role, Role::Raw));
    raw.flat_map(|param| with_its_parts(param.ty()).into_iter().map(move |ty| check(param, ty, options)))
        .map(|check| {
            let all = &function.attrs.all;
            quote::quote!(#(#all)* #check)
        })
        .collect()
}

fn check(param: &Param, ty: &Type, options: &Options) -> TokenStream {
    let span = laid_over(first_token(ty));
    let private = options.private(span);
    let text = written(ty);
    let whole = written(peel(param.ty()));
    let message = if text == whole {
        format!(
            "`{text}` is an entity, and a change of one that is passed by value would not be seen: take `Entity<{text}>`"
        )
    } else {
        format!(
            "`{text}` is an entity, and a change of one in `{whole}` would not be seen: take `Entity<{text}>`, or ids, and \
             call `cx.load` or `cx.load_many`"
        )
    };
    let message = message.replace('{', "{{").replace('}', "}}");
    quote_spanned! {span=>
        const _: () = {
            #[allow(unused_imports)]
            use #private::PlainArgument as _;
            if #private::Argument::<#ty>::IS_ENTITY {
                ::core::panic!(#message)
            }
        };
    }
}

/// The type and those that it is written with.
fn with_its_parts(ty: &Type) -> Vec<&Type> {
    let mut all = Vec::new();
    collect(ty, &mut all);
    all
}

fn collect<'a>(ty: &'a Type, all: &mut Vec<&'a Type>) {
    let ty = peel(ty);
    let mut inner: Vec<&Type> = Vec::new();
    match ty {
        Type::Path(path) => {
            if path.path.get_ident().is_some_and(|name| PLAIN.iter().any(|plain| name == plain)) {
                return;
            }
            for segment in &path.path.segments {
                let PathArguments::AngleBracketed(arguments) = &segment.arguments else { continue };
                inner.extend(arguments.args.iter().filter_map(|argument| match argument {
                    GenericArgument::Type(ty) => Some(ty),
                    _ => None,
                }));
            }
            all.push(ty);
        }
        Type::Tuple(tuple) => inner.extend(&tuple.elems),
        Type::Array(array) => inner.push(&array.elem),
        Type::Slice(slice) => inner.push(&slice.elem),
        _ => {}
    }
    inner.into_iter().for_each(|ty| collect(ty, all));
}
