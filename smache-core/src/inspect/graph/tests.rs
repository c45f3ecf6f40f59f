use std::{collections::HashSet, time::Instant};

use super::{
    EdgeKind, Graph, GraphNode, NodeKind, NodeState,
    layout::{self, Link, Route, Size},
};

const HOSTILE: &str = "q\"uo\\te' \\N\nline\r\nfeed <b>&amp; #35;#quot; ;]})|>`*_x_ %%{init}%% é☃漢字 \
    1. x 2) y style a:b#c;\u{0}\u{1b}";

fn small() -> Graph {
    let mut graph = Graph::new("Grades");
    graph
        .node(GraphNode::new("grades", NodeKind::Source, "grades").detail("12 entities"))
        .node(GraphNode::new("average", NodeKind::Function, "average").detail("ttl 10m"))
        .node(GraphNode::new("report", NodeKind::Entry, "report(42)").state(NodeState::Stale))
        .node(GraphNode::new("pricing", NodeKind::Tag, "pricing"))
        .labelled_edge("grades", "average", EdgeKind::Relation, "course_id")
        .edge("average", "report", EdgeKind::Call)
        .edge("pricing", "report", EdgeKind::Observed)
        .edge("average", "average", EdgeKind::Call);
    graph
}

/// A graph of every kind of node and edge whose texts are all hostile.
fn hostile() -> Graph {
    let kinds = [NodeKind::Source, NodeKind::Function, NodeKind::Entry, NodeKind::Data, NodeKind::Tag];
    let mut graph = Graph::new(HOSTILE);
    for (at, kind) in kinds.into_iter().enumerate() {
        let node = GraphNode::new(format!("{HOSTILE}{at}"), kind, HOSTILE).detail(HOSTILE);
        graph.node(node.state(NodeState::ALL[at % 4]));
    }
    for (at, kind) in EdgeKind::ALL.into_iter().enumerate() {
        graph.labelled_edge(&format!("{HOSTILE}{}", at % 5), &format!("{HOSTILE}{}", (at + 1) % 5), kind, HOSTILE);
    }
    graph
}

/// Edges between numbered nodes by a fixed generator, so that every run draws the same graphs.
fn random(nodes: u64, edges: u64, labels: bool) -> Graph {
    let mut graph = Graph::new(format!("{nodes} nodes"));
    for at in 0..nodes {
        graph.node(GraphNode::new(at.to_string(), NodeKind::Function, format!("function_{at}")).detail("ttl 1m"));
    }
    let mut state = nodes * 31 + edges + 1;
    let mut next = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    for at in 0..edges {
        let from = next(nodes).to_string();
        let to = next(nodes).to_string();
        let kind = EdgeKind::ALL[at as usize % 6];
        if labels && at % 3 == 0 {
            graph.labelled_edge(&from, &to, kind, format!("label {at}"));
        } else {
            graph.edge(&from, &to, kind);
        }
    }
    graph
}

/// Parses the image, and checks that it shows every node and every edge exactly once. Returns the texts of its
/// tooltips.
fn checked(graph: &Graph) -> Vec<String> {
    let svg = graph.to_svg();
    let document = roxmltree::Document::parse(&svg).expect("the image is well-formed XML");
    assert_eq!(document.root_element().tag_name().namespace(), Some("http://www.w3.org/2000/svg"));
    assert!(document.root_element().has_attribute("viewBox"));
    let groups = |class: &str| -> Vec<String> {
        let of_class = |node: &roxmltree::Node<'_, '_>| {
            node.attribute("class").is_some_and(|classes| classes.split(' ').next() == Some(class))
        };
        let title = |node: roxmltree::Node<'_, '_>| {
            node.children().find(|child| child.has_tag_name("title")).and_then(|title| title.text().map(str::to_owned))
        };
        document.descendants().filter(of_class).map(|node| title(node).expect("a tooltip")).collect()
    };
    let nodes = groups("node");
    let edges = groups("edge");
    assert_eq!((nodes.len(), edges.len()), (graph.nodes().len(), graph.edges().len()));
    assert!(!svg.contains("NaN") && !svg.contains("inf"));
    nodes.into_iter().chain(edges).collect()
}

fn laid_out(graph: &Graph) -> layout::Layout {
    let sizes: Vec<Size> =
        graph.nodes().iter().enumerate().map(|(at, _)| (60.0 + (at % 7) as f64 * 20.0, 40.0)).collect();
    let link = |edge: &super::GraphEdge| {
        let label = edge.label.as_ref().map(|label| (label.len() as f64 * 6.0, 16.0));
        Link { from: edge.from, to: edge.to, label }
    };
    layout::layout(&sizes, &graph.edges().iter().map(link).collect::<Vec<_>>())
}

fn assert_apart(graph: &Graph) {
    let layout = laid_out(graph);
    for (at, a) in layout.places.iter().enumerate() {
        assert!(a.x >= 0.0 && a.y >= 0.0 && a.x + a.w <= layout.width + 0.01 && a.y + a.h <= layout.height + 0.01);
        for b in &layout.places[..at] {
            let apart = a.x + a.w <= b.x || b.x + b.w <= a.x || a.y + a.h <= b.y || b.y + b.h <= a.y;
            assert!(apart, "{a:?} overlaps {b:?}");
        }
    }
}

#[test]
fn dot_of_a_small_graph_is_exactly_this() {
    let expected = r##"digraph smache {
  rankdir=LR;
  label="Grades"; labelloc=t;
  node [fontname="Helvetica,Arial,sans-serif", fontsize=11];
  edge [fontname="Helvetica,Arial,sans-serif", fontsize=9];
  n0 [label="grades\n12 entities", shape=cylinder];
  n1 [label="average\nttl 10m", shape=box, style="rounded"];
  n2 [label="report(42)\nstale", shape=box, style="filled", fillcolor="#fdeccb", color="#a86200", fontcolor="#1b1f24"];
  n3 [label="pricing", shape=hexagon];
  n0 -> n1 [label="course_id", style=dashed, color="#b0602a", fontcolor="#b0602a"];
  n1 -> n2 [label="call", style=bold, color="#5b6472", fontcolor="#5b6472"];
  n3 -> n2 [label="observed", style=dotted, color="#a0488f", fontcolor="#a0488f"];
  n1 -> n1 [label="call", style=bold, color="#5b6472", fontcolor="#5b6472"];
}
"##;
    assert_eq!(small().to_dot(), expected);
}

#[test]
fn mermaid_of_a_small_graph_is_exactly_this() {
    let expected = r##"---
title: "Grades"
---
flowchart LR
  n0[("grades<br/>12 entities")]
  n1(["average<br/>ttl 10m"])
  n2["report(42)<br/>stale"]:::stale
  n3{{"pricing"}}
  n0 -->|"course_id"| n1
  n1 -->|"call"| n2
  n3 -->|"observed"| n2
  n1 -->|"call"| n1
  linkStyle 0 stroke:#b0602a,stroke-width:2px,stroke-dasharray:5 4
  linkStyle 1,3 stroke:#5b6472,stroke-width:3px
  linkStyle 2 stroke:#a0488f,stroke-width:2px,stroke-dasharray:2 4
  classDef stale fill:#fdeccb,stroke:#a86200,color:#1b1f24
"##;
    assert_eq!(small().to_mermaid(), expected);
}

#[test]
fn a_node_described_again_keeps_its_place_and_an_edge_added_again_is_one() {
    let mut graph = Graph::new("");
    graph.edge("a", "b", EdgeKind::Entity).edge("a", "b", EdgeKind::Entity);
    graph.labelled_edge("a", "b", EdgeKind::Relation, "x").labelled_edge("a", "b", EdgeKind::Relation, "y");
    assert_eq!((graph.nodes().len(), graph.edges().len()), (2, 3));
    assert_eq!(graph.nodes()[0], GraphNode::new("a", NodeKind::Data, "a"));

    graph.node(GraphNode::new("c", NodeKind::Tag, "c")).node(GraphNode::new("a", NodeKind::Source, "users"));
    let labels: Vec<&str> = graph.nodes().iter().map(|node| node.label.as_str()).collect();
    assert_eq!(labels, ["users", "b", "c"]);
    assert_eq!((graph.edges()[0].from, graph.edges()[0].to), (0, 1));
}

#[test]
fn hostile_labels_stay_one_string_in_dot() {
    let dot = hostile().to_dot();
    let escaped = "q\\\"uo\\\\te' \\\\N\\nline\\nfeed <b>&amp;amp; #35;#quot; ;]})|>`*_x_ %%{init}%% \
                   é☃漢字 1. x 2) y style a:b#c;��";
    assert_eq!(dot.matches(escaped).count(), 1 + 5 * 2 + 6, "{dot}");
    // Outside of quoted strings, no part of a label remains.
    let mut bare = String::new();
    let (mut quoted, mut skip) = (false, false);
    for c in dot.chars() {
        match c {
            _ if skip => skip = false,
            '\\' if quoted => skip = true,
            '"' => quoted = !quoted,
            c if !quoted => bare.push(c),
            _ => {}
        }
    }
    assert!(!quoted && bare.is_ascii() && !bare.contains(['<', '&', '#', '%', '`', '\\']), "{bare}");
    assert_eq!(dot.lines().count(), 6 + 5 + 6);
}

#[test]
fn hostile_labels_stay_one_string_in_mermaid() {
    let mermaid = hostile().to_mermaid();
    let escaped = "q#34;uo#92;te#39; #92;N<br/>line<br/>feed #60;b#62;#38;amp#59; #35;35#59;#35;quot#59; #59;#93;#125;\
                   #41;#124;#62;#96;#42;#95;x#95; #37;#37;#123;init#125;#37;#37; é☃漢字 1#46; x 2#41; y style \
                   a#58;b#35;c#59;��";
    assert_eq!(mermaid.matches(escaped).count(), 5 * 2 + 6, "{mermaid}");
    for line in mermaid.lines().skip(4).filter(|line| !line.contains("classDef") && !line.contains("linkStyle")) {
        assert_eq!(line.matches('"').count(), 2, "{line}");
    }
    assert!(
        mermaid.contains("title: \"q\\\"uo\\\\te' \\\\N\\u000aline\\u000d\\u000afeed \\u003cb>&amp; #35;"),
        "{mermaid}"
    );
    assert!(mermaid.ends_with("color:#1b1f24\n"));
}

#[test]
fn calls_and_words_stay_readable_in_mermaid() {
    let mut graph = Graph::new("");
    graph.node(GraphNode::new("a", NodeKind::Entry, "course_average(42, true)")).edge("", "a", EdgeKind::Whole);
    let mermaid = graph.to_mermaid();
    assert!(mermaid.starts_with("flowchart LR\n  n0[\"course_average(42, true)\"]\n  n1[/\" \"/]\n"), "{mermaid}");
}

#[test]
fn hostile_labels_are_whole_in_the_tooltips_of_an_image() {
    let tips = checked(&hostile());
    // XML cannot express most control characters.
    let whole = HOSTILE.replace(['\u{0}', '\u{1b}'], "\u{fffd}");
    assert!(tips.iter().all(|tip| tip.contains(&whole)), "{tips:?}");
}

#[test]
fn long_labels_are_cut_in_an_image_but_not_in_its_tooltip() {
    for long in ["long ".repeat(5_000), "漢".repeat(400), "\u{a0}é".repeat(1_500)] {
        let mut graph = Graph::new(&*long);
        graph.node(GraphNode::new("a", NodeKind::Entry, &*long).detail(&*long));
        graph.node(GraphNode::new("b", NodeKind::Source, &*long)).labelled_edge("a", "b", EdgeKind::Relation, &*long);
        assert!(checked(&graph).iter().all(|tip| tip.contains(&long)));
        let svg = graph.to_svg();
        let document = roxmltree::Document::parse(&svg).expect("the image is well-formed XML");
        let texts: Vec<&str> =
            document.descendants().filter(|n| n.has_tag_name("text")).filter_map(|n| n.text()).collect();
        assert_eq!(texts.iter().filter(|text| text.ends_with('…')).count(), 5, "{texts:?}");
        assert!(texts.iter().all(|text| text.chars().count() < 130));
    }
    let mut graph = Graph::new("");
    graph.node(GraphNode::new("a", NodeKind::Entry, "short\u{a0}enough"));
    assert!(graph.to_svg().contains(">short enough<"));
}

#[test]
fn the_legend_has_the_kinds_that_occur() {
    let svg = small().to_svg();
    let keys: Vec<&str> = svg.split("<g class=\"key ").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert_eq!(keys, ["relation", "call", "observed", "source", "function", "entry", "tag"]);
}

#[test]
fn edges_run_rightwards_except_those_that_close_a_cycle() {
    let mut graph = Graph::new("");
    graph.edge("r", "a", EdgeKind::Call);
    graph.edge("a", "b", EdgeKind::Call).edge("b", "c", EdgeKind::Call).edge("c", "a", EdgeKind::Call);
    graph.edge("b", "a", EdgeKind::Reads).edge("b", "b", EdgeKind::Call).edge("b", "b", EdgeKind::Reads);
    graph.edge("s", "c", EdgeKind::Entity).edge("s", "s", EdgeKind::Entity);
    checked(&graph);
    assert_apart(&graph);
    let layout = laid_out(&graph);
    let way = |route: &Route| match route {
        Route::Loop { count } => format!("loop {count}"),
        Route::Pieces { backwards: true, .. } => "backwards".to_owned(),
        Route::Pieces { .. } => "forwards".to_owned(),
    };
    let ways: Vec<String> = layout.routes.iter().map(way).collect();
    let expected =
        ["forwards", "forwards", "forwards", "backwards", "backwards", "loop 0", "loop 1", "forwards", "loop 0"];
    assert_eq!(ways, expected);
    // A node without incoming edges stands beside the nodes that it leads to, not at the far left.
    let [_, a, b, c, s] = layout.places[..] else { panic!("five nodes") };
    assert!(a.x < b.x && b.x < c.x && s.x + s.w < c.x && s.x > a.x, "{layout:?}");
}

#[test]
fn routes_start_and_end_at_their_boxes_and_never_turn_back() {
    let graph = random(60, 110, true);
    let layout = laid_out(&graph);
    for (edge, route) in graph.edges().iter().zip(&layout.routes) {
        let Route::Pieces { pieces, backwards, .. } = route else { continue };
        let (from, to) = if *backwards { (edge.to, edge.from) } else { (edge.from, edge.to) };
        let from = layout.places[from];
        let to = layout.places[to];
        let first = pieces[0];
        let last = pieces[pieces.len() - 1];
        assert_eq!((first.0, last.1), (from.x + from.w, to.x));
        assert!(first.2 > from.y && first.2 < from.y + from.h && last.2 > to.y && last.2 < to.y + to.h);
        assert!(pieces.iter().all(|piece| piece.0 <= piece.1) && pieces.windows(2).all(|two| two[0].1 < two[1].0));
    }
}

#[test]
fn a_tree_is_drawn_without_crossings() {
    let mut graph = Graph::new("");
    for at in [5, 2, 6, 3, 4, 1, 7, 9, 8] {
        graph.edge(&(at / 2).to_string(), &at.to_string(), EdgeKind::Call);
    }
    let layout = laid_out(&graph);
    let ends: Vec<((f64, f64), (f64, f64))> = layout
        .routes
        .iter()
        .map(|route| match route {
            Route::Pieces { pieces, .. } => ((pieces[0].1, pieces[0].2), (pieces[1].0, pieces[1].2)),
            Route::Loop { .. } => panic!("a tree has no loops"),
        })
        .collect();
    for (at, a) in ends.iter().enumerate() {
        for b in ends[..at].iter().filter(|b| b.0.0 == a.0.0) {
            assert!((a.0.1 <= b.0.1) == (a.1.1 <= b.1.1), "{a:?} crosses {b:?}");
        }
    }
}

#[test]
fn boxes_never_overlap() {
    for (nodes, edges) in [(1, 0), (1, 3), (2, 9), (9, 14), (30, 0), (40, 60), (80, 400)] {
        for labels in [false, true] {
            let graph = random(nodes, edges, labels);
            assert_apart(&graph);
            checked(&graph);
        }
    }
}

#[test]
fn an_empty_graph_is_drawn() {
    let graph = Graph::new("");
    assert!(checked(&graph).is_empty());
    assert_eq!(graph.to_mermaid(), "flowchart LR\n");
    assert_eq!(graph.to_dot().lines().count(), 5);
}

#[test]
fn the_same_graph_gives_the_same_text() {
    let texts = || {
        let graph = random(120, 300, true);
        [graph.to_dot(), graph.to_mermaid(), graph.to_svg()]
    };
    let distinct: HashSet<[String; 3]> = std::iter::repeat_with(texts).take(4).collect();
    assert_eq!(distinct.len(), 1);
}

#[test]
fn five_hundred_nodes_are_laid_out() {
    let begun = Instant::now();
    let graph = random(500, 900, true);
    checked(&graph);
    assert_apart(&graph);
    // A chain as deep as it gets, closed to a ring, and a source of everything.
    let mut deep = Graph::new("");
    for at in 0..500 {
        deep.edge(&at.to_string(), &((at + 1) % 500).to_string(), EdgeKind::Call);
        deep.edge("all", &at.to_string(), EdgeKind::Whole);
    }
    checked(&deep);
    assert_apart(&deep);
    // Many times the usual time, so that only a blow-up fails and not a busy machine.
    assert!(begun.elapsed().as_secs() < 30, "{:?}", begun.elapsed());
}
