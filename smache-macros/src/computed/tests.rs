//! The expansion of a function, as far as the compiler's own messages (the UI tests) do not show it.

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::{File, ImplItem, Item, ItemFn, ItemStruct};

/// The text of tokens, without any space.
fn squeezed(tokens: impl ToTokens) -> String {
    tokens.to_token_stream().to_string().split_whitespace().collect()
}

#[track_caller]
fn assert_text(text: &str, expected: &str) {
    assert_eq!(text, expected.split_whitespace().collect::<String>());
}

struct Expanded {
    markers: Vec<ItemStruct>,
    calls: Vec<ItemFn>,
    impls: Vec<syn::ItemImpl>,
    errors: usize,
}

fn expand(options: &str, item: &str) -> Expanded {
    let expanded = super::expand(options.parse().expect("options"), &item.parse().expect("an item"));
    let file: File = syn::parse2(expanded).expect("items");
    let mut all = Expanded { markers: Vec::new(), calls: Vec::new(), impls: Vec::new(), errors: 0 };
    for item in file.items {
        match item {
            Item::Struct(item) => all.markers.push(item),
            Item::Fn(item) => all.calls.push(item),
            Item::Impl(item) => all.impls.push(item),
            Item::Macro(_) => all.errors += 1,
            // The check that an argument is no entity.
            Item::Const(item) if item.ident == "_" => {}
            other => panic!("not expected: {}", other.to_token_stream()),
        }
    }
    all
}

fn good(options: &str, item: &str) -> Expanded {
    let all = expand(options, item);
    assert_eq!((all.markers.len(), all.calls.len(), all.impls.len(), all.errors), (1, 1, 2, 0), "{item}");
    all
}

impl Expanded {
    fn call(&self) -> String {
        squeezed(&self.calls[0].sig)
    }

    /// A member of `impl Computed`.
    fn member(&self, name: &str) -> String {
        let computed = self.impls.iter().find(|item| item.trait_.is_some()).expect("impl Computed");
        let found = computed.items.iter().find_map(|item| match item {
            ImplItem::Type(item) if item.ident == name => Some(squeezed(&item.ty)),
            ImplItem::Fn(item) if item.sig.ident == name => Some(squeezed(&item.block)),
            _ => None,
        });
        found.unwrap_or_else(|| panic!("no {name}"))
    }

    fn body(&self) -> &syn::ImplItemFn {
        let item = self.impls.iter().find(|item| item.trait_.is_none()).expect("an inherent impl");
        match &item.items[0] {
            ImplItem::Fn(item) => item,
            other => panic!("not expected: {}", other.to_token_stream()),
        }
    }
}

fn names(attrs: &[syn::Attribute]) -> Vec<String> {
    attrs.iter().map(|attr| squeezed(&attr.meta)).filter(|text| !text.contains("clippy")).collect()
}

#[test]
fn only_what_is_part_of_the_key_is_in_the_call() {
    let all = good(
        "",
        "pub async fn f(a: bool, cx: &smache::Cx, user: x::Entity<User>, db: State<Db>, _: (u8,)) -> Result<String, E> {}",
    );
    assert_text(
        &all.call(),
        "fn f(a: bool, user: impl ::core::convert::Into<<User as ::smache::__private::EntityType>::Id>, __arg4: (u8,)) -> \
         ::smache::__private::Call<f> where User: ::smache::__private::EntityType,",
    );
    assert_text(&all.member("Args"), "(bool, <User as ::smache::__private::EntityType>::Id, (u8,),)");
    assert_text(&all.member("Output"), "String");
}

#[test]
fn the_declaration_says_all_but_the_context() {
    let all = good(
        "version = 3, ttl = \"90s\", timeout = \"500ms\", refresh = \"on_read\", cache_errors = \"10s\", on_permanent = \"remove\", sources(Handin), id = \"a.b\"",
        "async fn f(a: Vec < u8 >, cx: &Cx, user: Entity<User>, db: State< x::Db >) -> io::Result<Option<String>> {}",
    );
    assert_text(
        &all.member("declaration"),
        "{::smache::__private::Declaration::new(\"a.b\").version(3u32)\
         .param(::smache::__private::Role::Raw, \"Vec<u8>\").entity::<User>().param(::smache::__private::Role::State, \"x::Db\")\
         .source::<Handin>().output(\"Option<String>\")\
         .ttl(::core::time::Duration::new(90u64, 0u32)).timeout(::core::time::Duration::new(0u64, 500000000u32))\
         .refresh(::smache::__private::Refresh::OnRead).cache_errors(::core::time::Duration::new(10u64, 0u32)).remove_on_permanent(true)}",
    );
}

#[test]
fn a_declaration_without_options_is_short() {
    let all = good("", "async fn r#type() {}");
    assert_text(&all.member("declaration"), "{::smache::__private::Declaration::new(\"type\").output(\"()\")}");
    assert_text(&all.member("Args"), "()");
}

#[test]
fn what_is_read_and_called_is_declared() {
    let all = good("reads(Grade, x::Participant<u8>), calls(score, other::passed)", "async fn f() {}");
    assert_text(
        &all.member("declaration"),
        "{::smache::__private::Declaration::new(\"f\").reads::<Grade>().reads::<x::Participant<u8>>()\
         .calls::<score>().calls::<other::passed>().output(\"()\")}",
    );
}

/// The relation in a declaration with the arguments `a: u8, course: Entity<Course>, to: Entity<Course>`.
fn relation(options: &str) -> String {
    let all = good(options, "async fn f(a: u8, db: State<Db>, course: Entity<Course>, to: Entity<Course>) {}");
    let declaration = all.member("declaration");
    let (_, relation) = declaration.split_once(".relation").expect("a relation");
    let (relation, _) = relation.split_once(".output").expect("an output");
    relation.replace("::smache::__private::", "")
}

#[test]
fn a_relation_maps_a_change_to_a_position_among_the_arguments() {
    assert_text(
        &relation("relation(Grade, |Grade { course_id, .. }: &Grade| *course_id, to = to)"),
        "(Relation::<Grade, Course>::new(2usize, \"|Grade { course_id, .. }: &Grade| *course_id\", |__entity: &Grade| {\
            let Grade { course_id, .. }: &Grade = __entity;\
            IntoIds::<<Course as EntityType>::Id>::into_ids((move || *course_id)())\
        }))",
    );
    assert_text(
        &relation("relation(Grade, x :: course_of, to = course)"),
        "(Relation::<Grade, Course>::new(1usize, \"x::course_of\", |__entity: &Grade|\
            IntoIds::<<Course as EntityType>::Id>::into_ids(x::course_of(__entity))\
        ))",
    );
}

#[test]
fn an_async_relation_may_fail() {
    let of = |answer: &str, text: &str| {
        format!(
            "(Relation::<Grade, Course>::of_async(1usize, \"{text}\", |__cx, __entity| ::std::boxed::Box::pin(async move {{\
                let cx = __cx; let _ = __entity; {answer}\
                ::core::result::Result::Ok::<::std::vec::Vec<<Course as EntityType>::Id>, Failure>(\
                    IntoIds::<<Course as EntityType>::Id>::into_ids(__ids))\
            }})))"
        )
    };
    let text = "async |cx, _| cx.x().await?";
    assert_text(&relation(&format!("relation(Grade, {text}, to = course)")), &of("let __ids = cx.x().await?;", text));
    let text = "async |cx, _| -> io::Result<u8> { Ok(cx.x().await?) }";
    assert_text(
        &relation(&format!("relation(Grade, {text}, to = course)")),
        &of("let __ids: io::Result<u8> = async { Ok(cx.x().await?) }.await; let __ids = __ids?;", text),
    );
    let text = "async |cx, _| -> Vec<u8> { cx.x().await }";
    assert_text(
        &relation(&format!("relation(Grade, {text}, to = course)")),
        &of("let __ids: Vec<u8> = async { cx.x().await }.await;", text),
    );
}

#[test]
fn a_narrowed_entity_is_declared_and_loaded_by_its_fields() {
    let all = good(
        "",
        "async fn f(#[entity(fields(name, type))] user: Entity<x::User>, #[entity(fields(id))] #[allow(unused)] b: Entity<B>) {}",
    );
    let user =
        "<::smache::__private::Fields<x::User> as ::core::convert::From<_>>::from(<x::User>::NAME) | <x::User>::TYPE";
    let other = "<::smache::__private::Fields<B> as ::core::convert::From<_>>::from(<B>::ID)";
    assert_text(
        &all.member("declaration"),
        &format!(
            "{{::smache::__private::Declaration::new(\"f\").entity_fields::<x::User>({user}).entity_fields::<B>({other})\
             .output(\"()\")}}"
        ),
    );
    let compute = all.member("compute");
    let load = format!("let __arg0 = __cx.entity_fields::<x::User>(&__arg0, {user}).await?;");
    assert!(compute.contains(&load.split_whitespace().collect::<String>()), "{compute}");
    assert_text(&squeezed(&all.body().sig), "async fn run(user: Entity<x::User>, #[allow(unused)] b: Entity<B>)");
}

#[test]
fn a_bad_relation_or_narrowing_costs_nothing_but_itself() {
    let all = expand(
        "relation(Grade, |grade| grade.id, to = nobody), relation(Grade), relation(Grade, |a| a.b), sources(A), reads(A, B)",
        "async fn f(#[entity(fields())] course: Entity<Course>, #[entity(fields(a))] n: u8) {}",
    );
    assert_eq!(all.errors, 5);
    let declaration = all.member("declaration");
    assert_eq!(declaration.matches(".relation(").count(), 1, "{declaration}");
    assert!(declaration.contains(".entity::<Course>()"), "{declaration}");
    assert!(declaration.contains(".source::<A>().reads::<B>()"), "{declaration}");
    assert!(!squeezed(&all.body().sig).contains('#'));
}

#[test]
fn relations_are_not_looked_at_where_the_arguments_are_mistaken() {
    let all =
        expand("relation(Grade, |grade| grade.id)", "async fn f(#[entity(fields(a))] course: &Entity<Course>) {}");
    assert_eq!(all.errors, 1);
    assert!(!squeezed(&all.body().sig).contains('#'));
}

#[test]
fn only_types_that_are_called_a_result_are_one() {
    let output = |returns: &str| good("", &format!("async fn f() -> {returns} {{}}")).member("Output");
    assert_text(&output("Option<u8>"), "Option<u8>");
    assert_text(&output("std::result::Result<u8, E>"), "u8");
    assert_text(&output("io::Result<u8>"), "<io::Result<u8> as ::smache::__private::FunctionResult>::Output");
    assert_text(&output("AppResult"), "<AppResult as ::smache::__private::FunctionResult>::Output");
    assert_text(&output("Results"), "Results");
}

#[test]
fn entities_are_loaded_and_states_looked_up_in_the_order_of_the_parameters() {
    let all = good("", "async fn f(a: Entity<A>, b: u8, c: State<C>, d: &Cx, e: Entity<E>) -> u8 {}");
    assert_text(
        &all.member("compute"),
        "{let __arg0 = __cx.entity::<A>(&__arg0).await?; let __arg2 = __cx.state::<C>()?; \
         let __arg4 = __cx.entity::<E>(&__arg4).await?; \
         ::core::result::Result::Ok(Self::run(__arg0, __arg1, __arg2, __cx, __arg4).await)}",
    );
}

#[test]
fn each_attribute_goes_where_it_belongs() {
    let all = good(
        "",
        "/// Says hello.
        ///
        /// # Errors
        /// Never.
        #[cfg(unix)]
        #[expect(unused, reason = \"x\")]
        #[allow(dead_code)]
        #[tracing::instrument]
        #[deprecated]
        #[cfg_attr(docsrs, doc(hidden), inline)]
        async fn f() {}",
    );
    let docs = ["doc=\"Sayshello.\"", "doc=\"\"", "doc=\"#Errors\"", "doc=\"Never.\""];
    let call = names(&all.calls[0].attrs);
    assert_eq!(call[..5], ["cfg(unix)", "cfg_attr(docsrs,doc(hidden))", docs[0], docs[1], docs[2]]);
    assert_eq!(call[5..8], [docs[3], "allow(dead_code)", "deprecated"]);
    let marker = names(&all.markers[0].attrs);
    assert_eq!(marker[..4], ["cfg(unix)", "cfg_attr(docsrs,doc(hidden))", docs[0], docs[1]]);
    assert!(!marker.contains(&docs[2].to_owned()), "{marker:?}");
    let body = names(&all.body().attrs);
    assert_eq!(
        body[1..],
        ["expect(unused,reason=\"x\")", "allow(dead_code)", "tracing::instrument", "cfg_attr(docsrs,inline)"]
    );
    for item in &all.impls {
        assert_eq!(names(&item.attrs)[..2], ["cfg(unix)", "cfg_attr(docsrs,doc(hidden))"]);
    }
}

#[test]
fn a_bad_option_costs_nothing_but_itself() {
    let all = expand("ttl = \"10\", version = 2, tll = 1", "async fn f(a: u8) -> u8 { a }");
    assert_eq!(all.errors, 2);
    assert_text(&all.member("Args"), "(u8,)");
    assert!(all.member("declaration").contains(".version(2u32).param"));
}

#[test]
fn a_bad_signature_keeps_the_name_the_result_and_the_body() {
    let all = expand("", "fn f(a: &str, b: Entity<B>, c: &mut Cx) -> Result<u8, E> { a.len() }");
    assert_eq!(all.errors, 3);
    assert_eq!((all.markers.len(), all.calls.len()), (1, 1));
    assert!(all.call().contains("(a:&str,b:impl::core::convert::Into<"), "{}", all.call());
    assert_text(&all.member("Output"), "u8");
    assert!(all.body().sig.asyncness.is_some());
    assert_eq!(squeezed(&all.body().block), "{a.len()}");
}

#[test]
fn what_is_no_function_stays_as_it_is() {
    for item in ["struct S;", "impl S { fn f() {} }", "const fn", "const N: u8 = 1;", "trait T { async fn f(); }"] {
        let item: TokenStream = item.parse().expect("tokens");
        let text = super::expand(TokenStream::new(), &item).to_string();
        assert!(text.contains("compile_error") && text.ends_with(&item.to_string()), "{text}");
    }
    let method = super::expand(TokenStream::new(), &"pub async fn f(&self) {}".parse().expect("a method")).to_string();
    assert!(!method.contains("struct"), "{method}");
}
