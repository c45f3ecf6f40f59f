//! The graphs of a system: the declarations of its functions, and the parts of one entry.

use std::collections::{BTreeSet, VecDeque};

use super::{EdgeKind, Graph, GraphNode, Inspector, NodeKind, NodeState, WhyDependsOn, WhyState, why::state};
use crate::{
    Call, Computed, Dependency, DependencyKind, EntryId, Page, Result, call_key::describe, computed::Callee,
    engine::Engine, tracking::Meta,
};

/// How many entries an instance graph shows at most in each direction.
const SHOWN: usize = 100;

impl Inspector {
    /// The declaration graph: sources → functions → functions, with the relations marked, and with the calls that this
    /// process has seen beside the declared ones.
    ///
    /// ```
    /// # fn example(smache: &smache_core::Smache) {
    /// println!("{}", smache.inspect().graph().to_mermaid());
    /// # }
    /// ```
    #[must_use]
    pub fn graph(&self) -> Graph {
        let engine = &self.engine;
        let mut graph = Graph::new(engine.namespace.as_str());
        for (id, source) in &engine.sources {
            let detail = if source.feed().is_some() { "change feed" } else { "reported by the application" };
            graph.node(GraphNode::new(source_node(id.as_str()), NodeKind::Source, id.as_str()).detail(detail));
        }
        let mut functions: Vec<_> = engine.registry.iter().collect();
        functions.sort_by_key(|function| function.name);
        for function in &functions {
            let mut node = GraphNode::new(function_node(function.name), NodeKind::Function, function.name);
            if let Some(ttl) = function.ttl {
                node = node.detail(format!("ttl {ttl:?}"));
            }
            graph.node(node);
        }
        for function in functions {
            let to = function_node(function.name);
            let declared = &function.declaration;
            for source in &declared.entities {
                match declared.narrowed.iter().find(|(narrowed, _)| narrowed == source) {
                    Some((_, fields)) => {
                        graph.labelled_edge(&source_node(source), &to, EdgeKind::Entity, fields.join(", "))
                    }
                    None => graph.edge(&source_node(source), &to, EdgeKind::Entity),
                };
            }
            for source in &declared.sources {
                graph.edge(&source_node(source), &to, EdgeKind::Whole);
            }
            for source in &declared.reads {
                graph.edge(&source_node(source), &to, EdgeKind::Reads);
            }
            for relation in &declared.relations {
                let label = format!("{} → {}", relation.from, relation.to);
                graph.labelled_edge(&source_node(relation.from), &to, EdgeKind::Relation, label);
            }
            let calls: BTreeSet<&str> = declared.calls.iter().map(Callee::id).collect();
            for callee in &calls {
                graph.edge(&function_node(callee), &to, EdgeKind::Call);
            }
            let observed = function.observed();
            for source in &observed.undeclared {
                graph.edge(&source_node(source.as_str()), &to, EdgeKind::Observed);
            }
            let seen: BTreeSet<_> = observed
                .calls
                .iter()
                .filter_map(|key| engine.registry.by_key(*key))
                .map(|callee| callee.name)
                .collect();
            for callee in seen.into_iter().filter(|callee| !calls.contains(callee)) {
                graph.edge(&function_node(callee), &to, EdgeKind::Observed);
            }
        }
        graph
    }

    /// The instance graph around the entry of a call: its dependencies, the nested calls that it is made of, and the
    /// entries that are made of it, each with its freshness. At most a hundred entries each way.
    ///
    /// # Errors
    /// [`ErrorKind::Unregistered`](crate::ErrorKind::Unregistered),
    /// [`ErrorKind::Argument`](crate::ErrorKind::Argument); the store's errors.
    pub async fn graph_of<F: Computed>(&self, call: Call<F>) -> Result<Graph> {
        let engine = &self.engine;
        let (function, key) = engine.key(&call)?;
        let mut graph = Graph::new(describe(&key.id, &key.stored(function.name, function.version)));
        graph.node(GraphNode::new(key.id.to_string(), NodeKind::Entry, graph.title()).state(NodeState::Absent));
        engine.draw_down(&mut graph, key.id).await?;
        engine.draw_up(&mut graph, key.id).await?;
        Ok(graph)
    }
}

fn source_node(id: &str) -> String {
    format!("source {id}")
}

fn function_node(id: &str) -> String {
    format!("function {id}")
}

impl Engine {
    /// Draws the entry, the entries that it is made of, and their reads.
    async fn draw_down(&self, graph: &mut Graph, root: EntryId) -> Result<()> {
        let mut seen = BTreeSet::from([root]);
        let mut open = VecDeque::from([root]);
        while let Some(id) = open.pop_front() {
            let Some(child_calls) = self.draw(graph, id).await? else { continue };
            for child in child_calls {
                if seen.contains(&child) || seen.len() < SHOWN {
                    graph.edge(&child.to_string(), &id.to_string(), EdgeKind::Call);
                    if seen.insert(child) {
                        open.push_back(child);
                    }
                } else {
                    let more = format!("more of {id}");
                    graph.node(GraphNode::new(&more, NodeKind::Data, "more nested calls"));
                    graph.edge(&more, &id.to_string(), EdgeKind::Call);
                }
            }
        }
        Ok(())
    }

    /// Draws the entries that are made of the entry, directly or not.
    async fn draw_up(&self, graph: &mut Graph, root: EntryId) -> Result<()> {
        let found =
            self.timed("dependants", self.store.dependants(&Dependency::entry(&root), Page::first(SHOWN))).await?;
        for (parent, _) in &found.entries {
            if let Some(child_calls) = self.draw(graph, *parent).await? {
                // A parent depends on all that its children are made of: the edge to those that it calls is enough.
                if child_calls.contains(&root) {
                    graph.edge(&root.to_string(), &parent.to_string(), EdgeKind::Call);
                }
                for (other, _) in found.entries.iter().filter(|(other, _)| child_calls.contains(other)) {
                    graph.edge(&other.to_string(), &parent.to_string(), EdgeKind::Call);
                }
            }
        }
        if found.next.is_some() {
            let more = format!("more from {root}");
            graph.node(GraphNode::new(&more, NodeKind::Data, "more callers"));
            graph.edge(&root.to_string(), &more, EdgeKind::Call);
        }
        Ok(())
    }

    /// Draws one entry with its own reads. Returns its nested calls; `None` when it is not stored.
    async fn draw(&self, graph: &mut Graph, id: EntryId) -> Result<Option<Vec<EntryId>>> {
        let full = self.timed("read_record", self.store.read_record(&id)).await?;
        let Some(record) = &full.record else {
            if self.registry.by_key(id.function()).is_some()
                && graph.nodes().iter().all(|node| node.id != id.to_string())
            {
                let label = self.call_of(&id).await?;
                graph.node(GraphNode::new(id.to_string(), NodeKind::Entry, label).state(NodeState::Absent));
            }
            return Ok(None);
        };
        let fresh = match state(self, &full, record) {
            WhyState::Fresh { .. } => NodeState::Fresh,
            WhyState::Stale { .. } => NodeState::Stale,
            WhyState::Unconfirmed { .. } => NodeState::Unconfirmed,
            WhyState::Absent | WhyState::Expired { .. } => NodeState::Absent,
        };
        let meta = Meta::read(&record.entry.meta);
        let mut node = GraphNode::new(id.to_string(), NodeKind::Entry, describe(&id, &record.call)).state(fresh);
        if let Some(meta) = &meta {
            node = node.detail(format!("{:.1?}", meta.cost));
        }
        graph.node(node);
        for on in self.depends_on(record).into_iter().filter(|on| on.direct > 0) {
            let (kind, edge) = match on.kind {
                DependencyKind::Function | DependencyKind::Entry | DependencyKind::Wildcard => continue,
                DependencyKind::Tag => (NodeKind::Tag, EdgeKind::Reads),
                DependencyKind::Relation => (NodeKind::Data, EdgeKind::Relation),
                DependencyKind::Source => (NodeKind::Source, EdgeKind::Whole),
                _ => (NodeKind::Data, EdgeKind::Reads),
            };
            let data = format!("{id} {:?} {:?}", on.kind, on.source);
            let text = WhyDependsOn { through_calls: 0, ..on }.to_string();
            graph.node(GraphNode::new(&data, kind, text));
            graph.edge(&data, &id.to_string(), edge);
        }
        Ok(Some(meta.map(|meta| meta.child_calls.iter().map(|child| child.id).collect()).unwrap_or_default()))
    }
}
