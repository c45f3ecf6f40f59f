//! The text of a type as written, independent of its layout: it is part of a function's persisted key, so formatting
//! must not change it.

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};
use quote::ToTokens;

/// The text of a type.
pub(crate) fn written(ty: impl ToTokens) -> String {
    let mut text = String::new();
    write(&mut text, ty.to_token_stream(), None);
    text
}

fn write(text: &mut String, tokens: TokenStream, inside: Option<Delimiter>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut depth = 0_usize;
    let mut commas = 0_usize;
    for (index, token) in tokens.iter().enumerate() {
        let after_dash = index.checked_sub(1).is_some_and(|before| is(&tokens[before], '-'));
        match token {
            TokenTree::Group(group) => {
                // Groups without delimiters come from `$ty` of a `macro_rules!`: invisible, so they are not written.
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::None => ("", ""),
                };
                separate(text, open);
                text.push_str(open);
                write(text, group.stream(), Some(group.delimiter()));
                text.push_str(close);
            }
            TokenTree::Punct(punct) => {
                match punct.as_char() {
                    '<' => depth += 1,
                    '>' if !after_dash => depth = depth.saturating_sub(1),
                    ',' => {
                        // A trailing comma is layout, except the one that makes a tuple of one.
                        let last = tokens.get(index + 1).is_none_or(|next| depth > 0 && is(next, '>'));
                        let makes_a_tuple = inside == Some(Delimiter::Parenthesis) && depth == 0 && commas == 0;
                        commas += usize::from(depth == 0);
                        if last {
                            if makes_a_tuple {
                                text.push(',');
                            }
                            continue;
                        }
                        text.push_str(", ");
                        continue;
                    }
                    _ => {}
                }
                let spaced = matches!(punct.as_char(), '+' | '=')
                    || (punct.as_char() == '-' && punct.spacing() == Spacing::Joint);
                if spaced && !text.ends_with(' ') {
                    text.push(' ');
                }
                text.push(punct.as_char());
                if matches!(punct.as_char(), '+' | '=' | ';') || (punct.as_char() == '>' && after_dash) {
                    text.push(' ');
                }
            }
            TokenTree::Ident(ident) => {
                let ident = ident.to_string();
                separate(text, &ident);
                text.push_str(&ident);
            }
            TokenTree::Literal(literal) => {
                let literal = literal.to_string();
                separate(text, &literal);
                text.push_str(&literal);
            }
        }
    }
}

fn is(token: &TokenTree, char: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == char)
}

/// Two words need a space between them, for example in `dyn Trait`.
fn separate(text: &mut String, next: &str) {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    if text.ends_with(word) && next.starts_with(word) {
        text.push(' ');
    }
}

#[cfg(test)]
mod tests {
    use super::written;

    fn of(ty: &str) -> String {
        written(syn::parse_str::<syn::Type>(ty).expect("a type"))
    }

    #[test]
    fn layout_does_not_matter() {
        for same in
            ["HashMap<String, Vec<u8>>", "HashMap < String,Vec< u8 > >", "HashMap<\n    String,\n    Vec<u8,>,\n>"]
        {
            assert_eq!(of(same), "HashMap<String, Vec<u8>>");
        }
        for same in ["(u8, Vec<u8>)", "( u8,Vec<u8>, )"] {
            assert_eq!(of(same), "(u8, Vec<u8>)");
        }
        assert_eq!(of("[ u8;4 ]"), "[u8; 4]");
        assert_eq!(of("::std::collections :: BTreeSet<u8>"), "::std::collections::BTreeSet<u8>");
        assert_eq!(of("Box<dyn Fn(u8,)->u8+Send>"), "Box<dyn Fn(u8,) -> u8 + Send>");
    }

    #[test]
    fn different_types_stay_different() {
        assert_eq!(of("(u8,)"), "(u8,)");
        assert_eq!(of("(u8)"), "(u8)");
        assert_eq!(of("((u8,), u8,)"), "((u8,), u8)");
        assert_eq!(of("(Vec<(u8, u8)>,)"), "(Vec<(u8, u8)>,)");
        assert_eq!(of("Cow<'static, str>"), "Cow<'static, str>");
        assert_eq!(of("()"), "()");
        assert_ne!(of("dyn Trait"), of("dynTrait"));
    }
}
