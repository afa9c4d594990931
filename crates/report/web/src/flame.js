// The flame graph: stacks as boxes on a canvas, the outermost frame on top, as wide as their bytes.

import { h, soon } from './dom.js';
import { bytes, delta, percent } from './units.js';
import { KINDS, bare, placeOf } from './model.js';
import { colour, isDark, onTheme } from './theme.js';

const ROW = 20, FONT = '12px system-ui, sans-serif', NARROWEST = 0.6;

/**
 * The tree of the sites that `weights` give bytes to; with `before`, each node has both figures. `inverted` begins with the
 * innermost frame.
 */
export function grow(code, weights, before, inverted) {
  const root = node(-1, null);
  const nodes = new Map();
  for (let site = 0; site < code.size; site++) {
    const value = weights[site], other = before ? before[site] : 0;
    if (!value && !other) continue;
    root.value += value;
    root.other += other;
    if (inverted) {
      let at = root;
      for (let step = code.columns.node[site]; step > 0; step = code.parents[step]) at = child(at, code.nodeFrames[step], value, other);
    } else {
      // Figures go to the innermost node now and up the tree in one sweep below.
      const place = code.columns.node[site];
      const found = nodes.get(place) || [0, 0];
      nodes.set(place, [found[0] + value, found[1] + other]);
    }
  }
  if (inverted) return root;
  const values = new Float64Array(code.parents.length), others = new Float64Array(code.parents.length);
  for (const [place, [value, other]] of nodes) { values[place] = value; others[place] = other; }
  // A parent comes before its children.
  for (let place = values.length - 1; place > 0; place--) {
    values[code.parents[place]] += values[place];
    others[code.parents[place]] += others[place];
  }
  const made = new Array(values.length);
  made[0] = root;
  for (let place = 1; place < values.length; place++) {
    if (!values[place] && !others[place]) continue;
    const parent = made[code.parents[place]];
    made[place] = node(code.nodeFrames[place], parent, values[place], others[place]);
    parent.children.push(made[place]);
  }
  return root;
}

function node(frame, parent, value = 0, other = 0) {
  return { frame, parent, value, other, depth: parent ? parent.depth + 1 : 0, children: [], index: null };
}

function child(parent, frame, value, other) {
  parent.index ||= new Map();
  let found = parent.index.get(frame);
  if (!found) {
    found = node(frame, parent);
    parent.index.set(frame, found);
    parent.children.push(found);
  }
  found.value += value;
  found.other += other;
  return found;
}

const width = node => Math.max(node.value, node.other);

export class Flame {
  constructor() {
    this.canvas = h('canvas', { tabindex: '0', role: 'img', 'aria-label': 'Flame graph' });
    this.info = h('output.info', { 'aria-live': 'polite' });
    this.path = h('nav.path', { 'aria-label': 'Zoomed into' });
    this.scroll = h('div.flame', this.canvas);
    this.element = h('div', this.path, this.scroll, this.info);
    this.root = node(-1, null);
    this.focus = this.root;
    this.hover = null;
    this.chosen = null;
    this.boxes = [];
    this.matcher = null;
    this.draw = soon(() => this.#draw());
    this.#listen();
    new ResizeObserver(() => { if (this.scroll.clientWidth !== this.wide) this.draw(); }).observe(this.scroll);
    onTheme(() => this.draw());
  }

  /** Shows the tree `root` of `code`; where it still has what was zoomed into, that stays. */
  set(code, root, diff) {
    const trail = [];
    for (let at = this.focus; at.parent; at = at.parent) trail.unshift(at.frame);
    this.code = code;
    this.root = root;
    this.diff = diff;
    this.focus = trail.reduce((at, frame) => at && at.children.find(next => next.frame === frame), root) || root;
    this.hover = this.chosen = null;
    this.zoom(this.focus);
  }

  name(node) { return node.parent ? this.code.frames[node.frame].name : 'all'; }

  /** Marks frames that match; says what they hold. */
  search(text) {
    try { this.matcher = text ? new RegExp(text, 'i') : null; } catch {
      this.matcher = null;
      this.draw();
      return 'not a regular expression';
    }
    this.draw();
    if (!this.matcher) return '';
    // Only the outermost match of a stack counts, or recursion would count twice.
    let held = 0;
    const todo = [this.root];
    while (todo.length) {
      const at = todo.pop();
      if (at.parent && this.matcher.test(this.name(at))) held += at.value;
      else todo.push(...at.children);
    }
    return `${bytes(held)}, ${percent(held / (this.root.value || 1))}`;
  }

  zoom(node) {
    this.focus = node;
    const chain = [];
    for (let at = node; at; at = at.parent) chain.unshift(at);
    // The way back: the last few callers are enough.
    const shown = chain.length > 4 ? [chain[0], ...chain.slice(-3)] : chain;
    this.path.replaceChildren(...(node.parent ? shown.flatMap((at, place) => [
      place === 1 && chain.length > 4 ? h('span', '…') : null,
      h('button', { type: 'button', onclick: () => { this.zoom(at); this.canvas.focus(); }, 'aria-current': at === node ? 'true' : null }, at.parent ? bare(this.name(at)) : 'Whole'),
    ]) : []).filter(Boolean));
    this.chosen = node;
    this.draw();
    this.info.textContent = this.describe(node);
  }

  describe(node) {
    const frame = node.parent && this.code.frames[node.frame];
    const place = frame && placeOf(frame);
    const name = this.name(node) + (frame ? ` · ${KINDS[frame.kind].name}${place ? ' · ' + place : ''}` : '');
    if (this.diff) return `${name} — ${bytes(node.other)} → ${bytes(node.value)} (${delta(node.value - node.other)})`;
    return `${name} — ${bytes(node.value)}, ${percent(node.value / (this.root.value || 1))} of all`;
  }

  #lay(wide) {
    const boxes = [];
    for (let at = this.focus.parent; at; at = at.parent) boxes.unshift({ node: at, x: 0, w: wide, above: true });
    const todo = [{ node: this.focus, x: 0, w: wide }];
    while (todo.length) {
      const box = todo.pop();
      boxes.push(box);
      // Children of a difference may together be wider than their parent: then they are scaled to fit.
      const { node } = box;
      const sum = Math.max(width(node), node.children.reduce((sum, next) => sum + width(next), 0)) || 1;
      let x = box.x;
      if (!node.sorted) { node.children.sort((a, b) => width(b) - width(a)); node.sorted = true; }
      for (const next of node.children) {
        const w = box.w * width(next) / sum;
        // Sorted by width: what follows is narrower still.
        if (w < NARROWEST) break;
        todo.push({ node: next, x, w });
        x += w;
      }
    }
    return boxes;
  }

  #draw() {
    const wide = this.wide = this.scroll.clientWidth;
    if (!wide || !this.code) return;
    const boxes = this.boxes = this.#lay(wide);
    const rows = boxes.reduce((deepest, box) => Math.max(deepest, box.node.depth), 0) + 1;
    const ratio = devicePixelRatio || 1, high = rows * ROW;
    this.canvas.style.height = `${high}px`;
    this.canvas.width = Math.round(wide * ratio);
    this.canvas.height = Math.round(high * ratio);
    const pen = this.canvas.getContext('2d');
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.font = FONT;
    pen.textBaseline = 'middle';
    const dark = isDark();
    for (const box of boxes) {
      const { node, x, w } = box, y = node.depth * ROW;
      const boxWide = Math.max(w - 1, NARROWEST);
      pen.globalAlpha = box.above ? 0.55 : 1;
      pen.fillStyle = this.#fill(node, dark);
      pen.fillRect(x, y, boxWide, ROW - 1);
      if (this.diff && node.parent) this.#overlay(pen, node, x, y, boxWide);
      if (node === this.hover || node === this.chosen && document.activeElement === this.canvas) {
        pen.strokeStyle = colour('--ink');
        pen.lineWidth = 1.5;
        pen.strokeRect(x + 0.75, y + 0.75, Math.max(boxWide - 1.5, 0.5), ROW - 2.5);
      }
      if (w >= 30) this.#text(pen, bare(this.name(node)), x, y, boxWide);
    }
    pen.globalAlpha = 1;
  }

  #fill(node, dark) {
    if (!node.parent) return colour('--frame-root');
    const frame = this.code.frames[node.frame];
    if (this.matcher) return this.matcher.test(frame.name) ? colour('--match') : colour('--frame-root');
    if (this.diff) return colour('--frame-root');
    const [hue, saturation, light] = colour(KINDS[frame.kind].colour).split(' ').map(parseFloat);
    // A little variety tells neighbours apart.
    let mix = 0;
    for (let i = 0; i < frame.name.length; i++) mix = (mix * 31 + frame.name.charCodeAt(i)) | 0;
    return `hsl(${hue} ${saturation}% ${light + ((mix >>> 4) % 7 - 3) * (dark ? 1 : 1.2)}%)`;
  }

  /** What came since is laid over what was there: the changed part of the box's width. */
  #overlay(pen, node, x, y, w) {
    const change = (node.value - node.other) / (width(node) || 1);
    if (!change) return;
    pen.fillStyle = colour(change > 0 ? '--grew' : '--shrank');
    const part = w * Math.abs(change);
    pen.fillRect(x + w - part, y, part, ROW - 1);
  }

  #text(pen, name, x, y, w) {
    const fits = Math.max(1, Math.floor((w - 8) / 6.3));
    // The end of a Java name says more than its packages.
    const text = name.length <= fits ? name : name.includes('.') && !name.includes(' ') ? '…' + name.slice(1 - fits) : name.slice(0, fits - 1) + '…';
    pen.fillStyle = colour('--frame-ink');
    pen.save();
    pen.beginPath();
    pen.rect(x, y, w - 2, ROW);
    pen.clip();
    pen.fillText(text, x + 4, y + ROW / 2);
    pen.restore();
  }

  #at(event) {
    const place = this.canvas.getBoundingClientRect();
    const x = event.clientX - place.left, depth = Math.floor((event.clientY - place.top) / ROW);
    return this.boxes.find(box => box.node.depth === depth && x >= box.x && x < box.x + box.w)?.node || null;
  }

  #listen() {
    const { canvas } = this;
    canvas.addEventListener('mousemove', event => {
      const found = this.#at(event);
      if (found === this.hover) return;
      this.hover = found;
      this.info.textContent = this.describe(found || this.focus);
      this.draw();
    });
    canvas.addEventListener('mouseleave', () => { this.hover = null; this.draw(); });
    canvas.addEventListener('click', event => { const found = this.#at(event); if (found) this.zoom(found); });
    canvas.addEventListener('focus', () => this.draw());
    canvas.addEventListener('blur', () => this.draw());
    canvas.addEventListener('keydown', event => {
      const at = this.chosen || this.focus;
      const siblings = at.parent ? at.parent.children : [at];
      const beside = step => siblings[siblings.indexOf(at) + step];
      const next = {
        ArrowDown: () => at.children[0], ArrowUp: () => at.parent, ArrowLeft: () => beside(-1), ArrowRight: () => beside(1),
      }[event.key];
      if (next) {
        event.preventDefault();
        const to = next();
        if (!to) return;
        if (!this.boxes.some(box => box.node === to)) return;
        this.chosen = to;
        this.info.textContent = this.describe(to);
        this.draw();
      } else if (event.key === 'Enter') this.zoom(at);
      else if (event.key === 'Escape') this.zoom(this.root);
    });
  }
}
