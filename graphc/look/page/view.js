"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const MOST = 60; // boxes that are drawn at first, and parts that a longer row is cut into
  const COLOURS = { // role -> fill, border
    input: ["#e8f4ea", "#4c9a5b"], parameter: ["#fdf1dc", "#c98a1b"], variable: ["#fdf1dc", "#c98a1b"],
    constant: ["#f2f2f2", "#9a9a9a"], forward: ["#e9f0fb", "#4673b8"], gradient: ["#fbe9e7", "#c0533f"],
    update: ["#f1eafa", "#7d5bb0"], group: ["#eef1f4", "#66788a"],
  };
  const ROLES = { input: "input", parameter: "parameter, variable", constant: "constant", forward: "forward",
    gradient: "gradient", update: "update", group: "several nodes" };
  const $ = (id) => document.getElementById(id);
  const svg = d3.select("#canvas"), world = d3.select("#world");
  const state = { stage: 0, mode: "scopes", open: new Set(), wide: new Set(), chosen: null, cross: false };
  const zoom = d3.zoom().scaleExtent([0.02, 4]).on("zoom", (event) => world.attr("transform", event.transform));
  svg.call(zoom).on("dblclick.zoom", null);

  // ---- a stage, made ready when first looked at

  const ready = [];
  function stage() {
    const k = state.stage;
    if (ready[k]) return ready[k];
    const { nodes, groups, outputs } = data.stages[k];
    nodes.forEach((n, id) => { n.id = id; n.i = n.i || []; n.readers = []; n.beside = []; });
    for (const n of nodes) for (const i of new Set(n.i)) nodes[i].readers.push(n.id);
    for (const n of nodes) {
      n.lane = n.r === "gradient" || n.r === "update" ? n.r : n.r === "variable" && n.p !== undefined ? "update" : "forward";
      let home = n;
      for (let k = 0; home.p !== undefined && k < 20; k++) home = nodes[home.p];
      n.home = home.id;
      if (n.p !== undefined && !n.h) nodes[n.p].beside.push(n.id);
    }
    const byName = new Map(nodes.map((n) => [n.n, n.id]));
    return (ready[k] = { nodes, groups, outputs, byName, trees: {} });
  }

  // ---- the tree of groups; leaves are nodes

  function tree() {
    const s = stage();
    if (s.trees[state.mode]) return s.trees[state.mode];
    const root = { key: "", title: "", kind: "root", children: [] };
    const kernel = state.mode === "kernel";
    const made = new Map();
    const groupOf = (id) => {
      if (id === undefined) return root;
      if (!made.has(id)) {
        const g = s.groups[id], above = groupOf(g.p);
        const unit = { key: `g${id}`, title: g.n, kind: g.k, children: [], above };
        made.set(id, unit);
        above.children.push(unit);
      }
      return made.get(id);
    };
    const partOf = (number) => {
      if (!made.has(number)) {
        const part = data.parts[number];
        const unit = { key: `k${number}`, title: `part ${number}: ${part.n}`, time: part.t, kind: "part", children: [], above: root };
        made.set(number, unit);
        root.children.push(unit);
      }
      return made.get(number);
    };
    for (const n of s.nodes) {
      if (n.h || (!kernel && n.lane !== "forward")) continue;
      const above = kernel ? (n.k ? partOf(n.k[0]) : root) : groupOf(n.c);
      above.children.push({ key: `n${n.id}`, node: n, above });
    }
    finish(root);
    return (s.trees[state.mode] = root);
  }

  function finish(unit) {
    if (unit.node) { unit.first = unit.node.id; unit.count = 1; return; }
    unit.children.forEach(finish);
    unit.children.sort((a, b) => a.first - b.first);
    if (unit.children.length > MOST) {
      const each = Math.ceil(unit.children.length / Math.min(50, Math.ceil(Math.sqrt(unit.children.length))));
      const cut = [];
      for (let k = 0; k < unit.children.length; k += each) {
        const some = unit.children.slice(k, k + each);
        if (some.length === 1) { cut.push(some[0]); continue; }
        const piece = { key: `${unit.key}c${k}`, title: "", kind: "piece", children: some, above: unit };
        for (const child of some) child.above = piece;
        finish(piece);
        const scopes = some.filter((c) => c.kind === "scope").map((c) => c.title);
        piece.title = scopes.length ? [...new Set([scopes[0], scopes[scopes.length - 1]])].join(" … ") : kinds(piece);
        cut.push(piece);
      }
      unit.children = cut;
    }
    unit.count = unit.children.reduce((n, c) => n + c.count, 0);
    unit.first = unit.children.length ? unit.children[0].first : 0;
  }

  function* leaves(unit) {
    if (unit.node) yield unit.node; else for (const c of unit.children) yield* leaves(c);
  }

  function kinds(unit) { // "add ×12, exp ×3"
    const counts = new Map();
    for (const n of leaves(unit)) counts.set(n.o, (counts.get(n.o) || 0) + 1);
    const most = [...counts].sort((a, b) => b[1] - a[1]);
    return most.slice(0, 3).map(([o, n]) => (n > 1 ? `${o} ×${n}` : o)).join(", ") + (most.length > 3 ? ", …" : "");
  }

  function* visible(unit) {
    for (const c of unit.children) if (!c.node && state.open.has(c.key)) yield* visible(c); else yield c;
  }

  function openWhatFits(most, calls) {
    const root = tree();
    const waiting = root.children.filter((c) => !c.node);
    let shown = root.children.length;
    while (waiting.length) {
      waiting.sort((a, b) => a.children.length - b.children.length);
      const next = waiting.shift();
      if (!calls && ["call", "part", "piece"].includes(next.kind)) continue;
      if (shown + next.children.length - 1 > most) continue;
      shown += next.children.length - 1;
      state.open.add(next.key);
      waiting.push(...next.children.filter((c) => !c.node));
    }
  }

  // ---- boxes

  const pen = document.createElement("canvas").getContext("2d");
  const FONTS = { title: "600 12px system-ui", "": "12px system-ui", value: "11px monospace", type: "10.5px system-ui" };
  const short = (text, most = 40) => (text.length > most ? text.slice(0, most - 1) + "…" : text);
  function sized(lines, several) {
    let w = 44;
    for (const [text, kind] of lines) { pen.font = FONTS[kind]; w = Math.max(w, pen.measureText(text).width); }
    return { w: Math.ceil(w) + (several ? 40 : 22), h: lines.length * 15 + 11 };
  }
  const automatic = (n) => new RegExp(`^${n.o}_\\d+_*$`).test(n.n);

  function linesOf(unit) {
    if (!unit.node) {
      const last = result(unit);
      const lines = [[short(unit.title || kinds(unit)), "title"], [`${unit.count} node${unit.count > 1 ? "s" : ""}`, ""]];
      if (unit.kind === "scope" || unit.kind === "part") lines.push([short(kinds(unit)), "type"]);
      if (unit.time) lines.push([unit.time, "value"]);
      if (last && unit.kind === "call") for (const v of last.v || []) lines.push([short(v), "value"]);
      return lines;
    }
    const n = unit.node; // its scope is told by the frame around it
    const lines = [[short(n.c === undefined ? n.n : n.n.slice(n.n.lastIndexOf("/") + 1)), "title"]];
    if (n.f) lines.push([short(n.f), ""]); else if (automatic(n) || n.i.length) lines.push([n.o, ""]); else lines.push([short(n.t), "type"]);
    for (const v of n.v || []) lines.push([short(v), "value"]);
    return lines;
  }

  function result(unit) { // the node of a group that others read last
    let found = null;
    const inside = new Set();
    for (const n of leaves(unit)) inside.add(n.id);
    for (const id of inside) {
      const n = stage().nodes[id];
      if (n.lane === "forward" && (!n.readers.length || n.readers.some((r) => !inside.has(r) && stage().nodes[r].lane === "forward") || stage().outputs.includes(id))) found = n;
    }
    return found;
  }

  function besideLines(unit, lane, ids) { // of what stands beside: gradient or update
    const s = stage(), of = unit.node || result(unit);
    const name = unit.node ? unit.node.n : unit.title || "these";
    const nodes = ids.map((id) => s.nodes[id]);
    const lines = [[short(unit.kind === "stray" ? name : `${lane} of ${name}`, 34), "title"]];
    if (nodes.length === 1) lines.push([short(nodes[0].f || nodes[0].o), ""]);
    else if (nodes.length) lines.push([`${nodes.length} nodes`, ""]);
    if (lane === "gradient" && of && of.g && (unit.node || unit.kind === "call")) {
      if (of.gf && of.gf !== of.g[0]) lines.push([short(of.gf), ""]);
      for (const v of of.g) lines.push([short(v), "value"]);
    } else if (nodes.length) {
      const last = nodes[nodes.length - 1];
      for (const v of last.v || []) lines.push([short(v), "value"]);
    }
    return lines;
  }

  // ---- the picture

  function scene() {
    const s = stage(), root = tree(), units = [...visible(root)], kernel = state.mode === "kernel";
    const owner = new Map(); // node -> the key of its box
    const blocks = new Map();
    for (const unit of units) {
      const block = { unit, boxes: [], lanes: { gradient: [], update: [] } };
      blocks.set(unit.key, block);
      for (const n of leaves(unit)) owner.set(n.id, unit.key);
    }
    const stray = { gradient: [], update: [] };
    if (!kernel) for (const n of s.nodes) {
      if (n.lane === "forward" || n.h) continue;
      const at = owner.get(n.home);
      (at === undefined ? stray : blocks.get(at).lanes)[n.lane].push(n.id);
    }
    for (const [key, block] of blocks) {
      const lines = linesOf(block.unit), size = sized(lines, !block.unit.node);
      block.boxes.push({ key, lane: "forward", lines, ...size, unit: block.unit });
      for (const lane of ["gradient", "update"]) {
        const ids = block.lanes[lane], of = block.unit.node || (block.unit.kind === "call" && result(block.unit));
        if (!ids.length && !(lane === "gradient" && of && of.g && !kernel)) continue;
        addLane(block, lane, ids, owner);
      }
    }
    for (const lane of ["gradient", "update"]) if (stray[lane].length) {
      const key = `stray-${lane}`, unit = { key, title: `shared by ${lane}s`, kind: "stray", children: [], count: stray[lane].length, first: 1e9 };
      const block = { unit, boxes: [], lanes: {} };
      blocks.set(key, block);
      addLane(block, lane, stray[lane], owner);
    }
    return { s, root, units, owner, blocks };
  }

  function addLane(block, lane, ids, owner) {
    const s = stage(), key = `${lane}/${block.unit.key}`;
    for (const id of ids) owner.set(id, key);
    if (state.wide.has(key) && ids.length > 1) { // opened: a box for each node, in a column
      const column = { key, lane, open: true, inner: [], w: 0, h: 22 };
      for (const id of ids) {
        const unit = { key: `n${id}`, node: s.nodes[id] };
        const lines = linesOf(unit), size = sized(lines);
        column.inner.push({ key: `n${id}`, lane, lines, ...size, unit, y: column.h });
        column.w = Math.max(column.w, size.w + 16);
        column.h += size.h + 10;
        owner.set(id, `n${id}`);
      }
      pen.font = FONTS.title;
      column.title = short(`${lane} of ${block.unit.node ? block.unit.node.n : block.unit.title}`, 34);
      column.w = Math.max(column.w, pen.measureText(column.title).width + 30);
      block.boxes.push(column);
      return;
    }
    const lines = besideLines(block.unit, lane, ids);
    block.boxes.push({ key, lane, lines, ...sized(lines, ids.length > 1), ids, of: block.unit });
  }

  function draw() {
    const started = performance.now();
    const made = scene(), { s, root, blocks, owner } = made;
    const edges = new Map();
    for (const n of s.nodes) {
      if (n.h || !owner.has(n.id)) continue;
      for (const i of n.i) {
        if (s.nodes[i].h || !owner.has(i)) continue;
        const a = owner.get(i), b = owner.get(n.id);
        if (a === b) continue;
        const from = s.nodes[i].lane, to = n.lane;
        const kind = state.mode === "kernel" || (from === "forward" && to === "forward") ? "forward" : from === to && to === "gradient" ? from : to === "update" && from === "gradient" ? "update" : "cross";
        const key = `${a}>${b}`;
        if (!edges.has(key)) edges.set(key, { a, b, kind, from: new Set() });
        edges.get(key).from.add(i);
      }
    }
    for (const e of [...edges.values()]) { // gradients of an example, where the graph has none: back along its edges
      const [a, b] = [`gradient/${e.a}`, `gradient/${e.b}`].map((k, j) => [k, blocks.get(j ? e.b : e.a)]);
      const bare = ([k, block]) => block && block.boxes.some((x) => x.key === k && x.ids && !x.ids.length);
      if (e.kind === "forward" && bare(a) && bare(b)) edges.set(`${b[0]}>${a[0]}`, { a: b[0], b: a[0], kind: "gradient", from: new Set() });
    }
    const layout = arrange(blocks, edges, root);
    paint(made, edges, layout);
    document.documentElement.dataset.drawn = String(Math.round(performance.now() - started));
  }

  function arrange(blocks, edges, root) {
    const graph = new dagre.graphlib.Graph({ compound: true, multigraph: false });
    graph.setGraph({ rankdir: "TB", nodesep: 26, ranksep: 40, marginx: 20, marginy: 20, ranker: blocks.size > 150 ? "longest-path" : "network-simplex" });
    graph.setDefaultEdgeLabel(() => ({}));
    for (const [key, block] of blocks) {
      block.w = block.boxes.reduce((w, b) => w + b.w, 12 * (block.boxes.length - 1));
      block.h = Math.max(...block.boxes.map((b) => b.h));
      graph.setNode(key, { width: block.w, height: block.h });
    }
    const frames = new Map();
    const frame = (unit) => {
      if (!unit || unit.kind === "root" || !unit.above) return null;
      if (!frames.has(unit.key)) {
        frames.set(unit.key, unit);
        graph.setNode(`f${unit.key}`, {});
        const above = frame(unit.above);
        if (above) graph.setParent(`f${unit.key}`, above);
      }
      return `f${unit.key}`;
    };
    for (const [key, block] of blocks) { const at = frame(block.unit.above); if (at) graph.setParent(key, at); }
    const ahead = [...edges.values()].filter((e) => e.kind === "forward" && blocks.has(e.a) && blocks.has(e.b));
    const { kept, hidden } = thinned([...blocks.keys()], ahead);
    for (const e of kept) graph.setEdge(e.a, e.b, {});
    dagre.layout(graph);
    for (const [key, block] of blocks) {
      const at = graph.node(key);
      let x = at.x - block.w / 2;
      for (const box of block.boxes) {
        box.x = x; box.y = at.y - block.h / 2;
        for (const inner of box.inner || []) { inner.x = x + 8; inner.y += box.y; }
        x += box.w + 12;
      }
    }
    return { graph, frames, hidden: new Set(hidden), size: graph.graph() };
  }

  // What other edges imply is not drawn where there are many: every path is still there.
  function thinned(keys, edges) {
    if (edges.length < 150) return { kept: edges, hidden: [] };
    const after = new Map(keys.map((k) => [k, []]));
    for (const e of edges) after.get(e.a).push(e);
    const rank = new Map(), order = [];
    const visit = (start) => { // depth first, without recursion
      const stack = [[start, 0]];
      rank.set(start, -1);
      while (stack.length) {
        const top = stack[stack.length - 1], next = after.get(top[0])[top[1]++];
        if (!next) { order.push(top[0]); stack.pop(); } else if (!rank.has(next.b)) { rank.set(next.b, -1); stack.push([next.b, 0]); }
      }
    };
    keys.forEach((k) => rank.has(k) || visit(k));
    order.reverse().forEach((k, i) => rank.set(k, i));
    const reach = new Map(), kept = [], hidden = [];
    for (const k of [...order].reverse()) {
      const mine = new Set();
      for (const e of after.get(k).sort((p, q) => rank.get(p.b) - rank.get(q.b))) {
        if (mine.has(e.b)) { hidden.push(e); continue; }
        kept.push(e);
        mine.add(e.b);
        for (const other of reach.get(e.b) || []) mine.add(other);
      }
      reach.set(k, mine);
    }
    if (kept.length > 400) { // still a thicket: only near neighbours shape the picture
      kept.sort((p, q) => rank.get(p.b) - rank.get(p.a) - rank.get(q.b) + rank.get(q.a));
      hidden.push(...kept.splice(400));
    }
    return { kept, hidden };
  }

  function smooth(points) {
    let path = `M${points[0].x},${points[0].y}`;
    for (let k = 1; k < points.length; k++) {
      const a = points[k - 1], b = points[k], m = (a.y + b.y) / 2;
      path += `C${a.x},${m} ${b.x},${m} ${b.x},${b.y}`;
    }
    return path;
  }

  let places = new Map(); // key -> a box as it stands
  function paint(made, edges, layout) {
    const { s, blocks } = made;
    places = new Map();
    for (const block of blocks.values()) for (const box of block.boxes) {
      places.set(box.key, box);
      for (const inner of box.inner || []) places.set(inner.key, inner);
    }
    world.selectAll("*").remove();
    const defs = world.append("defs");
    for (const [kind, colour] of [["forward", "#9aa6b2"], ["gradient", "#c0533f"], ["update", "#9b7fd0"], ["cross", "#c5ccd4"]]) {
      const arrow = defs.append("marker").attr("id", `arrow-${kind}`).attr("viewBox", "0 0 8 8").attr("refX", 7).attr("refY", 4).attr("markerWidth", 7).attr("markerHeight", 7).attr("orient", "auto");
      arrow.append("path").attr("d", "M0,0.8L8,4L0,7.2z").attr("fill", colour);
    }
    const back = world.append("g"), wires = world.append("g"), front = world.append("g");
    const depth = (unit) => (unit.above ? 1 + depth(unit.above) : 0);
    for (const [key, unit] of [...layout.frames].sort((p, q) => depth(p[1]) - depth(q[1]))) {
      const at = layout.graph.node(`f${key}`);
      const f = back.append("g").attr("class", "frame");
      f.append("rect").attr("x", at.x - at.width / 2).attr("y", at.y - at.height / 2 - 8).attr("width", at.width).attr("height", at.height + 12);
      f.append("text").attr("x", at.x - at.width / 2 + 8).attr("y", at.y - at.height / 2 + 6).text(`− ${short(unit.title || kinds(unit), 60)}`)
        .on("click", () => { state.open.delete(unit.key); keep(unit.key); });
    }
    for (const e of edges.values()) wire(wires, s, e, layout);
    const told = new Set();
    for (const e of edges.values()) if (e.kind === "forward" && !told.has(e.a) && places.has(e.a)) {
      told.add(e.a);
      const from = [...e.from], box = places.get(e.a);
      const types = new Set(from.map((i) => s.nodes[i].t));
      if (box.unit && box.unit.node && !box.unit.node.i.length && !box.unit.node.v) continue; // a leaf tells its own
      wires.append("text").attr("class", "type wire").attr("x", box.x + box.w / 2 + 6).attr("y", box.y + box.h + 12)
        .text(types.size === 1 ? short([...types][0], 30) : `${types.size} tensors`);
    }
    for (const block of blocks.values()) for (const box of block.boxes) if (box.open) column(front, back, box); else face(front, box);
    const count = s.nodes.filter((n) => !n.h).length;
    $("note").textContent = `${count} nodes in ${blocks.size} boxes` + (layout.hidden.size ? `; ${layout.hidden.size} edges that others imply are shown where a box is chosen` : "");
    light();
  }

  function wire(wires, s, e, layout) {
    const a = places.get(e.a), b = places.get(e.b);
    if (!a || !b) return;
    const types = [...new Set([...e.from].map((i) => `${s.nodes[i].n}: ${s.nodes[i].t}`))];
    let points;
    const route = e.kind === "forward" && layout.graph.hasEdge(e.a, e.b) ? layout.graph.edge(e.a, e.b).points : null;
    const down = a.y + a.h <= b.y, up = b.y + b.h <= a.y;
    const start = { x: a.x + a.w / 2, y: down ? a.y + a.h : up ? a.y : a.y + a.h / 2 };
    const end = { x: b.x + b.w / 2, y: down ? b.y : up ? b.y + b.h : b.y + b.h / 2 };
    if (!down && !up) { start.x = a.x < b.x ? a.x + a.w : a.x; end.x = a.x < b.x ? b.x : b.x + b.w; }
    points = route && route.length > 3 ? [start, ...route.slice(1, -1), end] : [start, end];
    const hidden = e.kind === "cross" || layout.hidden.has(e);
    const path = wires.append("path").datum(e).attr("class", `edge ${e.kind}`).attr("d", smooth(points)).attr("marker-end", `url(#arrow-${e.kind})`);
    path.attr("display", hidden && !(e.kind === "cross" && state.cross) ? "none" : null).classed("kept-away", hidden);
    path.append("title").text(types.slice(0, 12).join("\n"));
  }

  function face(front, box) {
    const unit = box.unit || box.of, several = box.unit ? !box.unit.node : (box.ids || []).length > 1;
    const role = box.lane !== "forward" ? box.lane : unit.node ? unit.node.r : "group";
    const [fill, border] = COLOURS[role] || COLOURS.forward;
    const g = front.append("g").attr("class", `box${several ? " group" : ""}`).attr("data-key", box.key).attr("transform", `translate(${box.x},${box.y})`);
    if (several) g.append("rect").attr("x", 3).attr("y", 3).attr("width", box.w).attr("height", box.h).attr("fill", fill).attr("stroke", border).attr("opacity", 0.6);
    g.append("rect").attr("class", "face").attr("width", box.w).attr("height", box.h).attr("fill", fill).attr("stroke", border);
    box.lines.forEach(([text, kind], k) => g.append("text").attr("class", kind).attr("x", 11).attr("y", 17 + 15 * k).text(text));
    const whole = unit.node ? unit.node.n : unit.title;
    g.append("title").text(whole);
    if (several) {
      const turn = (event) => { event.stopPropagation(); toggle(box); };
      const o = g.append("g").attr("class", "turn").attr("transform", `translate(${box.w - 11},11)`).on("click", turn);
      o.append("circle").attr("class", "opener").attr("r", 7);
      o.append("text").attr("class", "sign").attr("y", 4).text("+");
      g.on("dblclick", turn);
    }
    g.on("click", () => choose(box));
  }

  function column(front, back, box) {
    const f = back.append("g").attr("class", "frame");
    f.append("rect").attr("x", box.x).attr("y", box.y).attr("width", box.w).attr("height", box.h);
    f.append("text").attr("x", box.x + 8).attr("y", box.y + 15).text(`− ${box.title}`).on("click", () => { state.wide.delete(box.key); keep(box.key); });
    for (const inner of box.inner) face(front, inner);
  }

  function toggle(box) {
    const set = box.unit ? state.open : state.wide, key = box.key;
    set.add(key);
    keep(key);
  }

  function keep(key) { // draws anew; what was clicked stays where it was on the screen
    const old = places.get(key), t = d3.zoomTransform(svg.node());
    const was = old && { x: t.applyX(old.x), y: t.applyY(old.y) };
    draw();
    let now = places.get(key);
    if (!now) { const unit = find(tree(), key); const first = unit && leaves(unit).next().value; now = first && places.get(boxOf(first.id)); }
    if (was && now) svg.call(zoom.transform, d3.zoomIdentity.translate(was.x - now.x * t.k, was.y - now.y * t.k).scale(t.k));
  }

  function find(unit, key) {
    if (unit.key === key) return unit;
    for (const c of unit.children || []) { const found = find(c, key); if (found) return found; }
    return null;
  }

  function boxOf(id) {
    for (const [key, box] of places) {
      if (box.unit && box.unit.node && box.unit.node.id === id) return key;
      if (box.ids && box.ids.includes(id)) return key;
      if (box.unit && !box.unit.node) for (const n of leaves(box.unit)) if (n.id === id) return key;
    }
    return null;
  }

  // ---- choosing

  function choose(box) {
    if (!box.unit && box.ids && box.ids.length === 1) state.chosen = { id: box.ids[0], key: box.key };
    else if (box.unit && box.unit.node) state.chosen = { id: box.unit.node.id, key: box.key };
    else state.chosen = { key: box.key, box };
    light();
    panel();
  }

  function light() {
    const key = state.chosen && state.chosen.key, near = new Set();
    world.selectAll("path.edge").each(function (e) {
      const on = key && (e.a === key || e.b === key);
      if (on) { near.add(e.a); near.add(e.b); }
      const path = d3.select(this).classed("near", Boolean(on));
      if (path.classed("kept-away")) path.attr("display", on || (e.kind === "cross" && state.cross) ? null : "none");
    });
    if (state.chosen && state.chosen.id !== undefined) {
      const n = stage().nodes[state.chosen.id];
      for (const id of [...n.beside, ...(n.p === undefined ? [] : [n.p])]) near.add(boxOf(id));
    }
    world.selectAll("g.box").each(function () {
      const own = this.dataset.key;
      d3.select(this).classed("chosen", own === key).classed("near", own !== key && near.has(own));
    });
    lightSource();
  }

  function row(list, name, ...values) {
    if (!values.length || values[0] === undefined || values[0] === "") return;
    const dt = document.createElement("dt");
    dt.textContent = name;
    list.append(dt);
    for (const v of values) {
      const dd = document.createElement("dd");
      if (v instanceof Node) dd.append(v); else dd.textContent = v;
      list.append(dd);
    }
  }

  function code(text) { const c = document.createElement("code"); c.textContent = text; return c; }
  function links(ids) {
    const span = document.createElement("span");
    ids.slice(0, 40).forEach((id, k) => {
      const n = stage().nodes[id], a = document.createElement("a");
      a.textContent = n.h ? n.f || n.n : n.n;
      if (!n.h) a.addEventListener("click", () => reveal(id));
      if (k) span.append(", ");
      span.append(a);
    });
    if (ids.length > 40) span.append(` and ${ids.length - 40} more`);
    return span;
  }

  function panel() {
    const aside = $("panel");
    aside.replaceChildren();
    if (!state.chosen) return;
    const h = document.createElement("h3"), list = document.createElement("dl");
    aside.append(h, list);
    if (state.chosen.id === undefined) {
      const { box } = state.chosen, unit = box.unit || box.of;
      const ids = box.unit ? [...leaves(unit)].map((n) => n.id) : box.ids || [];
      h.textContent = box.unit ? unit.title || kinds(unit) : box.lines[0][0];
      row(list, "nodes", String(ids.length));
      row(list, "operations", kinds({ children: ids.map((id) => ({ node: stage().nodes[id] })) }));
      const of = box.unit ? result(unit) : null;
      if (of) { row(list, "result", links([of.id])); row(list, "value", ...(of.v || []).map(code)); if (of.g) row(list, "its gradient", ...of.g.map(code)); }
      if (!box.unit && unit.node && unit.node.g) { row(list, "rule", code(unit.node.gf || "")); row(list, "in words", unit.node.gw); row(list, "value", ...unit.node.g.map(code)); }
      row(list, "they are", links(ids));
      return;
    }
    const n = stage().nodes[state.chosen.id], [where, text] = data.lines[n.l] || ["", ""];
    h.textContent = n.n;
    row(list, "operation", `${n.o}, ${n.r}`);
    row(list, "type", code(n.t));
    if (n.f) row(list, "formula", code(n.f));
    if (n.x) row(list, "attributes", code(n.x));
    if (n.d) row(list, "gradient rule (operands a, b, …; result y)", code(n.d));
    row(list, "your line", where, code(text));
    if (n.v) row(list, "value", ...n.v.map(code));
    if (n.g) row(list, "its gradient", ...(n.gf ? [code(n.gf)] : []), ...n.g.map(code), ...(n.gw ? [n.gw] : []));
    if (n.p !== undefined) row(list, n.r === "update" ? "update of" : "part of the gradient at", links([n.p]));
    if (n.beside.length) row(list, "gradient and update nodes", links(n.beside));
    if (n.i.length) row(list, "operands", links([...new Set(n.i)]));
    if (n.readers.length) row(list, "read by", links(n.readers));
    if (n.c !== undefined) { const path = []; for (let g = stage().groups[n.c]; g; g = stage().groups[g.p]) path.unshift(g.n); row(list, "stands in", path.join(" / ")); }
    if (n.e) row(list, "rules that touched it", ...n.e);
    if (n.k) row(list, "kernel", ...n.k.map((k) => `part ${k}, stage ${data.parts[k].s}${data.parts[k].g ? `, shards of ${data.parts[k].g}` : ""}: ${data.parts[k].n}${data.parts[k].t ? `; ${data.parts[k].t} a call` : ""}`));
    if (n.u) row(list, "fusion", n.u);
    if (n.b) row(list, "buffer", n.b);
  }

  function reveal(id) { // opens what hides a node, chooses it and moves there
    const n = stage().nodes[id];
    let unit = find(tree(), `n${id}`) || find(tree(), `n${n.home}`);
    for (let above = unit && unit.above; above && above.kind !== "root"; above = above.above) state.open.add(above.key);
    if (n.lane !== "forward" && state.mode !== "kernel") state.wide.add(`${n.lane}/n${n.home}`);
    draw();
    const key = boxOf(id), box = places.get(key);
    if (!box) return;
    state.chosen = { id, key };
    light();
    panel();
    const { width, height } = svg.node().getBoundingClientRect(), k = Math.max(0.7, d3.zoomTransform(svg.node()).k);
    svg.call(zoom.transform, d3.zoomIdentity.translate(width / 2 - (box.x + box.w / 2) * k, height / 2 - (box.y + box.h / 2) * k).scale(k));
  }

  // ---- generated source

  let rows = [];
  function showSource() {
    const pre = $("source");
    if (!rows.length) {
      rows = data.source.map(([text, nodes]) => {
        const div = document.createElement("div");
        div.textContent = text || " ";
        if (nodes.length) { div.className = "linked"; div.addEventListener("click", () => fromSource(nodes)); }
        return { div, nodes };
      });
      pre.replaceChildren(...rows.map((r) => r.div));
    }
    pre.hidden = !pre.hidden;
    lightSource(true);
  }

  function fromSource(nodes) {
    const last = state.stage === data.stages.length - 1;
    for (const id of nodes) {
      const found = last ? stage().nodes[id] : stage().nodes.find((n) => n.z === id);
      if (found) { reveal(found.id); return; }
    }
    if (!last) { setStage(data.stages.length - 1); reveal(nodes[0]); }
  }

  function lightSource(scroll) {
    if (!rows.length) return;
    const n = state.chosen && state.chosen.id !== undefined ? stage().nodes[state.chosen.id] : null;
    const id = n ? (state.stage === data.stages.length - 1 ? n.id : n.z) : undefined;
    let first = null;
    for (const r of rows) {
      const on = id !== undefined && r.nodes.includes(id);
      r.div.classList.toggle("on", on);
      if (on && !first) first = r.div;
    }
    if (first && !$("source").hidden) first.scrollIntoView({ block: "nearest" });
  }

  // ---- around the picture

  function fit() {
    const box = world.node().getBBox(), { width, height } = svg.node().getBoundingClientRect();
    if (!box.width || !width) return;
    const whole = Math.min(width / (box.width + 40), height / (box.height + 40), 1.25);
    const k = Math.max(whole, Math.min(0.75, (width - 20) / (box.width + 40)), 0.4); // too large to read as a whole: from the top
    const y = whole >= k ? height / 2 - (box.y + box.height / 2) * k : 24 - box.y * k;
    const first = places.values().next().value, middle = box.width * k > width && first ? first.x + first.w / 2 : box.x + box.width / 2;
    svg.call(zoom.transform, d3.zoomIdentity.translate(width / 2 - middle * k, y).scale(k));
  }

  function setStage(k) {
    const name = state.chosen && state.chosen.id !== undefined ? stage().nodes[state.chosen.id].n : null;
    state.stage = k;
    $("stage").value = k;
    $("stage-name").textContent = data.stages[k].name;
    state.open.clear();
    state.wide.clear();
    state.chosen = null;
    const last = k === data.stages.length - 1;
    const parts = Boolean(data.parts) && (last || k === 0);
    $("modes").hidden = !parts;
    if (!parts) { state.mode = "scopes"; $("mode").value = "scopes"; }
    openWhatFits(MOST, false);
    listOps();
    draw();
    fit();
    const same = name !== null ? stage().byName.get(name) : undefined;
    if (same !== undefined && places.has(boxOf(same))) { state.chosen = { id: same, key: boxOf(same) }; light(); }
    panel();
  }

  function listOps() {
    const counts = new Map();
    for (const n of stage().nodes) if (n.i.length) counts.set(n.o, (counts.get(n.o) || 0) + 1);
    $("ops").replaceChildren(...[...counts].sort((a, b) => b[1] - a[1]).map(([op, count]) => {
      const li = document.createElement("li"), span = document.createElement("span");
      span.textContent = ` ×${count}`;
      li.append(op, count > 1 ? span : "");
      li.addEventListener("click", () => { $("search").value = op; search(); });
      return li;
    }));
  }

  function search() {
    const words = $("search").value.trim().toLowerCase();
    const found = [];
    if (words) for (const n of stage().nodes) {
      if (n.h) continue;
      const [where, text] = data.lines[n.l] || ["", ""];
      if (`${n.n} ${n.o} ${where} ${text}`.toLowerCase().includes(words)) found.push(n);
      if (found.length > 60) break;
    }
    found.sort((a, b) => Number(b.n.toLowerCase().startsWith(words)) - Number(a.n.toLowerCase().startsWith(words)) || a.id - b.id);
    $("found").replaceChildren(...found.slice(0, 60).map((n) => {
      const div = document.createElement("div"), span = document.createElement("span");
      span.textContent = n.n === n.o ? "" : ` ${n.o}`;
      div.append(n.n, span);
      div.title = `${n.n}: ${n.t}`;
      div.addEventListener("click", () => reveal(n.id));
      return div;
    }));
    if (words && !found.length) $("found").textContent = "nothing of that name";
  }

  $("title").textContent = data.title;
  $("legend").replaceChildren(...Object.entries(ROLES).map(([role, text]) => {
    const li = document.createElement("li"), i = document.createElement("i");
    [i.style.background, i.style.borderColor] = COLOURS[role];
    li.append(i, text);
    return li;
  }));
  $("stages").hidden = data.stages.length < 2;
  $("stage").max = data.stages.length - 1;
  $("source-button").hidden = !data.source;
  $("stage").addEventListener("input", () => setStage(Number($("stage").value)));
  $("mode").addEventListener("change", () => { state.mode = $("mode").value; state.open.clear(); state.chosen = null; openWhatFits(MOST, false); draw(); fit(); panel(); });
  $("cross").addEventListener("change", () => { state.cross = $("cross").checked; light(); });
  $("closer").addEventListener("click", () => { state.open.clear(); state.wide.clear(); state.chosen = null; draw(); fit(); panel(); });
  $("opener").addEventListener("click", () => { openWhatFits(4 * MOST, true); draw(); fit(); });
  $("fit").addEventListener("click", fit);
  $("source-button").addEventListener("click", showSource);
  $("search").addEventListener("input", search);
  $("search").addEventListener("keydown", (event) => { const first = $("found").querySelector("div"); if (event.key === "Enter" && first) first.click(); });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && document.activeElement !== $("search")) { event.preventDefault(); $("search").focus(); }
    if (event.key === "Escape") { state.chosen = null; $("search").value = ""; search(); light(); panel(); }
  });
  window.graphc = { reveal, state, setStage, places: () => places }; // for tests
  setStage(0);
  document.documentElement.dataset.ready = String(Math.round(performance.now()));
})();
