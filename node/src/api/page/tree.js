// Draws a tree by level; nodes glide to their new places when it changes.

import { element, shortId } from './node.js';

const GLIDE_MS = 160; // time constant
const MOVED_MS = 5000;
const GONE_MS = 600;
const ROWS_MAX = 6;
const PAD = { top: 26, bottom: 26, left: 44, right: 22 };

export const nameOf = (node) => node.label ?? shortId(node.peer_id);

/**
 * Where everyone goes: by depth from top to bottom, children below their parent. Leaves of one parent stand
 * in as many rows as it takes for all to fit. The view may be behind: whoever is not reached from the origin,
 * and whoever seems to be in a loop, stands in a level of its own.
 */
export function layout(nodes, origin, width, height) {
  const byId = new Map(nodes.map((node) => [node.peer_id, node]));
  const kids = new Map(nodes.map((node) => [node.peer_id, []]));
  for (const node of nodes) if (node.attached && node.parent && byId.has(node.parent)) kids.get(node.parent).push(node);
  const collator = new Intl.Collator('en', { numeric: true });
  for (const list of kids.values()) list.sort((a, b) => collator.compare(nameOf(a), nameOf(b)));
  // In the order of a walk from the origin; a peer is met once.
  const level = new Map();
  const order = [];
  if (byId.has(origin)) {
    level.set(origin, 0);
    order.push(origin);
    for (let at = 0; at < order.length; at += 1) {
      for (const kid of kids.get(order[at])) {
        if (level.has(kid.peer_id)) continue;
        level.set(kid.peer_id, level.get(order[at]) + 1);
        order.push(kid.peer_id);
      }
    }
  }
  const below = (id) => kids.get(id).filter((kid) => level.get(kid.peer_id) === level.get(id) + 1);
  const loose = nodes.filter((node) => !level.has(node.peer_id));
  const inner = width - PAD.left - PAD.right;

  let [rows, unit, widths] = [1, 0, new Map()];
  for (rows = 1; rows <= ROWS_MAX; rows += 1) {
    widths = new Map();
    for (const id of order.toReversed()) {
      const all = below(id);
      const leaves = all.filter((kid) => below(kid.peer_id).length === 0).length;
      const relays = all.filter((kid) => below(kid.peer_id).length > 0);
      widths.set(id, Math.max(1, Math.ceil(leaves / rows) + relays.reduce((sum, kid) => sum + widths.get(kid.peer_id), 0)));
    }
    unit = inner / Math.max(widths.get(origin) ?? 1, 1);
    if (unit >= 13 || rows === ROWS_MAX) break;
  }
  const depth = order.reduce((most, id) => Math.max(most, level.get(id)), 0);
  const levels = depth + (loose.length ? 1 : 0);
  const gap = (height - PAD.top - PAD.bottom) / Math.max(levels, 1);
  const rowGap = Math.min(13, (gap * 0.55) / rows);
  const places = new Map();
  const place = (id, left) => {
    const y = PAD.top + level.get(id) * gap;
    const all = below(id);
    const relays = all.filter((kid) => below(kid.peer_id).length > 0);
    const leaves = all.filter((kid) => below(kid.peer_id).length === 0);
    let at = left;
    const half = Math.ceil(relays.length / 2);
    const xs = [];
    const next = (kid) => {
      xs.push(place(kid.peer_id, at));
      at += widths.get(kid.peer_id) * unit;
    };
    relays.slice(0, half).forEach(next);
    const columns = Math.ceil(leaves.length / rows);
    leaves.forEach((kid, index) => {
      const [column, row] = [index % columns, Math.floor(index / columns)];
      // A short last row stands in the middle.
      const inRow = Math.min(columns, leaves.length - row * columns);
      const x = at + (column + 0.5 + (columns - inRow) / 2) * unit;
      places.set(kid.peer_id, { x, y: y + gap + row * rowGap, leaf: true });
      if (row === 0) xs.push(x);
    });
    at += columns * unit;
    relays.slice(half).forEach(next);
    const x = xs.length ? (Math.min(...xs) + Math.max(...xs)) / 2 : left + unit / 2;
    places.set(id, { x, y, leaf: all.length === 0 });
    return x;
  };
  if (order.length) place(origin, PAD.left);
  const perRow = Math.max(1, Math.floor(inner / 26));
  loose.forEach((node, index) => {
    const inRow = Math.min(loose.length, perRow);
    const x = PAD.left + ((index % perRow) + 0.5) * (inner / inRow);
    places.set(node.peer_id, { x, y: PAD.top + (order.length ? depth + 1 : 0) * gap + Math.floor(index / perRow) * rowGap, leaf: true, loose: true });
  });
  const radius = unit >= 26 ? 7 : unit >= 18 ? 5.5 : unit >= 12 ? 4.5 : Math.max(2.4, unit * 0.38);
  const names = [];
  for (let at = 0; at <= depth && order.length; at += 1) names.push({ y: PAD.top + at * gap, text: at === 0 ? 'origin' : `${at}` });
  if (loose.length) names.push({ y: PAD.top + (order.length ? depth + 1 : 0) * gap, text: 'none', loose: true });
  return { places, radius, names, labelled: labelled(places, byId, rows > 1), depth, loose: loose.length };
}

/** Whose names fit: of each line of peers all or, where leaves are too many or stand in rows, its relays, or none. */
function labelled(places, byId, inRows) {
  const lines = new Map();
  for (const [id, at] of places) {
    const key = Math.round(at.y);
    if (!lines.has(key)) lines.set(key, []);
    lines.get(key).push({ id, ...at });
  }
  const fits = (line) => line.every((one, index) => index === 0
    || one.x - line[index - 1].x > 3.3 * (nameOf(byId.get(one.id)).length + nameOf(byId.get(line[index - 1].id)).length) + 8);
  const shown = new Set();
  const ys = [...lines.keys()].sort((a, b) => a - b);
  ys.forEach((y, index) => {
    const line = lines.get(y).sort((a, b) => a.x - b.x);
    const crowded = index + 1 < ys.length && ys[index + 1] - y < 20;
    const relays = line.filter((one) => !one.leaf);
    const fitting = !crowded && !inRows && fits(line) ? line : fits(relays) && relays.length && !crowded ? relays : [];
    for (const { id } of fitting) shown.add(id);
  });
  return shown;
}

const svg = (name, attributes = {}) => {
  const made = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
};

// Only what differs is written: every write costs the browser a look at the style.
const set = (element, name, value) => {
  if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
};
const write = (element, text) => {
  if (element.textContent !== text) element.textContent = text;
};

export class Tree {
  constructor(canvas, picked) {
    this.canvas = canvas;
    this.details = picked;
    this.items = new Map();
    this.onPath = new Set();
    this.levels = svg('g');
    this.edges = svg('g');
    this.nodes = svg('g');
    canvas.append(this.levels, this.edges, this.nodes);
    this.still = matchMedia('(prefers-reduced-motion: reduce)');
    this.moving = false;
    this.view = null;
    new ResizeObserver(() => this.view && this.settle(true)).observe(canvas);
    canvas.addEventListener('keydown', (event) => this.onKey(event));
    canvas.addEventListener('click', (event) => this.pick(event.target.closest('.node')?.dataset.peer ?? null));
  }

  /** Shows a view; answers who has moved: `[{ node, from, to }]`. */
  show(view, self) {
    const fresh = this.view?.track !== view.track;
    if (fresh) this.clear();
    this.view = view;
    this.self = self;
    const moves = [];
    const names = new Map(view.nodes.map((node) => [node.peer_id, node]));
    for (const node of view.nodes) {
      const item = this.items.get(node.peer_id) ?? this.add(node);
      if (!fresh && item.node.parent !== node.parent && node.parent && item.known) {
        moves.push({ node, from: item.node.parent && this.items.get(item.node.parent)?.node, to: names.get(node.parent) });
        this.flash(item);
      }
      item.known = true;
      item.node = node;
    }
    for (const [id, item] of this.items) if (!names.has(id)) this.drop(id, item);
    this.settle(fresh);
    return moves;
  }

  clear() {
    for (const item of this.items.values()) {
      item.group.remove();
      item.edge.remove();
    }
    this.items.clear();
    this.chosen = null;
    this.view = null;
    this.levels.replaceChildren();
    this.describe();
  }

  add(node) {
    const group = svg('g', { 'data-peer': node.peer_id });
    const [circle, halo, text] = [svg('circle'), svg('circle', { class: 'halo' }), svg('text')];
    group.append(halo, circle, text, svg('title'));
    const edge = svg('path', { class: 'edge' });
    this.nodes.append(group);
    this.edges.append(edge);
    const item = { node, group, circle, halo, text, edge, x: null };
    this.items.set(node.peer_id, item);
    return item;
  }

  drop(id, item) {
    this.items.delete(id);
    item.edge.remove();
    item.group.classList.add('gone');
    setTimeout(() => item.group.remove(), GONE_MS);
    if (this.chosen === id) this.pick(null);
  }

  flash(item) {
    clearTimeout(item.timer);
    item.moved = true;
    item.timer = setTimeout(() => {
      item.moved = false;
      this.dress(item);
    }, MOVED_MS);
  }

  /** Finds everyone's place and lets them glide there. */
  settle(at_once = false) {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!width) return;
    this.canvas.setAttribute('viewBox', `0 0 ${width} ${height}`);
    this.plan = layout(this.view.nodes, this.view.origin, width, height);
    this.levels.replaceChildren(...this.plan.names.flatMap(({ y, text, loose }) => {
      const name = svg('text', { class: loose ? 'level-name loose' : 'level-name', x: 8, y: y + 3 });
      name.textContent = text;
      return [svg('line', { class: 'level', x1: PAD.left, x2: width - 8, y1: y, y2: y }), name];
    }));
    this.onPath = this.path;
    for (const [id, item] of this.items) {
      const place = this.plan.places.get(id);
      [item.tx, item.ty, item.leaf, item.loose] = [place.x, place.y, place.leaf, Boolean(place.loose)];
      if (item.x === null) {
        const parent = this.items.get(item.node.parent);
        const from = parent && parent.x !== null && !at_once ? parent : { x: place.x, y: place.y };
        [item.x, item.y] = [from.x, from.y];
      }
      if (at_once || this.still.matches) [item.x, item.y] = [item.tx, item.ty];
      this.dress(item);
    }
    this.describe();
    if (!this.moving) {
      this.moving = true;
      this.then = performance.now();
      requestAnimationFrame((now) => this.frame(now));
    }
  }

  dress(item) {
    const { node, group } = item;
    const big = node.role === 'origin' ? 3 : item.leaf ? 0 : 1.2;
    set(item.circle, 'r', this.plan.radius + big);
    set(item.halo, 'r', this.plan.radius + big + 3);
    const classes = ['node', node.attached ? node.role : 'loose'];
    if (node.peer_id === this.self) classes.push('self');
    if (item.moved) classes.push('moved');
    if (this.chosen === node.peer_id) classes.push('picked');
    set(group, 'class', classes.join(' '));
    set(group, 'data-parent', node.parent ?? '');
    const above = !item.leaf && node.role !== 'origin';
    const shown = this.plan.labelled.has(node.peer_id) || this.chosen === node.peer_id;
    const name = nameOf(node);
    write(item.text, shown ? (name.length > 18 ? `${name.slice(0, 17)}…` : name) : '');
    set(item.text, 'y', above || node.role === 'origin' ? -(this.plan.radius + big + 5) : this.plan.radius + big + 13);
    write(group.lastChild, `${name} · ${node.role}${node.depth === null ? '' : ` · depth ${node.depth}`} · ${node.children}/${node.capacity}`);
    const path = this.onPath.has(node.peer_id) ? ' path' : '';
    set(item.edge, 'class', `edge${node.attached ? '' : ' loose'}${item.moved ? ' moved' : ''}${path}`);
  }

  frame(now) {
    const share = 1 - Math.exp(-Math.min(now - this.then, 100) / GLIDE_MS);
    this.then = now;
    let moving = false;
    for (const item of this.items.values()) {
      const [dx, dy] = [item.tx - item.x, item.ty - item.y];
      const far = Math.abs(dx) + Math.abs(dy) > 0.3;
      [item.x, item.y] = far ? [item.x + dx * share, item.y + dy * share] : [item.tx, item.ty];
      item.stirred = far || !item.drawn || item.drawn !== `${item.tx} ${item.ty}`;
      item.drawn = far ? '' : `${item.tx} ${item.ty}`;
      if (item.stirred) item.group.setAttribute('transform', `translate(${item.x.toFixed(1)} ${item.y.toFixed(1)})`);
      moving ||= far;
    }
    for (const item of this.items.values()) {
      const parent = this.items.get(item.node.parent);
      if (!parent || item.loose) {
        item.edge.setAttribute('d', '');
      } else if (item.stirred || parent.stirred || item.drawnTo !== item.node.parent) {
        const middle = (item.y + parent.y) / 2;
        item.edge.setAttribute('d', `M${parent.x.toFixed(1)} ${parent.y.toFixed(1)}C${parent.x.toFixed(1)} ${middle.toFixed(1)} ${item.x.toFixed(1)} ${middle.toFixed(1)} ${item.x.toFixed(1)} ${item.y.toFixed(1)}`);
        item.drawnTo = item.node.parent;
      }
    }
    this.moving = moving;
    if (moving) requestAnimationFrame((then) => this.frame(then));
  }

  /** From the chosen peer up to the origin. */
  get path() {
    const path = new Set();
    for (let id = this.chosen; id && !path.has(id) && this.items.has(id); id = this.items.get(id).node.parent) path.add(id);
    return path;
  }

  pick(id) {
    this.chosen = id;
    this.onPath = this.path;
    if (this.plan) for (const item of this.items.values()) this.dress(item);
    this.describe();
  }

  describe() {
    const item = this.items.get(this.chosen);
    if (!item) {
      this.details.textContent = this.view ? 'Choose a peer by mouse or arrow keys to see its path.' : '';
      return;
    }
    const { node } = item;
    const path = [...this.path].reverse().map((id) => nameOf(this.items.get(id).node));
    const depth = node.attached ? `depth ${node.depth}` : 'not attached';
    const told = ` · ${node.role}${node.peer_id === this.self ? ', this node' : ''} · ${depth} · feeds ${node.children}, offers ${node.capacity} slots · `;
    this.details.replaceChildren(element('b', {}, nameOf(node)), told, element('span', {}, path.join(' → ')), ' · ',
      element('code', {}, node.peer_id));
  }

  onKey(event) {
    if (!this.view || event.ctrlKey || event.metaKey || event.altKey) return;
    const shown = [...this.items.values()];
    const current = this.items.get(this.chosen);
    const kin = (parent) => shown.filter((item) => item.node.parent === parent).sort((a, b) => a.ty - b.ty || a.tx - b.tx);
    const beside = (step) => {
      const all = kin(current.node.parent);
      return all[(all.indexOf(current) + step + all.length) % all.length];
    };
    const first = this.items.get(this.view.origin) ?? shown[0];
    const targets = {
      Home: () => first,
      Escape: () => null,
      ArrowUp: () => (current ? this.items.get(current.node.parent) ?? current : first),
      ArrowDown: () => (current ? kin(current.node.peer_id)[0] ?? current : first),
      ArrowLeft: () => (current ? beside(-1) : first),
      ArrowRight: () => (current ? beside(1) : first),
    };
    if (!(event.key in targets)) return;
    event.preventDefault();
    this.pick(targets[event.key]()?.node.peer_id ?? null);
  }
}
