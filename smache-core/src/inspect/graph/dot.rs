//! The language of Graphviz, as <https://graphviz.org/doc/info/lang.html> describes it.
//!
//! Nodes are called `n0`, `n1`, … in the order in which they were added: an id of the user's could not be written in
//! every case, since a quoted id knows no escape for a backslash.

use std::fmt::Write as _;

use super::{EdgeKind, Graph, NodeKind};

pub(super) fn render(graph: &Graph) -> String {
    let mut out = String::from("digraph smache {\n  rankdir=LR;\n");
    if !graph.title.is_empty() {
        line(&mut out, format_args!("  label={}; labelloc=t;", quoted(&graph.title)));
    }
    out.push_str("  node [fontname=\"Helvetica,Arial,sans-serif\", fontsize=11];\n");
    out.push_str("  edge [fontname=\"Helvetica,Arial,sans-serif\", fontsize=9];\n");
    for (at, node) in graph.nodes.iter().enumerate() {
        let mut label = node.label.clone();
        if let Some(second) = node.second_line() {
            label.push('\n');
            label.push_str(&second);
        }
        let (shape, mut style) = match node.kind {
            NodeKind::Source => ("cylinder", String::new()),
            NodeKind::Function => ("box", "rounded".to_owned()),
            NodeKind::Entry => ("box", String::new()),
            NodeKind::Data => ("note", String::new()),
            NodeKind::Tag => ("hexagon", String::new()),
        };
        let mut colours = String::new();
        if let Some(state) = node.state {
            style.push_str(if style.is_empty() { "filled" } else { ",filled" });
            let (fill, outline) = state.light();
            colours = format!(", fillcolor=\"{fill}\", color=\"{outline}\", fontcolor=\"#1b1f24\"");
        }
        let style = if style.is_empty() { String::new() } else { format!(", style=\"{style}\"") };
        line(&mut out, format_args!("  n{at} [label={}, shape={shape}{style}{colours}];", quoted(&label)));
    }
    for edge in &graph.edges {
        let style = match edge.kind {
            EdgeKind::Entity => "solid",
            // Graphviz has one pattern of dashes, so these differ from a relation by colour and by their label.
            EdgeKind::Whole | EdgeKind::Reads | EdgeKind::Relation => "dashed",
            EdgeKind::Call => "bold",
            EdgeKind::Observed => "dotted",
        };
        let colour = edge.kind.light();
        line(
            &mut out,
            format_args!(
                "  n{} -> n{} [label={}, style={style}, color=\"{colour}\", fontcolor=\"{colour}\"];",
                edge.from,
                edge.to,
                quoted(edge.caption())
            ),
        );
    }
    out.push_str("}\n");
    out
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(out, "{text}").expect("writing to a string cannot fail");
}

/// A label as a quoted string. Graphviz replaces `\N` and the like and HTML entities in labels, so backslashes and
/// ampersands are escaped as well as quotes; it would end the text at a NUL.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '&' => out.push_str("&amp;"),
            '\r' if rest.peek() == Some(&'\n') => {}
            '\n' | '\r' => out.push_str("\\n"),
            '\t' => out.push(' '),
            c if c.is_control() => out.push(char::REPLACEMENT_CHARACTER),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
