//! The names under which serde stores fields: predicates and changes know a field by its stored name.

use quote::ToTokens;
use syn::{Attribute, Expr, ExprLit, Lit, Meta, Token, ext::IdentExt, punctuated::Punctuated};

use super::ast::Field;
use crate::errors::Errors;

/// The convention of `#[serde(rename_all = "…")]`, as serde applies it to the names of fields.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Convention {
    /// Also the one called `lowercase`: serde expects names of fields in this form.
    Snake,
    Upper,
    Pascal,
    Camel,
    Kebab,
    ScreamingKebab,
}

/// The attributes of serde on a struct that concern all of its fields.
#[derive(Default)]
pub(crate) struct Container {
    convention: Both<Option<Convention>>,
    rename_all: Option<Meta>,
    /// The attribute that stores the struct in another form, such as `into`.
    another_form: Option<Meta>,
}

/// A value for writing and one for reading.
#[derive(Clone, Copy, Default)]
struct Both<T> {
    serialize: T,
    deserialize: T,
}

impl Container {
    pub(crate) fn of(attrs: &[Attribute]) -> Self {
        let mut container = Self::default();
        for meta in metas(attrs) {
            match name_of(&meta).as_str() {
                "rename_all" => {
                    let text = strings(&meta);
                    container.convention.serialize = text.serialize.as_deref().and_then(Convention::named);
                    container.convention.deserialize = text.deserialize.as_deref().and_then(Convention::named);
                    container.rename_all = Some(meta);
                }
                "into" | "from" | "try_from" | "remote" | "transparent" if container.another_form.is_none() => {
                    container.another_form = Some(meta);
                }
                _ => {}
            }
        }
        container
    }

    /// Reports the attributes that keep predicates from finding by these fields, and functions from narrowing to them.
    pub(crate) fn check<'a>(&self, marked: impl Iterator<Item = &'a Field<'a>>, errors: &mut Errors) {
        let mut marked = marked.peekable();
        if let Some(meta) = self.another_form.as_ref().filter(|_| marked.peek().is_some()) {
            let message = format!(
                "`{}` stores the entity in another form than its own, so its fields have no stored names: remove it, or \
                 every `index` and `field`",
                name_of(meta)
            );
            errors.at(meta, message);
        }
        let mut said_of_all = false;
        for field in marked {
            stored_as_it_is(field, errors);
            let Some(Both { serialize: written, deserialize: read }) = self.names(field) else { continue };
            if written == read {
                continue;
            }
            // The convention of the struct is one mistake, however many fields it concerns.
            let own = rename(&field.original.attrs);
            let fix = if own.is_some() {
                format!("`#[serde(rename = \"{written}\")]`")
            } else if said_of_all {
                continue;
            } else {
                said_of_all = true;
                "`#[serde(rename_all = \"…\")]`".to_owned()
            };
            let message = format!(
                "`{}` is written as `{written}` and read as `{read}`, so it cannot be found: give it one name, as with {fix}",
                field.member.to_token_stream()
            );
            errors.at(own.as_ref().or(self.rename_all.as_ref()), message);
        }
    }

    /// The stored name of a field that has a name.
    pub(crate) fn name(&self, field: &Field<'_>) -> Option<String> {
        self.names(field).map(|names| names.serialize)
    }

    fn names(&self, field: &Field<'_>) -> Option<Both<String>> {
        let plain = field.original.ident.as_ref()?.unraw().to_string();
        let own = rename(&field.original.attrs).map(|meta| strings(&meta)).unwrap_or_default();
        let conventional = |of: Option<Convention>| of.map_or_else(|| plain.clone(), |of| of.apply(&plain));
        Some(Both {
            serialize: own.serialize.unwrap_or_else(|| conventional(self.convention.serialize)),
            deserialize: own.deserialize.unwrap_or_else(|| conventional(self.convention.deserialize)),
        })
    }
}

fn stored_as_it_is(field: &Field<'_>, errors: &mut Errors) {
    let name = field.member.to_token_stream();
    for meta in metas(&field.original.attrs) {
        let option = name_of(&meta);
        let why = match option.as_str() {
            "alias" => "is read under a second name",
            "flatten" => "is not stored under its name",
            "skip" | "skip_serializing" | "skip_deserializing" | "skip_serializing_if" => "is not always stored",
            "with" | "serialize_with" | "deserialize_with" | "getter" => "is stored in another form than its own",
            _ => continue,
        };
        let message = format!(
            "with `{option}`, `{name}` {why}, so it can be neither found nor narrowed by: remove `{option}`, or leave \
             `{name}` without `index` and `field`"
        );
        errors.at(meta, message);
    }
}

impl Convention {
    /// A convention that serde does not know either; serde reports it.
    fn named(text: &str) -> Option<Self> {
        Some(match text {
            "lowercase" | "snake_case" => Self::Snake,
            "UPPERCASE" | "SCREAMING_SNAKE_CASE" => Self::Upper,
            "PascalCase" => Self::Pascal,
            "camelCase" => Self::Camel,
            "kebab-case" => Self::Kebab,
            "SCREAMING-KEBAB-CASE" => Self::ScreamingKebab,
            _ => return None,
        })
    }

    fn apply(self, field: &str) -> String {
        match self {
            Self::Snake => field.to_owned(),
            Self::Upper => field.to_ascii_uppercase(),
            Self::Pascal => field.split('_').map(capitalized).collect(),
            Self::Camel => {
                let pascal = Self::Pascal.apply(field);
                let mut chars = pascal.chars();
                chars.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(chars).collect()
            }
            Self::Kebab => field.replace('_', "-"),
            Self::ScreamingKebab => field.to_ascii_uppercase().replace('_', "-"),
        }
    }
}

fn capitalized(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(chars).collect()
}

/// All options in `#[serde(…)]`. Serde reports those that do not parse.
fn metas(attrs: &[Attribute]) -> Vec<Meta> {
    let lists = attrs.iter().filter(|attr| attr.path().is_ident("serde"));
    let parsed = lists.filter_map(|attr| attr.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated).ok());
    parsed.flatten().collect()
}

fn name_of(meta: &Meta) -> String {
    meta.path().to_token_stream().to_string()
}

fn rename(attrs: &[Attribute]) -> Option<Meta> {
    metas(attrs).into_iter().find(|meta| meta.path().is_ident("rename"))
}

/// The texts of `name = "…"` and of `name(serialize = "…", deserialize = "…")`.
fn strings(meta: &Meta) -> Both<Option<String>> {
    match meta {
        Meta::NameValue(pair) => {
            let text = string(&pair.value);
            Both { serialize: text.clone(), deserialize: text }
        }
        Meta::List(list) => {
            let mut both = Both::default();
            let parsed = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated);
            for meta in parsed.into_iter().flatten() {
                let Meta::NameValue(pair) = &meta else { continue };
                if pair.path.is_ident("serialize") {
                    both.serialize = string(&pair.value);
                } else if pair.path.is_ident("deserialize") {
                    both.deserialize = string(&pair.value);
                }
            }
            both
        }
        Meta::Path(_) => Both::default(),
    }
}

fn string(value: &Expr) -> Option<String> {
    match value {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value()),
        // `$name` of a `macro_rules!` comes in an invisible group.
        Expr::Group(group) => string(&group.expr),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde::{
        Deserialize, Deserializer,
        de::{Visitor, value::Error},
        forward_to_deserialize_any,
    };

    use super::Convention;

    /// Catches the names that serde's own derive gives to the fields of a struct.
    struct Names<'a>(&'a mut Vec<&'static str>);

    impl<'de> Deserializer<'de> for Names<'_> {
        type Error = Error;

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
            Err(serde::de::Error::custom("only structs have fields"))
        }

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            visitor: V,
        ) -> Result<V::Value, Error> {
            self.0.extend(fields);
            self.deserialize_any(visitor)
        }

        forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
            newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }

    fn names<T: for<'de> Deserialize<'de>>() -> Vec<&'static str> {
        let mut names = Vec::new();
        assert!(T::deserialize(Names(&mut names)).is_err(), "nothing to read from");
        names
    }

    macro_rules! same_as_serde {
        ($($convention:literal)*) => {$({
            #[derive(Deserialize)]
            #[serde(rename_all = $convention)]
            #[expect(dead_code, non_snake_case, reason = "only the names count")]
            struct Fields {
                id: u8,
                course_id: u8,
                _private: u8,
                twice__: u8,
                mixedCase_too: u8,
                r#type: u8,
                number_2: u8,
            }
            let convention = Convention::named($convention).expect($convention);
            let ours = ["id", "course_id", "_private", "twice__", "mixedCase_too", "type", "number_2"];
            assert_eq!(ours.map(|field| convention.apply(field)).as_slice(), names::<Fields>(), $convention);
        })*};
    }

    #[test]
    fn every_convention_gives_the_names_that_serde_gives() {
        same_as_serde!(
            "lowercase" "UPPERCASE" "PascalCase" "camelCase" "snake_case" "SCREAMING_SNAKE_CASE" "kebab-case"
            "SCREAMING-KEBAB-CASE"
        );
        assert_eq!(Convention::named("Title Case"), None);
        assert_eq!(Convention::Camel.apply("_"), "");
        assert_eq!(Convention::Camel.apply("ßa"), "ßa");
    }
}
