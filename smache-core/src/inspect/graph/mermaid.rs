//! Mermaid flowcharts, as <https://mermaid.js.org/syntax/flowchart.html> describes them.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{Graph, NodeKind, NodeState};

pub(super) fn render(graph: &Graph) -> String {
    let mut out = String::new();
    if !graph.title.is_empty() {
        line(&mut out, format_args!("---\ntitle: {}\n---", yaml(&graph.title)));
    }
    out.push_str("flowchart LR\n");
    for (at, node) in graph.nodes.iter().enumerate() {
        let (open, close) = match node.kind {
            NodeKind::Source => ("[(", ")]"),
            NodeKind::Function => ("([", "])"),
            NodeKind::Entry => ("[", "]"),
            NodeKind::Data => ("[/", "/]"),
            NodeKind::Tag => ("{{", "}}"),
        };
        let mut label = escaped(&node.label);
        if let Some(second) = node.second_line() {
            label.push_str("<br/>");
            label.push_str(&escaped(&second));
        }
        let class = node.state.map(|state| format!(":::{}", state.word())).unwrap_or_default();
        line(&mut out, format_args!("  n{at}{open}\"{label}\"{close}{class}"));
    }
    for edge in &graph.edges {
        line(&mut out, format_args!("  n{} -->|\"{}\"| n{}", edge.from, escaped(edge.caption()), edge.to));
    }
    // Mermaid itself knows three strokes; style lines give links more, by their number.
    let mut links: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for (at, edge) in graph.edges.iter().enumerate() {
        links.entry(edge.kind).or_default().push(at.to_string());
    }
    for (kind, links) in links {
        let width = if kind == super::EdgeKind::Call { 3 } else { 2 };
        let dashes = kind.dashes().map(|dashes| format!(",stroke-dasharray:{dashes}")).unwrap_or_default();
        let links = links.join(",");
        let colour = kind.light();
        line(&mut out, format_args!("  linkStyle {links} stroke:{colour},stroke-width:{width}px{dashes}"));
    }
    for state in NodeState::ALL.into_iter().filter(|state| graph.nodes.iter().any(|node| node.state == Some(*state))) {
        let (fill, outline) = state.light();
        line(&mut out, format_args!("  classDef {} fill:{fill},stroke:{outline},color:#1b1f24", state.word()));
    }
    out
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(out, "{text}").expect("writing to a string cannot fail");
}

/// A label between quotes. Every mark that Mermaid, its Markdown or HTML could read as more than a character is written
/// as an entity code (`#35;` is a `#`). Only letters, digits, `,`, `/`, brackets of calls, `_` and `-` inside of words,
/// and non-ASCII characters stay. A full stop does not, because `1. x` would be a list and `www.x` a link.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut before = None;
    let mut depth = 0_usize;
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let next = rest.peek().copied();
        let in_word = before.is_some_and(char::is_alphanumeric) && next.is_some_and(char::is_alphanumeric);
        match c {
            '\r' if next == Some('\n') => {}
            '\n' | '\r' => out.push_str("<br/>"),
            '\t' => out.push(' '),
            '(' => {
                depth += 1;
                out.push(c);
            }
            // Without its opening bracket, as in `1) x`, it would start a list.
            ')' if depth > 0 => {
                depth -= 1;
                out.push(c);
            }
            c if c.is_control() => out.push(char::REPLACEMENT_CHARACTER),
            ' ' | ',' | '/' => out.push(c),
            '_' | '-' if in_word => out.push(c),
            c if !c.is_ascii() || c.is_ascii_alphanumeric() => out.push(c),
            c => write!(out, "#{};", u32::from(c)).expect("writing to a string cannot fail"),
        }
        before = Some(c);
    }
    // Mermaid refuses an empty label.
    if out.is_empty() { " ".to_owned() } else { out }
}

/// A quoted string of YAML. `<` is escaped because Mermaid rewrites anything like a tag before it reads the YAML.
fn yaml(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '<' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => {
                write!(out, "\\u{:04x}", u32::from(c)).expect("writing to a string cannot fail");
            }
            c if c.is_control() => write!(out, "\\u{:04x}", u32::from(c)).expect("writing to a string cannot fail"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
