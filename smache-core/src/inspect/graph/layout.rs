//! Places the boxes and lines of an SVG.
//!
//! The layered method of Sugiyama, Tagawa and Toda ("Methods for visual understanding of hierarchical system
//! structures", 1981), from left to right: break cycles, put every node into a layer behind its dependencies, give long
//! edges a place in each layer that they cross, order the layers by barycentres, then move every item as near to its
//! neighbours as the order allows (a regression that pools adjacent violators, so the result is the best one for its
//! neighbours and never overlaps).
//!
//! The libraries that were measured do not serve: `rust-sugiyama` 0.4 panics on an edge from a node to itself and does
//! not say where edges run; `layout-rs` 0.1 panics on an empty graph and takes a minute and a half for 500 nodes.

/// Between two items above one another.
const GAP: f64 = 14.0;
/// Between two boxes of neighbouring layers at least; steep edges get more.
const AISLE: f64 = 48.0;
/// The height of an edge from a box to itself, above the box.
pub(super) const LOOP: f64 = 20.0;
/// Beyond so many bends, edges run straight across the layers between, below the boxes: it keeps time and memory
/// bounded for graphs that are too large to read anyway.
const MOST_BENDS: usize = 20_000;
const SWEEPS: usize = 12;

/// A width and a height.
pub(super) type Size = (f64, f64);

/// An edge to lay out, with the size of its label.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) label: Option<Size>,
}

/// The place of a box: its left upper corner and its size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Place {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) w: f64,
    pub(super) h: f64,
}

/// The way of an edge.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Route {
    /// From left to right through horizontal pieces `(from x, to x, y)`, to be joined by curves. An edge that closes a
    /// cycle runs `backwards`, from its last piece to its first. A label goes to the middle of the piece given.
    Pieces { pieces: Vec<(f64, f64, f64)>, backwards: bool, label: Option<usize> },
    /// From a box to itself, above it; the edges of one box are counted from 0.
    Loop { count: usize },
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Layout {
    pub(super) places: Vec<Place>,
    pub(super) routes: Vec<Route>,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// A box, or (behind the boxes in the list) a bend or label of an edge.
#[derive(Debug, Clone)]
struct Item {
    layer: usize,
    width: f64,
    above: f64,
    below: f64,
    /// Bends resist more than boxes, so that long edges become straight.
    weight: f64,
    before: Vec<usize>,
    after: Vec<usize>,
}

pub(super) fn layout(boxes: &[Size], links: &[Link]) -> Layout {
    let backwards = backwards(boxes.len(), links);
    let ends = |at: usize| {
        let link = &links[at];
        if backwards[at] { (link.to, link.from) } else { (link.from, link.to) }
    };
    let forward: Vec<(usize, usize)> = (0..links.len()).map(ends).collect();
    // With labels, every second layer holds only labels, so that they have room between the boxes.
    let step = if links.iter().any(|link| link.label.is_some() && link.from != link.to) { 2 } else { 1 };
    let layers = layers(boxes.len(), &forward, step);

    let mut loops = vec![0_usize; boxes.len()];
    let mut loop_width = vec![0.0_f64; boxes.len()];
    for link in links.iter().filter(|link| link.from == link.to) {
        loops[link.from] += 1;
        loop_width[link.from] = loop_width[link.from].max(link.label.map_or(0.0, |label| label.0));
    }
    let mut items: Vec<Item> = (0..boxes.len())
        .map(|at| Item {
            layer: layers[at],
            width: boxes[at].0.max(loop_width[at]),
            above: boxes[at].1 / 2.0 + loops[at] as f64 * LOOP,
            below: boxes[at].1 / 2.0,
            weight: 1.0,
            before: Vec::new(),
            after: Vec::new(),
        })
        .collect();
    let bends: usize = forward.iter().map(|&(from, to)| layers[to].saturating_sub(layers[from] + 1)).sum();
    let chains: Vec<Vec<usize>> = links
        .iter()
        .zip(&forward)
        .map(|(link, &(from, to))| {
            let mut chain = vec![from];
            for layer in layers[from] + 1..layers[to] {
                let label = link.label.filter(|_| chain.len() == 1);
                if label.is_none() && bends > MOST_BENDS {
                    continue;
                }
                let (width, height) = label.unwrap_or((0.0, 2.0));
                let half = height / 2.0;
                chain.push(items.len());
                let (before, after) = (Vec::new(), Vec::new());
                items.push(Item { layer, width, above: half, below: half, weight: 4.0, before, after });
            }
            chain.push(to);
            chain
        })
        .collect();
    for pair in chains.iter().filter(|chain| chain[0] != chain[chain.len() - 1]).flat_map(|chain| chain.windows(2)) {
        items[pair[0]].after.push(pair[1]);
        items[pair[1]].before.push(pair[0]);
    }

    let columns = order(&items);
    let y = heights(&items, &columns);
    let (lefts, widths) = aisles(&items, &columns, &y, AISLE / step as f64);
    let places: Vec<Place> = boxes
        .iter()
        .enumerate()
        .map(|(at, &(w, h))| {
            let layer = items[at].layer;
            Place { x: lefts[layer] + (widths[layer] - w) / 2.0, y: y[at] - h / 2.0, w, h }
        })
        .collect();
    let routes = routes(links, &chains, &backwards, &items, &places, &y, (&lefts, &widths));
    let width = lefts.last().zip(widths.last()).map_or(0.0, |(left, width)| left + width);
    let height = items.iter().zip(&y).map(|(item, y)| y + item.below).fold(0.0, f64::max);
    Layout { places, routes, width, height }
}

/// Which edges close a cycle, found in depth from the nodes without incoming edges. Turning these around leaves no
/// cycle.
fn backwards(nodes: usize, links: &[Link]) -> Vec<bool> {
    let mut out = vec![Vec::new(); nodes];
    let mut entered = vec![false; nodes];
    for (at, link) in links.iter().enumerate().filter(|(_, link)| link.from != link.to) {
        out[link.from].push(at);
        entered[link.to] = true;
    }
    let mut backwards = vec![false; links.len()];
    let mut seen = vec![false; nodes];
    let mut open = vec![false; nodes];
    let roots = (0..nodes).filter(|&at| !entered[at]).chain(0..nodes);
    for root in roots {
        if seen[root] {
            continue;
        }
        // A list instead of recursion: a long chain must not exhaust the stack.
        let mut path = vec![(root, 0)];
        (seen[root], open[root]) = (true, true);
        while let Some((node, next)) = path.last_mut() {
            let Some(&link) = out[*node].get(*next) else {
                open[*node] = false;
                path.pop();
                continue;
            };
            *next += 1;
            let to = links[link].to;
            if open[to] {
                backwards[link] = true;
            } else if !seen[to] {
                (seen[to], open[to]) = (true, true);
                path.push((to, 0));
            }
        }
    }
    backwards
}

/// The layer of each node: behind all nodes that lead to it. A node without incoming edges stands right before the
/// nodes that it leads to.
fn layers(nodes: usize, edges: &[(usize, usize)], step: usize) -> Vec<usize> {
    let mut after = vec![Vec::new(); nodes];
    let mut waits = vec![0_usize; nodes];
    for &(from, to) in edges.iter().filter(|(from, to)| from != to) {
        after[from].push(to);
        waits[to] += 1;
    }
    let starts: Vec<usize> = (0..nodes).filter(|&at| waits[at] == 0).collect();
    let mut layers = vec![0; nodes];
    let mut ready = starts.clone();
    while let Some(node) = ready.pop() {
        for &to in &after[node] {
            layers[to] = layers[to].max(layers[node] + step);
            waits[to] -= 1;
            if waits[to] == 0 {
                ready.push(to);
            }
        }
    }
    for start in starts {
        if let Some(first) = after[start].iter().map(|&to| layers[to]).min() {
            layers[start] = first - step;
        }
    }
    layers
}

/// The items of each layer from top to bottom: the order with the fewest crossings of several sweeps.
fn order(items: &[Item]) -> Vec<Vec<usize>> {
    let mut columns = vec![Vec::new(); items.iter().map(|item| item.layer + 1).max().unwrap_or(0)];
    let mut seen = vec![false; items.len()];
    for root in 0..items.len() {
        let mut open = vec![root];
        while let Some(at) = open.pop() {
            if !std::mem::replace(&mut seen[at], true) {
                columns[items[at].layer].push(at);
                open.extend(items[at].before.iter().chain(&items[at].after).rev().filter(|&&next| !seen[next]));
            }
        }
    }
    let mut rank = vec![0.0; items.len()];
    let settle = |rank: &mut [f64], column: &[usize]| {
        for (at, &item) in column.iter().enumerate() {
            rank[item] = (at as f64 + 0.5) / column.len() as f64;
        }
    };
    columns.iter().for_each(|column| settle(&mut rank, column));
    let mut best = (crossings(items, &columns, &rank), columns.clone());
    for sweep in 0..SWEEPS {
        let rightwards = sweep % 2 == 0;
        let last = columns.len().saturating_sub(1);
        for step in 0..columns.len() {
            let column = &mut columns[if rightwards { step } else { last - step }];
            let mut keyed: Vec<(f64, usize)> = column
                .iter()
                .map(|&item| {
                    let near = if rightwards { &items[item].before } else { &items[item].after };
                    (mean(near, &rank).unwrap_or(rank[item]), item)
                })
                .collect();
            keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
            *column = keyed.into_iter().map(|(_, item)| item).collect();
            settle(&mut rank, column);
        }
        let count = crossings(items, &columns, &rank);
        if count < best.0 {
            best = (count, columns.clone());
        }
    }
    best.1
}

fn mean(of: &[usize], values: &[f64]) -> Option<f64> {
    (!of.is_empty()).then(|| of.iter().map(|&at| values[at]).sum::<f64>() / of.len() as f64)
}

/// How many pairs of lines between neighbouring layers cross: the inversions, counted with a Fenwick tree.
fn crossings(items: &[Item], columns: &[Vec<usize>], rank: &[f64]) -> usize {
    let mut total = 0;
    for column in columns {
        let mut ends: Vec<f64> = Vec::new();
        for &item in column {
            let start = ends.len();
            ends.extend(items[item].after.iter().map(|&to| rank[to]));
            ends[start..].sort_by(f64::total_cmp);
        }
        let mut sorted = ends.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.dedup();
        let mut tree = vec![0_usize; sorted.len() + 1];
        for (before, end) in ends.iter().enumerate() {
            let place = sorted.partition_point(|other| other <= end);
            let (mut at, mut not_above) = (place, 0);
            while at > 0 {
                not_above += tree[at];
                at &= at - 1;
            }
            total += before - not_above;
            at = place;
            while at < tree.len() {
                tree[at] += 1;
                at += at & at.wrapping_neg();
            }
        }
    }
    total
}

/// The height of the middle of each item, as near to its neighbours as the order and the gaps allow.
fn heights(items: &[Item], columns: &[Vec<usize>]) -> Vec<f64> {
    let mut y = vec![0.0; items.len()];
    for sweep in 0..=SWEEPS {
        for step in 0..columns.len() {
            let column = &columns[if sweep % 2 == 0 { step } else { columns.len() - 1 - step }];
            let mut offset = 0.0;
            let mut offsets = Vec::with_capacity(column.len());
            // Blocks of items that stick together: weight, weighted sum of the heights that they want, count.
            let mut blocks: Vec<(f64, f64, usize)> = Vec::new();
            for (at, &index) in column.iter().enumerate() {
                let item = &items[index];
                if at > 0 {
                    offset += items[column[at - 1]].below + GAP + item.above;
                }
                offsets.push(offset);
                let left = mean(&item.before, &y);
                let right = mean(&item.after, &y);
                let wanted = match (left, right) {
                    (Some(left), Some(right)) if sweep == SWEEPS => (left + right) / 2.0,
                    (left, right) if sweep % 2 == 0 => left.or(right).unwrap_or(y[index]),
                    (left, right) => right.or(left).unwrap_or(y[index]),
                };
                blocks.push((item.weight, item.weight * (wanted - offset), 1));
                while let [.., a, b] = blocks[..]
                    && a.1 / a.0 > b.1 / b.0
                {
                    blocks.truncate(blocks.len() - 2);
                    blocks.push((a.0 + b.0, a.1 + b.1, a.2 + b.2));
                }
            }
            let shifts = blocks.iter().flat_map(|block| std::iter::repeat_n(block.1 / block.0, block.2));
            for ((&index, offset), shift) in column.iter().zip(offsets).zip(shifts) {
                y[index] = offset + shift;
            }
        }
    }
    let top = items.iter().zip(&y).map(|(item, y)| y - item.above).fold(f64::INFINITY, f64::min);
    y.iter_mut().for_each(|y| *y -= top);
    y
}

/// The left side and the width of each layer.
fn aisles(items: &[Item], columns: &[Vec<usize>], y: &[f64], aisle: f64) -> (Vec<f64>, Vec<f64>) {
    let widths: Vec<f64> =
        columns.iter().map(|column| column.iter().map(|&at| items[at].width).fold(0.0, f64::max)).collect();
    let mut left = 0.0;
    let mut lefts = Vec::with_capacity(columns.len());
    for (column, width) in columns.iter().zip(&widths) {
        lefts.push(left);
        let climbs = column.iter().flat_map(|&at| items[at].after.iter().map(move |&to| (y[to] - y[at]).abs()));
        left += width + aisle + (climbs.fold(0.0, f64::max) / 6.0).min(120.0);
    }
    (lefts, widths)
}

fn routes(
    links: &[Link],
    chains: &[Vec<usize>],
    backwards: &[bool],
    items: &[Item],
    places: &[Place],
    y: &[f64],
    (lefts, widths): (&[f64], &[f64]),
) -> Vec<Route> {
    // The edges at each side of a box, to be spread in the order of where they go.
    let mut sides: Vec<[Vec<(usize, f64)>; 2]> = vec![[Vec::new(), Vec::new()]; places.len()];
    for (at, chain) in chains.iter().enumerate().filter(|(at, _)| links[*at].from != links[*at].to) {
        let last = chain.len() - 1;
        sides[chain[0]][1].push((at, y[chain[1]]));
        sides[chain[last]][0].push((at, y[chain[last - 1]]));
    }
    let mut ports = vec![[0.0; 2]; links.len()];
    for (node, sides) in sides.iter_mut().enumerate() {
        for (side, edges) in sides.iter_mut().enumerate() {
            edges.sort_by(|a, b| a.1.total_cmp(&b.1));
            let middle = (edges.len() as f64 - 1.0) / 2.0;
            let apart = if middle > 0.0 { ((places[node].h - 16.0) / (2.0 * middle)).min(9.0) } else { 0.0 };
            for (at, (edge, _)) in edges.iter().enumerate() {
                ports[*edge][1 - side] = y[node] + (at as f64 - middle) * apart;
            }
        }
    }
    let mut loops = vec![0; places.len()];
    (0..links.len())
        .map(|at| {
            let (link, chain) = (&links[at], &chains[at]);
            if link.from == link.to {
                loops[link.from] += 1;
                return Route::Loop { count: loops[link.from] - 1 };
            }
            let last = chain.len() - 1;
            let pieces = chain.iter().enumerate().map(|(step, &item)| {
                let left = lefts[items[item].layer];
                let right = left + widths[items[item].layer];
                match step {
                    0 => (places[item].x + places[item].w, right, ports[at][0]),
                    _ if step == last => (left, places[item].x, ports[at][1]),
                    _ => (left, right, y[item]),
                }
            });
            Route::Pieces { pieces: pieces.collect(), backwards: backwards[at], label: link.label.map(|_| 1) }
        })
        .collect()
}
