//! The items that a computed function becomes.
//!
//! Each requirement on a type is stated once and at the place of the type, as a bound on the generated items: within
//! them it then holds, and the compiler reports a violation once instead of at each use.

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::{GenericArgument, PathArguments, Type};

use super::{
    ast::{Function, Param, Returns, Role, peel, value_of},
    attr::Options,
    narrow, plain,
};
use crate::{
    facade::{first_token, laid_over, relaid},
    written::written,
};

pub(crate) fn expand(function: &Function, options: &Options) -> TokenStream {
    let span = laid_over(function.sig.ident.span());
    let private = options.private(span);
    let name = &function.sig.ident;
    let all = &function.attrs.all;
    let marker = marker(function);
    let call = call(function, options);
    let body = body(function);
    let bounds = bounds(function, options);
    let args = args(function, &private);
    let output = output(function, &private);
    let declaration = declaration(function, options, &private);
    let compute = compute(function, &private);
    let plain = plain::checks(function, options);
    quote_spanned! {span=>
        #marker
        #call
        #body

        #(#all)*
        #[automatically_derived]
        impl #private::Computed for #name
        #bounds
        {
            type Args = #args;
            type Output = #output;

            fn declaration() -> #private::Declaration {
                #declaration
            }

            #compute
        }

        #plain
    }
}

/// The type of the function. With braces it lives in the namespace of types only, beside the function of its name.
pub(super) fn marker(function: &Function) -> TokenStream {
    let all = &function.attrs.all;
    let vis = &function.vis;
    let name = &function.sig.ident;
    let summary = function.attrs.summary.iter().map(|line| format!(" {line}"));
    let gap = (!function.attrs.summary.is_empty()).then(|| quote!(#[doc = ""]));
    let what = format!(" The type of the computed function `{name}`, for `register::<{name}>()`.");
    let name = relaid(name);
    quote! {
        #(#all)*
        #(#[doc = #summary])*
        #gap
        #[doc = #what]
        #[allow(non_camel_case_types, missing_debug_implementations, missing_copy_implementations)]
        #vis struct #name {}
    }
}

/// The function that makes a call.
fn call(function: &Function, options: &Options) -> TokenStream {
    let private = options.private(laid_over(function.sig.ident.span()));
    let names = argument_names(function);
    let params = function.params.iter().zip(&names).filter_map(|(param, name)| match &param.role {
        Role::Entity(entity) => Some(id_param(name, param, entity, &private)),
        Role::Raw => {
            let ty = param.ty();
            Some(quote!(#name: #ty))
        }
        Role::State(_) | Role::Context => None,
    });
    let values = function.params.iter().zip(&names).filter_map(|(param, name)| match &param.role {
        Role::Entity(_) => Some(quote!(::core::convert::Into::into(#name))),
        Role::Raw => Some(quote!(#name)),
        Role::State(_) | Role::Context => None,
    });
    let bounds = bounds(function, options);
    call_with(function, &private, &quote!(#(#params),*), &bounds, &quote!(#private::Call::new((#(#values,)*))))
}

/// The parameter for the id of an entity. The compiler explains a wrong argument of a caller at the type of the
/// parameter.
pub(super) fn id_param(name: &Ident, param: &Param, entity: &Type, private: &TokenStream) -> TokenStream {
    quote_spanned! {laid_over(first_token(param.ty()))=>
        #name: impl ::core::convert::Into<<#entity as #private::EntityType>::Id>
    }
}

/// The function that makes a call, with the given parameters, bounds and body.
pub(super) fn call_with(
    function: &Function,
    private: &TokenStream,
    params: &TokenStream,
    bounds: &TokenStream,
    body: &TokenStream,
) -> TokenStream {
    let all = &function.attrs.all;
    let attrs = &function.attrs.call;
    let vis = &function.vis;
    let name = &function.sig.ident;
    let token = &function.sig.fn_token;
    quote! {
        #(#all)*
        #(#attrs)*
        // Workers register functions that only other programs call, and the arguments are counted at the body.
        #[allow(dead_code, clippy::too_many_arguments)]
        #vis #token #name(#params) -> #private::Call<#name>
        #bounds
        {
            #body
        }
    }
}

/// One name per parameter: its own, or one by its position.
pub(super) fn argument_names(function: &Function) -> Vec<Ident> {
    let name = |(index, param): (usize, &Param)| param.name().map_or_else(|| by_position(index), |name| relaid(&name));
    function.params.iter().enumerate().map(name).collect()
}

// Hygiene keeps variables apart, but not from a constant of the user that would become the pattern: hence underscores.
fn by_position(index: usize) -> Ident {
    format_ident!("__arg{}", index, span = Span::mixed_site())
}

/// The body itself, as written.
pub(super) fn body(function: &Function) -> TokenStream {
    let (all, attrs, vis, name, body) =
        (&function.attrs.all, &function.attrs.body, &function.vis, &function.sig.ident, &function.body);
    let mut sig = function.sig.clone();
    sig.ident = Ident::new("run", laid_over(name.span()));
    let errors = matches!(function.returns, Returns::Result(..)).then(|| {
        quote! {
            #[doc = ""]
            #[doc = " # Errors"]
            #[doc = " The function's own."]
        }
    });
    quote! {
        #(#all)*
        impl #name {
            #[doc = " Runs the body itself, uncached, for example in a unit test."]
            #errors
            #(#attrs)*
            // The attribute's demands on the signature are not the user's fault, and the docs are at the call.
            #[allow(clippy::unused_async, clippy::needless_pass_by_value, clippy::missing_errors_doc, clippy::missing_panics_doc)]
            #vis #sig #body
        }
    }
}

/// The bounds on the types in the signature, each at its place.
fn bounds(function: &Function, options: &Options) -> TokenStream {
    let bound = |ty: &Type, name: &str| {
        let span = laid_over(first_token(ty));
        let private = options.private(span);
        let name = Ident::new(name, span);
        quote_spanned!(span=> #ty: #private::#name)
    };
    let entities = function.params.iter().filter_map(|param| match &param.role {
        Role::Entity(entity) => Some(bound(entity, "EntityType")),
        _ => None,
    });
    let result = match &function.returns {
        Returns::Result(ty) if visible(ty).is_none() => Some(bound(ty, "FunctionResult")),
        _ => None,
    };
    let related = options.relations.iter().map(|relation| bound(&relation.from, "EntityType"));
    let bounds: Vec<TokenStream> = entities.chain(result).chain(related).collect();
    if bounds.is_empty() { TokenStream::new() } else { quote!(where #(#bounds,)*) }
}

fn args(function: &Function, private: &TokenStream) -> TokenStream {
    let types = function.params.iter().filter_map(|param| match &param.role {
        Role::Entity(entity) => Some(quote!(<#entity as #private::EntityType>::Id)),
        Role::Raw => Some(param.ty().to_token_stream()),
        Role::State(_) | Role::Context => None,
    });
    // Laid over the parameters, because the compiler reports an argument that is not serializable there.
    let mut tuple = Group::new(Delimiter::Parenthesis, quote!(#(#types,)*));
    tuple.set_span(laid_over(function.sig.paren_token.span.join()));
    tuple.to_token_stream()
}

/// The value that a call returns.
pub(super) fn output(function: &Function, private: &TokenStream) -> TokenStream {
    match &function.returns {
        Returns::Unit => quote!(()),
        Returns::Value(ty) => ty.to_token_stream(),
        Returns::Result(ty) => match visible(ty) {
            Some((value, _)) => value.to_token_stream(),
            None => quote!(<#ty as #private::FunctionResult>::Output),
        },
    }
}

/// Value and error of a type that is written as `Result<value, error>`. Everything else may be an alias.
fn visible(ty: &Type) -> Option<(&Type, &Type)> {
    let Type::Path(path) = peel(ty) else { return None };
    let last = path.path.segments.last()?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    let mut arguments = arguments.args.iter();
    match (arguments.next()?, arguments.next()?, arguments.next()) {
        (GenericArgument::Type(value), GenericArgument::Type(error), None) if last.ident == "Result" => {
            Some((value, error))
        }
        _ => None,
    }
}

fn declaration(function: &Function, options: &Options, private: &TokenStream) -> TokenStream {
    let id = options.id();
    let version = options.version.map(|version| quote!(.version(#version)));
    let params = function.params.iter().filter_map(|param| match &param.role {
        Role::Entity(entity) => Some(match narrow::expand(param, entity, private) {
            Some(fields) => quote!(.entity_fields::<#entity>(#fields)),
            None => quote!(.entity::<#entity>()),
        }),
        Role::State(state) => {
            let text = written(state);
            Some(quote!(.param(#private::Role::State, #text)))
        }
        Role::Raw => {
            let text = written(param.ty());
            Some(quote!(.param(#private::Role::Raw, #text)))
        }
        Role::Context => None,
    });
    let sources = options.sources.iter().map(|source| quote!(.source::<#source>()));
    let reads = options.reads.iter().map(|source| quote!(.reads::<#source>()));
    let calls = options.calls.iter().map(|function| quote!(.calls::<#function>()));
    let relations = options.relations.iter().filter_map(|relation| relation.expand(private));
    let output = match &function.returns {
        Returns::Unit => "()".to_owned(),
        Returns::Value(ty) => written(ty),
        Returns::Result(ty) => written(value_of(ty).unwrap_or(ty)),
    };
    let duration = |duration: std::time::Duration| {
        let seconds = duration.as_secs();
        let nanoseconds = duration.subsec_nanos();
        quote!(::core::time::Duration::new(#seconds, #nanoseconds))
    };
    let ttl = options.ttl.map(duration).map(|ttl| quote!(.ttl(#ttl)));
    let timeout = options.timeout.map(duration).map(|timeout| quote!(.timeout(#timeout)));
    let cache_errors = options.cache_errors.map(duration).map(|time| quote!(.cache_errors(#time)));
    let on_permanent = options.remove_on_permanent.map(|on| quote!(.remove_on_permanent(#on)));
    let refresh = options.refresh_on_read.map(|on_read| if on_read { quote!(OnRead) } else { quote!(Background) });
    let refresh = refresh.map(|refresh| quote!(.refresh(#private::Refresh::#refresh)));
    quote! {
        #private::Declaration::new(#id)
            #version
            #(#params)*
            #(#sources)*
            #(#reads)*
            #(#calls)*
            #(#relations)*
            .output(#output)
            #ttl
            #timeout
            #refresh
            #cache_errors
            #on_permanent
    }
}

fn compute(function: &Function, private: &TokenStream) -> TokenStream {
    let cx = Ident::new("__cx", Span::mixed_site());
    let mut keys = Vec::new();
    let mut loads = Vec::new();
    let mut passed = Vec::new();
    for (index, param) in function.params.iter().enumerate() {
        let local = by_position(index);
        match &param.role {
            Role::Entity(entity) => {
                let load = match narrow::expand(param, entity, private) {
                    Some(fields) => quote!(#cx.entity_fields::<#entity>(&#local, #fields)),
                    None => quote!(#cx.entity::<#entity>(&#local)),
                };
                loads.push(quote!(let #local = #load.await?;));
                keys.push(local.clone());
            }
            Role::State(state) => loads.push(quote!(let #local = #cx.state::<#state>()?;)),
            Role::Raw => keys.push(local.clone()),
            Role::Context => {
                passed.push(cx.to_token_stream());
                continue;
            }
        }
        passed.push(local.to_token_stream());
    }
    let run = quote!(Self::run(#(#passed),*).await);
    let outcome = match &function.returns {
        Returns::Unit | Returns::Value(_) => quote!(::core::result::Result::Ok(#run)),
        Returns::Result(ty) => match visible(ty) {
            // A bound on the error alone, so that a value that is not serializable is not reported here as well.
            Some((_, error)) => {
                let span = laid_over(first_token(error));
                let caught = Ident::new("__error", span);
                let failure = quote_spanned!(span=> ::core::convert::From::from(#caught));
                quote! {
                    match #run {
                        ::core::result::Result::Ok(__value) => ::core::result::Result::Ok(__value),
                        ::core::result::Result::Err(#caught) => ::core::result::Result::Err(#failure),
                    }
                }
            }
            None => quote!(<#ty as #private::FunctionResult>::into_outcome(#run)),
        },
    };
    // Laid over the name, because the compiler reports a future that is not `Send` there.
    quote_spanned! {laid_over(function.sig.ident.span())=>
        async fn compute(
            #cx: &#private::Cx,
            (#(#keys,)*): Self::Args,
        ) -> ::core::result::Result<Self::Output, #private::Failure> {
            #(#loads)*
            #outcome
        }
    }
}
