//! The output of the derive, as far as the compiler's own messages (the UI tests) do not show it.

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

#[test]
fn a_field_with_a_token_has_a_constant_with_its_visibility_and_docs() {
    let text = derive(
        "#[entity(source = \"a\")] #[serde(rename_all = \"camelCase\")] pub struct A<T> { #[entity(id)] id: u8,
         /// Which.
         #[entity(field)] pub(crate) course_id: T, #[serde(rename = \"t\")] #[entity(index)] pub r#type: u8 }",
    );
    let private = "::smache::__private";
    let course = format!(
        "#[doc=\"Which.\"]pub(crate)constCOURSE_ID:{private}::Field<Self,T>={private}::Field::new(\"courseId\",|__entity:&Self|&__entity.course_id);"
    );
    assert!(text.contains(&course), "{text}");
    let of_type = format!(
        "pubconstTYPE:{private}::Field<Self,u8>={private}::Field::new(\"t\",|__entity:&Self|&__entity.r#type);"
    );
    assert!(text.contains(&of_type), "{text}");
    assert!(text.contains("impl<T>A<T>{#[doc"), "{text}");
}

#[test]
fn indexes_and_fields_are_declared_only_where_there_are_any() {
    let text = derive("#[entity(source = \"a\")] struct A { #[entity(id)] id: u8, b: u8 }");
    assert!(!text.contains("fields") && !text.contains("indexes") && !text.contains("Field"), "{text}");
    let text = derive("#[entity(source = \"a\")] struct A { #[entity(id)] id: u8, #[entity(field)] b: u8 }");
    assert!(text.contains("fnfields()") && !text.contains("indexes"), "{text}");
    let text = derive(
        "#[entity(source = \"a\", index(b, c), index(d, c, b))]
         struct A { #[entity(id)] id: u8, #[entity(index)] b: u8, c: u8, d: u8, #[entity(field)] e: u8 }",
    )
    .replace("::smache::__private::", "");
    let indexes = "Index::on(Self::B),Index::on(Self::B).and(Self::C),Index::on(Self::D).and(Self::C).and(Self::B)]";
    assert!(text.contains(indexes), "{text}");
    let fields = "<Fields<Self>as::core::convert::From<_>>::from(Self::B)|Self::C|Self::D|Self::E";
    assert!(text.contains(fields), "{text}");
    assert!(text.contains("fnfields()") && text.contains("fnindexes()"), "{text}");
}

#[test]
fn a_mistake_leaves_the_constants_behind() {
    for mistaken in [
        "struct A { id: u64, #[entity(index)] b: u8 }",
        "#[entity(source = \"a\", index(b))] struct A { #[entity(id)] id: u64, b: u8 }",
        "#[entity(source = \"a\", index(b, x))] struct A { #[entity(id)] id: u64, b: u8 }",
        "#[entity(source = \"a\")] struct A { #[entity(id)] id: u64, #[entity(field)] b: u8, #[entity(field)] B: u8 }",
        "#[entity(source = \"a\")] struct A { #[entity(id)] id: u64, #[entity(field)] #[serde(skip)] b: u8 }",
    ] {
        let text = derive(mistaken);
        assert_eq!(text.matches("constB:").count(), 1, "{text}");
        assert!(text.contains("compile_error") && !text.contains("fnfields()"), "{text}");
    }
}
