//! What the derive writes, as far as the compiler's own messages (the UI tests) do not tell.

/// The text of the implementation, without any space.
fn derive(item: &str) -> String {
    let tokens = super::derive(&syn::parse_str(item).expect("an item"));
    tokens.to_string().split_whitespace().collect()
}

#[test]
fn generics_and_bounds_are_kept() {
    assert_eq!(
        derive(
            "#[entity(source = \"users\")] struct User<T: Send, const N: usize = 3> where T: Sync { #[entity(id)] r#type: Id<T> }"
        ),
        "#[automatically_derived]impl<T:Send,constN:usize>::smache::__private::EntityTypeforUser<T,N>whereT:Sync\
         {typeId=Id<T>;constSOURCE:&'static::core::primitive::str=\"users\";fnid(&self)->&Self::Id{&self.r#type}}"
    );
}

#[test]
fn tuple_structs_and_renamed_facades_work() {
    let text =
        derive("#[entity(crate = \"crate::cache\")] #[entity(source = \"users\")] struct User(u8, #[entity(id)] u64);");
    assert!(text.contains("crate::cache::__private::EntityTypeforUser{typeId=u64;"), "{text}");
    assert!(text.contains("{&self.1}"), "{text}");
}

#[test]
fn a_mistake_leaves_an_implementation_behind() {
    for mistaken in [
        "struct User { id: u64 }",
        "#[entity(source = \"\")] struct User { #[entity(id)] key: u64 }",
        "#[entity(source = \"users\")] struct User { #[entity(id)] key: u64, #[entity(id)] id: u8 }",
    ] {
        let text = derive(mistaken);
        assert!(text.contains("compile_error") && text.contains("EntityTypeforUser{typeId=u64;"), "{text}");
    }
    assert!(derive("enum User {}").contains("EntityTypeforUser{typeId=();"));
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let text = derive("#[entity(source = \"a b\", what = 1)] struct User<'a> { #[entity(key)] a: &'a u8 }");
    assert_eq!(text.matches("compile_error").count(), 4, "{text}");
    let text = derive("struct User { id: u64 }");
    assert_eq!(text.matches("compile_error").count(), 2, "{text}");
}
