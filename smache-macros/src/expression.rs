//! The text of a closure, independent of its layout: people read it, and it is part of a function's persisted key.
//!
//! It is not the text of [`written`], which leaves out the spaces around operators: in an expression `a & &b` is not
//! `a && b`.

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::{Expr, ExprClosure, ReturnType, Stmt};

use crate::written::written;

/// The text of a closure.
pub(crate) fn of_closure(closure: &ExprClosure) -> String {
    let ExprClosure { asyncness, capture, inputs, output, body, .. } = closure;
    let mut text = String::new();
    for word in [asyncness.to_token_stream(), capture.to_token_stream(), quote!(|)] {
        write(&mut text, word, false);
        text.push_str(if text.is_empty() || text.ends_with('|') { "" } else { " " });
    }
    write(&mut text, inputs.to_token_stream(), false);
    text.push_str("| ");
    // Formatters add and remove braces around one expression, but not behind a type.
    let body = match (output, &**body) {
        (ReturnType::Default, Expr::Block(block)) if block.attrs.is_empty() && block.label.is_none() => {
            match block.block.stmts.as_slice() {
                [Stmt::Expr(only, None)] => only,
                _ => &**body,
            }
        }
        (_, body) => body,
    };
    if let ReturnType::Type(_, ty) = output {
        text.push_str(&format!("-> {} ", written(ty)));
    }
    write(&mut text, body.to_token_stream(), false);
    text
}

fn write(text: &mut String, tokens: TokenStream, in_a_tuple: bool) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let commas = tokens.iter().filter(|token| is(token, ',')).count();
    // Within `::<…>`, where `<` is not an operator.
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate() {
        let next = tokens.get(index + 1);
        // A trailing comma is layout, except the one that makes a tuple of one.
        if is(token, ',') && next.is_none() && !(commas == 1 && in_a_tuple) {
            continue;
        }
        if is(token, '<') && (depth > 0 || text.ends_with("::")) {
            depth += 1;
        }
        let before =
            index.checked_sub(1).map(|before| (&tokens[before], before.checked_sub(1).map(|two| &tokens[two])));
        if before.is_some_and(|(before, two)| is_spaced(two, before, token, next, depth > 0)) {
            text.push(' ');
        }
        if is(token, '>') {
            depth = depth.saturating_sub(1);
        }
        match token {
            TokenTree::Group(group) => {
                // Groups without delimiters come from a `macro_rules!`: invisible, so they are not written.
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::Brace => ("{ ", " }"),
                    Delimiter::None => ("", ""),
                };
                text.push_str(open);
                let called = before.is_some_and(|(before, _)| !is_operator(before) || is(before, '>'));
                write(text, group.stream(), group.delimiter() == Delimiter::Parenthesis && !called);
                text.push_str(close);
            }
            other => text.push_str(&other.to_string()),
        }
    }
}

/// Whether there is a space between two tokens.
fn is_spaced(
    two_before: Option<&TokenTree>,
    before: &TokenTree,
    token: &TokenTree,
    next: Option<&TokenTree>,
    in_generics: bool,
) -> bool {
    if let TokenTree::Punct(punct) = before {
        // One operator of several characters.
        if punct.spacing() == Spacing::Joint {
            return false;
        }
        let path = punct.as_char() == ':' && two_before.is_some_and(|two| is(two, ':'));
        // An operator that has no operand before it stands before its own.
        let prefix = matches!(punct.as_char(), '&' | '*' | '-' | '!') && two_before.is_none_or(is_operator);
        let macro_name = punct.as_char() == '!' && matches!(token, TokenTree::Group(_));
        if path || prefix || macro_name || matches!(punct.as_char(), '.' | '\'') || (in_generics && !is(before, ',')) {
            return false;
        }
    }
    match token {
        TokenTree::Punct(punct) => match punct.as_char() {
            '.' => is(before, ','),
            ',' | ';' | '?' => false,
            ':' => is_operator(before),
            '!' => !matches!((before, next), (TokenTree::Ident(_), Some(TokenTree::Group(_)))),
            _ => !in_generics,
        },
        TokenTree::Group(group) => match group.delimiter() {
            Delimiter::Parenthesis | Delimiter::Bracket => is_operator(before) && !is(before, '>'),
            _ => true,
        },
        TokenTree::Ident(_) | TokenTree::Literal(_) => true,
    }
}

/// Whether an operand comes next: behind operators, and behind the keywords that act like one.
fn is_operator(token: &TokenTree) -> bool {
    match token {
        TokenTree::Punct(punct) => punct.as_char() != '?',
        TokenTree::Ident(ident) => ["return", "break", "in", "if", "while", "match"].iter().any(|word| ident == word),
        _ => false,
    }
}

fn is(token: &TokenTree, char: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == char)
}

#[cfg(test)]
mod tests {
    use super::of_closure;

    fn of(closure: &str) -> String {
        of_closure(&syn::parse_str(closure).expect("a closure"))
    }

    #[test]
    fn layout_does_not_matter() {
        for same in ["|grade|grade.course_id", "| grade | { grade . course_id }", "|grade,|\n    grade\n    .course_id"]
        {
            assert_eq!(of(same), "|grade| grade.course_id");
        }
        for same in ["|Grade{a,..}:&Grade|[*a,(a+1),]", "|Grade { a, .. }: &Grade| [*a, (a + 1)]"] {
            assert_eq!(of(same), "|Grade { a, .. }: &Grade| [*a, (a + 1)]");
        }
        for same in [
            "async move|cx,_|->Result<Vec<u64>>{let x=f(cx,).await?;Ok(x.ids.iter().map(|id|*id,).collect::<Vec<_>>())}",
            "async move |cx, _| -> Result<Vec<u64>> {
                let x = f(cx).await?;
                Ok(x.ids.iter().map(|id| *id).collect::<Vec<_>>())
            }",
        ] {
            assert_eq!(
                of(same),
                "async move |cx, _| -> Result<Vec<u64>> { let x = f(cx).await?; \
                 Ok(x.ids.iter().map(| id | *id).collect::<Vec<_>>()) }"
            );
        }
        assert_eq!(of("|a|{vec![a.b,]}"), "|a| vec![a.b]");
        assert_eq!(of("|a|{if!a.b{return&a.c;}a.d}"), "|a| { if !a.b { return &a.c; } a.d }");
    }

    #[test]
    fn different_closures_stay_different() {
        for (one, other) in [
            ("|a| a.b & &a.c", "|a| a.b && a.c"),
            ("|a| (a.b,)", "|a| (a.b)"),
            ("|a| a.bc", "|a| a.b.c"),
            ("|a| { a; b }", "|a| { a; b; }"),
            ("|a| \"x y\"", "|a| \"x  y\""),
            ("|a| return a", "|a| returna"),
            ("|a| return (a,)", "|a| return (a)"),
            ("|a| a - -b", "|a| a--b-c"),
            ("|a| -> u8 { a }", "|a| a"),
        ] {
            assert_ne!(of(one), of(other));
        }
    }
}
