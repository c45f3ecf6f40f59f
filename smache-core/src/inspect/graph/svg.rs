//! A standalone SVG image.
//!
//! It has its own background and two sets of colours, so that it reads well in light and in dark viewers. No part
//! refers to another by id (arrow heads are drawn one by one), so that several graphs can stand in one page.

use std::fmt::Write as _;

use super::{
    EdgeKind, Graph, GraphEdge, GraphNode, NodeKind, NodeState,
    layout::{self, LOOP, Link, Place, Route},
};

const MARGIN: f64 = 20.0;
const LABEL: f64 = 13.0;
const SMALL: f64 = 11.0;
/// The widest text in a box, and on an edge.
const BOX_TEXT: f64 = 240.0;
const EDGE_TEXT: f64 = 140.0;
/// The length of an arrow head.
const HEAD: f64 = 8.0;

pub(super) fn render(graph: &Graph) -> String {
    let boxes: Vec<_> = graph.nodes.iter().map(size).collect();
    let links: Vec<_> = graph.edges.iter().map(link).collect();
    let mut layout = layout::layout(&boxes, &links);
    let title = cut(&graph.title, 16.0, 700.0);
    let top = MARGIN + if title.is_empty() { 0.0 } else { 34.0 };
    for place in &mut layout.places {
        (place.x, place.y) = (place.x + MARGIN, place.y + top);
    }
    let inner = layout.width.max(width(&title, 16.0) * 1.1).max(360.0);

    let mut body = String::new();
    if !title.is_empty() {
        put(&mut body, format_args!("<text class=\"title\" x=\"{MARGIN}\" y=\"36\">{}</text>", escaped(&title)));
    }
    // Lines first, so that a box is never crossed out.
    for (edge, route) in graph.edges.iter().zip(&layout.routes) {
        draw_edge(&mut body, graph, edge, route, layout.places[edge.from], top);
    }
    for (node, place) in graph.nodes.iter().zip(&layout.places) {
        draw_node(&mut body, node, *place);
    }
    let bottom = legend(&mut body, graph, inner, top + layout.height + 30.0);

    let w = inner + 2.0 * MARGIN;
    let h = bottom + MARGIN;
    let name = if graph.title.is_empty() { "dependencies" } else { &graph.title };
    let mut out = String::new();
    put(
        &mut out,
        format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"smache-graph\" role=\"img\" width=\"{w:.0}\" \
             height=\"{h:.0}\" viewBox=\"0 0 {w:.0} {h:.0}\">\n<title>{}</title>",
            escaped(name)
        ),
    );
    style(&mut out);
    put(&mut out, format_args!("<rect class=\"ground\" width=\"100%\" height=\"100%\"/>"));
    out.push_str(&body);
    out.push_str("</svg>\n");
    out
}

fn size(node: &GraphNode) -> (f64, f64) {
    let label = width(&cut(&node.label, LABEL, BOX_TEXT), LABEL);
    let second = node.second_line().map(|second| width(&cut(&second, SMALL, BOX_TEXT), SMALL));
    let height = if second.is_some() { 48.0 } else { 34.0 };
    let (more_width, more_height) = match node.kind {
        NodeKind::Source => (0.0, 10.0),
        NodeKind::Tag | NodeKind::Data => (14.0, 0.0),
        NodeKind::Function | NodeKind::Entry => (0.0, 0.0),
    };
    ((label.max(second.unwrap_or(0.0)) + 26.0 + more_width).max(70.0).round(), height + more_height)
}

fn link(edge: &GraphEdge) -> Link {
    let label = edge.label.as_ref().map(|label| (width(&cut(label, SMALL, EDGE_TEXT), SMALL) + 10.0, 16.0));
    Link { from: edge.from, to: edge.to, label }
}

fn draw_edge(out: &mut String, graph: &Graph, edge: &GraphEdge, route: &Route, from: Place, top: f64) {
    let (line, head, label) = match route {
        Route::Loop { count } => {
            let rise = from.y - (*count as f64 + 1.0) * LOOP + 4.0;
            let middle = from.x + from.w / 2.0;
            let half = 18.0 + *count as f64 * 6.0;
            let right = middle + half;
            let left = middle - half;
            let start = from.y + 6.0;
            let tip = from.y;
            let line = format!("M{right:.1} {start:.1}V{rise:.1}H{left:.1}V{:.1}", (tip - HEAD + 1.0).max(rise));
            (line, format!("M{left:.1} {tip:.1}l-3.5 -{HEAD}h7z"), Some((middle, rise)))
        }
        Route::Pieces { pieces, backwards, label } => {
            let mut pieces: Vec<_> = pieces.iter().map(|&(a, b, y)| (a + MARGIN, b + MARGIN, y + top)).collect();
            let last = pieces.len() - 1;
            let (x, y, turn) =
                if *backwards { (pieces[0].0, pieces[0].2, "") } else { (pieces[last].1, pieces[last].2, "-") };
            let head = format!("M{x:.1} {y:.1}l{turn}{HEAD} -3.5v7z");
            // The line ends where the head begins.
            if *backwards {
                pieces[0].0 += HEAD - 1.0;
                pieces[0].1 = pieces[0].1.max(pieces[0].0);
            } else {
                pieces[last].1 -= HEAD - 1.0;
                pieces[last].0 = pieces[last].0.min(pieces[last].1);
            }
            let mut line = format!("M{:.1} {:.1}", pieces[0].0, pieces[0].2);
            for (at, &(start, end, y)) in pieces.iter().enumerate() {
                if at > 0 {
                    let (_, x, before) = pieces[at - 1];
                    let middle = (x + start) / 2.0;
                    write_to(&mut line, format_args!("C{middle:.1} {before:.1} {middle:.1} {y:.1} {start:.1} {y:.1}"));
                }
                write_to(&mut line, format_args!("H{end:.1}"));
            }
            (line, head, label.map(|at| ((pieces[at].0 + pieces[at].1) / 2.0, pieces[at].2)))
        }
    };
    let name = |at: usize| graph.nodes[at].label.as_str();
    let mut tip = format!("{} → {}: {}", name(edge.from), name(edge.to), edge.kind.word());
    if let Some(label) = &edge.label {
        write_to(&mut tip, format_args!(" {label}"));
    }
    put(out, format_args!("<g class=\"edge {}\"><title>{}</title>", class(edge.kind), escaped(&tip)));
    put(out, format_args!("<path class=\"line\" d=\"{line}\"/><path class=\"head\" d=\"{head}\"/>"));
    if let Some((text, (x, y))) = edge.label.as_ref().zip(label) {
        let text = cut(text, SMALL, EDGE_TEXT);
        // The line must not show between the words.
        let wide = width(&text, SMALL) + 4.0;
        let left = x - wide / 2.0;
        let above = y - 7.0;
        let below = y + 4.0;
        let text = escaped(&text);
        put(
            out,
            format_args!(
                "<rect class=\"ground\" x=\"{left:.1}\" y=\"{above:.1}\" width=\"{wide:.1}\" height=\"14\"/>\
                 <text class=\"label\" x=\"{x:.1}\" y=\"{below:.1}\">{text}</text>"
            ),
        );
    }
    out.push_str("</g>\n");
}

fn draw_node(out: &mut String, node: &GraphNode, place: Place) {
    let state = node.state.map(|state| format!(" {}", state.word())).unwrap_or_default();
    let mut tip = format!("{} {}", node.kind.word(), node.label);
    let second = node.second_line();
    if let Some(second) = &second {
        write_to(&mut tip, format_args!("\n{second}"));
    }
    put(out, format_args!("<g class=\"node {}{state}\"><title>{}</title>", node.kind.word(), escaped(&tip)));
    put(out, format_args!("<path class=\"box\" d=\"{}\"/>", outline(node.kind, place)));
    let x = place.x + place.w / 2.0;
    let lid = if node.kind == NodeKind::Source { 4.0 } else { 0.0 };
    let y = place.y + place.h / 2.0 + lid + if second.is_some() { -3.0 } else { 4.5 };
    let label = escaped(&cut(&node.label, LABEL, BOX_TEXT));
    put(out, format_args!("<text class=\"name\" x=\"{x:.1}\" y=\"{y:.1}\">{label}</text>"));
    if let Some(second) = second {
        let y = y + 16.0;
        let second = escaped(&cut(&second, SMALL, BOX_TEXT));
        put(out, format_args!("<text class=\"second\" x=\"{x:.1}\" y=\"{y:.1}\">{second}</text>"));
    }
    out.push_str("</g>\n");
}

/// The shape of a kind: a cylinder, a rounded box, a box, a sheet with a folded corner, a hexagon.
fn outline(kind: NodeKind, Place { x, y, w, h }: Place) -> String {
    let corner = (h / 3.0).min(10.0);
    let right = x + w;
    let bottom = y + h;
    let half = w / 2.0;
    match kind {
        NodeKind::Source => {
            let lid = corner / 2.0;
            let (rim, side) = (y + lid, h - 2.0 * lid);
            format!(
                "M{x:.1} {rim:.1}a{half:.1} {lid:.1} 0 0 1 {w:.1} 0v{side:.1}a{half:.1} {lid:.1} 0 0 1 -{w:.1} 0z\
                 M{x:.1} {rim:.1}a{half:.1} {lid:.1} 0 0 0 {w:.1} 0"
            )
        }
        NodeKind::Function => {
            let across = w - 2.0 * corner;
            let down = h - 2.0 * corner;
            let arc = |dx: f64, dy: f64| format!("a{corner:.1} {corner:.1} 0 0 1 {dx:.1} {dy:.1}");
            let a = arc(corner, corner);
            let b = arc(-corner, corner);
            let c = arc(-corner, -corner);
            let d = arc(corner, -corner);
            format!("M{:.1} {y:.1}h{across:.1}{a}v{down:.1}{b}h-{across:.1}{c}v-{down:.1}{d}z", x + corner)
        }
        NodeKind::Entry => format!("M{x:.1} {y:.1}h{w:.1}v{h:.1}h-{w:.1}z"),
        NodeKind::Data => {
            let (fold, under) = (right - corner, y + corner);
            format!(
                "M{x:.1} {y:.1}H{fold:.1}L{right:.1} {under:.1}V{bottom:.1}H{x:.1}z\
                 M{fold:.1} {y:.1}V{under:.1}H{right:.1}"
            )
        }
        NodeKind::Tag => {
            let left = x + corner;
            let inner = right - corner;
            let middle = y + h / 2.0;
            format!(
                "M{x:.1} {middle:.1}L{left:.1} {y:.1}H{inner:.1}L{right:.1} {middle:.1}\
                 L{inner:.1} {bottom:.1}H{left:.1}z"
            )
        }
    }
}

/// Draws the kinds of edges and nodes that occur, in rows. Returns the lower end.
fn legend(out: &mut String, graph: &Graph, inner: f64, top: f64) -> f64 {
    let edges = EdgeKind::ALL.into_iter().filter(|kind| graph.edges.iter().any(|edge| edge.kind == *kind));
    let mut nodes: Vec<NodeKind> = graph.nodes.iter().map(|node| node.kind).collect();
    nodes.sort_unstable();
    nodes.dedup();
    let edges = edges.map(|kind| (class(kind), kind.word(), None));
    let nodes = nodes.into_iter().map(|kind| (kind.word(), kind.word(), Some(kind)));
    let (mut x, mut y) = (MARGIN, top);
    for (class, word, shape) in edges.chain(nodes) {
        let wide = 42.0 + width(word, SMALL) + 18.0;
        if x > MARGIN && x + wide > MARGIN + inner {
            (x, y) = (MARGIN, y + 22.0);
        }
        put(out, format_args!("<g class=\"key {class}\">"));
        let text = match shape {
            Some(kind) => {
                let place = Place { x, y: y - 8.0, w: 26.0, h: 16.0 };
                put(out, format_args!("<path class=\"box\" d=\"{}\"/>", outline(kind, place)));
                x + 33.0
            }
            None => {
                let tip = x + 36.0;
                put(
                    out,
                    format_args!(
                        "<path class=\"line\" d=\"M{x:.1} {y:.1}h29\"/>\
                         <path class=\"head\" d=\"M{tip:.1} {y:.1}l-{HEAD} -3.5v7z\"/>"
                    ),
                );
                x + 42.0
            }
        };
        put(out, format_args!("<text class=\"key-text\" x=\"{text:.1}\" y=\"{:.1}\">{word}</text></g>", y + 4.0));
        x += wide;
    }
    y + 8.0
}

fn class(kind: EdgeKind) -> &'static str {
    match kind {
        EdgeKind::Whole => "whole",
        other => other.word(),
    }
}

fn style(out: &mut String) {
    out.push_str(concat!(
        "<style>\n",
        ".smache-graph{font-family:system-ui,-apple-system,\"Segoe UI\",Roboto,\"Helvetica Neue\",Arial,",
        "\"Noto Sans\",sans-serif}\n",
        ".smache-graph text{fill:#1b1f24;font-size:11px}\n",
        ".smache-graph .title{font-size:16px;font-weight:600}\n",
        ".smache-graph .name{font-size:13px;text-anchor:middle}\n",
        ".smache-graph .second{fill:#48515c;text-anchor:middle}\n",
        ".smache-graph .label{text-anchor:middle}\n",
        ".smache-graph .ground{fill:#ffffff}\n",
        ".smache-graph .box{fill:#f3f5f7;stroke:#5b6570;stroke-width:1.3px}\n",
        ".smache-graph .absent .box{stroke-dasharray:4 3}\n",
        ".smache-graph .line{fill:none;stroke-width:1.5px}\n",
        ".smache-graph .call .line{stroke-width:3px}\n",
    ));
    for kind in EdgeKind::ALL {
        edge_colour(out, kind, kind.light());
        if let Some(dashes) = kind.dashes() {
            put(out, format_args!(".smache-graph .{} .line{{stroke-dasharray:{dashes}}}", class(kind)));
        }
    }
    NodeState::ALL.into_iter().for_each(|state| box_colours(out, state, state.light()));
    out.push_str(concat!(
        "@media (prefers-color-scheme:dark){\n",
        ".smache-graph text{fill:#e6e9ed}\n",
        ".smache-graph .second{fill:#b4bcc6}\n",
        ".smache-graph .ground{fill:#16191d}\n",
        ".smache-graph .box{fill:#252a31;stroke:#8c97a3}\n",
    ));
    for kind in EdgeKind::ALL {
        let colour = match kind {
            EdgeKind::Entity => "#7fb0f0",
            EdgeKind::Whole => "#5cc8c8",
            EdgeKind::Reads => "#a9cc6e",
            EdgeKind::Relation => "#eaa271",
            EdgeKind::Call => "#aab4c1",
            EdgeKind::Observed => "#df8fd0",
        };
        edge_colour(out, kind, colour);
    }
    for state in NodeState::ALL {
        let colours = match state {
            NodeState::Fresh => ("#1c3a26", "#6cc384"),
            NodeState::Stale => ("#43310f", "#e3a747"),
            NodeState::Unconfirmed => ("#322750", "#b39ae6"),
            NodeState::Absent => ("#46211f", "#ec857d"),
        };
        box_colours(out, state, colours);
    }
    out.push_str("}\n</style>\n");
}

fn edge_colour(out: &mut String, kind: EdgeKind, colour: &str) {
    let class = class(kind);
    put(
        out,
        format_args!(".smache-graph .{class} .line{{stroke:{colour}}} .smache-graph .{class} .head{{fill:{colour}}}"),
    );
}

fn box_colours(out: &mut String, state: NodeState, (fill, outline): (&str, &str)) {
    put(out, format_args!(".smache-graph .{} .box{{fill:{fill};stroke:{outline}}}", state.word()));
}

/// The width of a text, guessed on the large side: there are no fonts to measure here.
fn width(text: &str, size: f64) -> f64 {
    let wide = |c: char| match c {
        'i' | 'j' | 'l' | 't' | 'f' | 'r' | 'I' | ' ' | '.' | ',' | ':' | ';' | '\'' | '|' | '!' | '(' | ')' | '['
        | ']' => 0.4,
        'm' | 'w' | 'M' | 'W' | '@' | '%' | '…' => 0.95,
        'A'..='Z' | '&' | '#' | '<' | '>' | '=' | '+' | '~' | '→' => 0.74,
        '\u{300}'..='\u{36f}' | '\u{200b}'..='\u{200f}' | '\u{fe00}'..='\u{fe0f}' => 0.0,
        c if c.is_ascii() => 0.6,
        '\u{1100}'..='\u{11ff}' | '\u{2e80}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7a3}' | '\u{f900}'..='\u{faff}' => 1.05,
        '\u{fe30}'..='\u{fe4f}' | '\u{ff00}'..='\u{ff60}' | '\u{1f000}'.. => 1.3,
        _ => 0.72,
    };
    text.chars().map(wide).sum::<f64>() * size
}

/// A text on one line, cut to a width.
fn cut(text: &str, size: f64, most: f64) -> String {
    // Far more than fits, so that it need not measure megabytes of text.
    const MOST: usize = 1_000;
    let flat: String =
        text.chars().take(MOST).map(|c| if c.is_whitespace() || c.is_control() { ' ' } else { c }).collect();
    if width(&flat, size) <= most && text.chars().nth(MOST).is_none() {
        return flat;
    }
    let room = most - width("…", size);
    let mut end = 0;
    let mut used = 0.0;
    for (at, c) in flat.char_indices() {
        used += width(c.encode_utf8(&mut [0; 4]), size);
        if used > room {
            break;
        }
        end = at + c.len_utf8();
    }
    format!("{}…", flat[..end].trim_end())
}

/// As text or attribute of XML. Characters that XML cannot hold are replaced.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\t' | '\n' | '\r' => write_to(&mut out, format_args!("&#{};", u32::from(c))),
            '\u{fffe}' | '\u{ffff}' => out.push(char::REPLACEMENT_CHARACTER),
            c if c.is_control() => out.push(char::REPLACEMENT_CHARACTER),
            c => out.push(c),
        }
    }
    out
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    write_to(out, text);
    out.push('\n');
}

fn write_to(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to a string cannot fail");
}
