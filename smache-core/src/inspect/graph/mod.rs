//! A graph of dependencies, and three ways to draw it: Graphviz, Mermaid and SVG.
//!
//! All of them list nodes and edges in the order in which they were added, so that the same graph always gives the same
//! text. None needs an installed program; `layout.rs` lays out the SVG (see there for the method and why no library
//! does it).

mod dot;
mod layout;
mod mermaid;
mod svg;
#[cfg(test)]
mod tests;

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

/// A graph of dependencies, for drawings.
///
/// Edges run from a dependency to its dependant. Cycles and edges from a node to itself are allowed: a recursive
/// function calls itself.
///
/// ```
/// use smache_core::inspect::{EdgeKind, Graph, GraphNode, NodeKind};
///
/// let mut graph = Graph::new("declared");
/// graph
///     .node(GraphNode::new("users", NodeKind::Source, "users"))
///     .node(GraphNode::new("greeting", NodeKind::Function, "greeting").detail("ttl 10m"))
///     .edge("users", "greeting", EdgeKind::Entity);
/// assert!(graph.to_dot().starts_with("digraph"));
/// assert!(graph.to_mermaid().contains("flowchart LR"));
/// assert!(graph.to_svg().starts_with("<svg"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graph {
    title: String,
    nodes: Vec<GraphNode>,
    edges: Vec<GraphEdge>,
    by_id: HashMap<String, usize>,
    drawn: HashSet<GraphEdge>,
}

impl Graph {
    /// An empty graph. The title may be empty too.
    #[must_use]
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), nodes: Vec::new(), edges: Vec::new(), by_id: HashMap::new(), drawn: HashSet::new() }
    }

    /// Adds a node. A node with the same id replaces the earlier one and keeps its place.
    pub fn node(&mut self, node: GraphNode) -> &mut Self {
        match self.by_id.get(&node.id) {
            Some(&at) => self.nodes[at] = node,
            None => {
                self.by_id.insert(node.id.clone(), self.nodes.len());
                self.nodes.push(node);
            }
        }
        self
    }

    /// Adds an edge from a dependency to its dependant; an edge that is there already is not added again.
    ///
    /// An end that is no node yet becomes one of [`NodeKind::Data`] with its id as label, which [`node`](Self::node)
    /// may describe later. So edges and nodes can be added in any order, and no edge is lost.
    pub fn edge(&mut self, from: &str, to: &str, kind: EdgeKind) -> &mut Self {
        self.add_edge(from, to, kind, None)
    }

    /// Adds an edge with its own text, for example the name of a relation. Edges with different texts are different
    /// edges.
    pub fn labelled_edge(&mut self, from: &str, to: &str, kind: EdgeKind, label: impl Into<String>) -> &mut Self {
        self.add_edge(from, to, kind, Some(label.into()))
    }

    fn add_edge(&mut self, from: &str, to: &str, kind: EdgeKind, label: Option<String>) -> &mut Self {
        let edge = GraphEdge { from: self.place_of(from), to: self.place_of(to), kind, label };
        if self.drawn.insert(edge.clone()) {
            self.edges.push(edge);
        }
        self
    }

    fn place_of(&mut self, id: &str) -> usize {
        match self.by_id.get(id) {
            Some(&at) => at,
            None => {
                self.node(GraphNode::new(id, NodeKind::Data, id));
                self.nodes.len() - 1
            }
        }
    }

    /// The title.
    #[must_use]
    pub fn title(&self) -> &str {
        &self.title
    }

    /// The nodes, in the order in which they were added.
    #[must_use]
    pub fn nodes(&self) -> &[GraphNode] {
        &self.nodes
    }

    /// The edges, in the order in which they were added.
    #[must_use]
    pub fn edges(&self) -> &[GraphEdge] {
        &self.edges
    }

    /// The graph in the language of Graphviz.
    #[must_use]
    pub fn to_dot(&self) -> String {
        dot::render(self)
    }

    /// The graph as a Mermaid flowchart, which for example GitHub draws inside Markdown.
    ///
    /// Mermaid refuses more than 500 edges or 50,000 characters unless its settings say otherwise; for a larger graph
    /// take [`to_svg`](Self::to_svg).
    #[must_use]
    pub fn to_mermaid(&self) -> String {
        mermaid::render(self)
    }

    /// The graph as a standalone SVG image with a legend, in light or dark as the viewer prefers. Long labels are cut;
    /// the tooltips have the full text.
    #[must_use]
    pub fn to_svg(&self) -> String {
        svg::render(self)
    }
}

/// A node of a [`Graph`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GraphNode {
    /// Any text, unique in its graph. It is not drawn.
    pub id: String,
    /// Its kind.
    pub kind: NodeKind,
    /// Its name in the drawing.
    pub label: String,
    /// A second line, for example `ttl 10m` or `12 entities`.
    pub detail: Option<String>,
    /// How fresh it is, if that is known and makes sense.
    pub state: Option<NodeState>,
}

impl GraphNode {
    /// A node without a second line and without a state.
    #[must_use]
    pub fn new(id: impl Into<String>, kind: NodeKind, label: impl Into<String>) -> Self {
        Self { id: id.into(), kind, label: label.into(), detail: None, state: None }
    }

    /// Sets the second line.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Sets the state.
    #[must_use]
    pub fn state(mut self, state: NodeState) -> Self {
        self.state = Some(state);
        self
    }

    /// The second line: the detail and the state. The state is written out because not every reader can tell the
    /// colours apart.
    fn second_line(&self) -> Option<Cow<'_, str>> {
        match (&self.detail, self.state) {
            (Some(detail), Some(state)) => Some(format!("{detail} · {}", state.word()).into()),
            (Some(detail), None) => Some(detail.into()),
            (None, Some(state)) => Some(state.word().into()),
            (None, None) => None,
        }
    }
}

/// An edge of a [`Graph`], from a dependency to its dependant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct GraphEdge {
    /// The dependency: the place of its node in [`Graph::nodes`].
    pub from: usize,
    /// The dependant: the place of its node in [`Graph::nodes`].
    pub to: usize,
    /// How it depends on it.
    pub kind: EdgeKind,
    /// Its own text, if any.
    pub label: Option<String>,
}

impl GraphEdge {
    /// Its text where there is no legend.
    fn caption(&self) -> &str {
        self.label.as_deref().unwrap_or_else(|| self.kind.word())
    }
}

/// The kind of a [`GraphNode`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum NodeKind {
    /// A source of entities.
    Source,
    /// A computed function.
    Function,
    /// A stored result of a computed function.
    Entry,
    /// An entity, or several, or any other data that was read.
    Data,
    /// A name that the application touches itself.
    Tag,
}

impl NodeKind {
    const fn word(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Function => "function",
            Self::Entry => "entry",
            Self::Data => "data",
            Self::Tag => "tag",
        }
    }
}

/// How fresh a [`GraphNode`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum NodeState {
    /// It reflects every known change.
    Fresh,
    /// A change affected it, and no run has computed it again since.
    Stale,
    /// Nothing confirms its freshness at the moment.
    Unconfirmed,
    /// It is not there.
    Absent,
}

impl NodeState {
    const ALL: [Self; 4] = [Self::Fresh, Self::Stale, Self::Unconfirmed, Self::Absent];

    const fn word(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Stale => "stale",
            Self::Unconfirmed => "unconfirmed",
            Self::Absent => "absent",
        }
    }

    /// Fill and outline on a light ground, under dark text.
    const fn light(self) -> (&'static str, &'static str) {
        match self {
            Self::Fresh => ("#dcf3e1", "#2e7d43"),
            Self::Stale => ("#fdeccb", "#a86200"),
            Self::Unconfirmed => ("#e9e2f6", "#6b4fa3"),
            Self::Absent => ("#f6dedd", "#b3372f"),
        }
    }
}

/// How the end of a [`GraphEdge`] depends on its beginning. Each kind has its own stroke in drawings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum EdgeKind {
    /// On an entity of it by id: a plain line.
    Entity,
    /// On the whole source: a line of long dashes.
    Whole,
    /// On a part of it, found by a query: a line of dashes and dots.
    Reads,
    /// Through a relation from a changed entity: a dashed line.
    Relation,
    /// On the result of a nested call: a bold line.
    Call,
    /// On something that a run of it was seen to read without a declaration: a dotted line.
    Observed,
}

impl EdgeKind {
    const ALL: [Self; 6] = [Self::Entity, Self::Whole, Self::Reads, Self::Relation, Self::Call, Self::Observed];

    const fn word(self) -> &'static str {
        match self {
            Self::Entity => "entity",
            Self::Whole => "whole source",
            Self::Reads => "reads",
            Self::Relation => "relation",
            Self::Call => "call",
            Self::Observed => "observed",
        }
    }

    /// The dashes of its line as SVG and Mermaid write them; none for an unbroken line.
    const fn dashes(self) -> Option<&'static str> {
        match self {
            Self::Entity | Self::Call => None,
            Self::Whole => Some("14 4"),
            Self::Reads => Some("9 3 2 3"),
            Self::Relation => Some("5 4"),
            Self::Observed => Some("2 4"),
        }
    }

    /// The colour of its line on a light ground. All of them stand out on a dark ground as well.
    const fn light(self) -> &'static str {
        match self {
            Self::Entity => "#3b6fb6",
            Self::Whole => "#1f8a8a",
            Self::Reads => "#5f7f2f",
            Self::Relation => "#b0602a",
            Self::Call => "#5b6472",
            Self::Observed => "#a0488f",
        }
    }
}
