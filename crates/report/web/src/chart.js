// A chart over time on a canvas: stacked areas or lines, a limit, marks, a cursor, and a span to be chosen.

import { h, soon } from './dom.js';
import { byteTicks, clock, countTicks, tick, timeTicks } from './units.js';
import { colour, onTheme } from './theme.js';

const FONT = '11px system-ui, sans-serif';

export class TimeChart {
  /**
   * `options`: height in pixels, stacked, signed (figures are differences), unit ('bytes' or 'count'), describe(index) → what
   * is said and shown of an instant as [[name, value, colour]…], onspan([from, to] | null), label.
   */
  constructor(options) {
    this.options = { unit: 'bytes', height: 240, ...options };
    this.canvas = h('canvas', { tabindex: '0', role: 'img', 'aria-label': options.label });
    this.tip = h('div.tip', { hidden: true });
    this.said = h('output.offscreen');
    this.element = h('div.chart', { style: { height: `${this.options.height}px` } }, this.canvas, this.tip, this.said);
    this.series = { at: [], lines: [] };
    this.cursor = null;
    this.drag = null;
    this.draw = soon(() => this.#draw());
    this.#listen();
    new ResizeObserver(() => { if (this.element.clientWidth !== this.wide) this.draw(); }).observe(this.element);
    onTheme(() => this.draw());
  }

  /** { at: ms after the begin, lines: [{ name, values, colour, dim, wide }], limit, marks, span, floor, least } */
  set(series) {
    this.series = series;
    if (this.cursor !== null) this.cursor = Math.min(this.cursor, series.at.length - 1);
    this.draw();
  }

  label(text) { this.canvas.setAttribute('aria-label', text); }

  #range() {
    const { lines, at, limit, least } = this.series;
    let low = 0, high = 0;
    if (this.options.stacked) {
      for (let i = 0; i < at.length; i++) high = Math.max(high, lines.reduce((sum, line) => sum + line.values[i], 0));
    } else {
      for (const line of lines) for (const value of line.values) { low = Math.min(low, value); high = Math.max(high, value); }
    }
    if (limit && limit < high * 2.5) high = Math.max(high, limit);
    high = Math.max(high * 1.06, low + (least || 1));
    return [low < 0 ? low * 1.06 : 0, high];
  }

  #draw() {
    const width = this.element.clientWidth, height = this.options.height;
    this.wide = width;
    if (!width) return;
    const ratio = devicePixelRatio || 1;
    const pen = this.canvas.getContext('2d');
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.font = FONT;
    pen.lineJoin = 'round';
    const { at, limit, marks = [], span } = this.series;
    const [low, high] = this.#range();
    const ticks = (this.options.unit === 'bytes' ? byteTicks : countTicks)(low, high, Math.max(2, height / 56));
    const label = value => (this.options.signed && value > 0 ? '+' : '') + (this.options.unit === 'bytes' ? tick(value) : String(value));
    const left = Math.ceil(Math.max(...ticks.map(value => pen.measureText(label(value)).width), 20)) + 10;
    const box = { left, right: width - 6, top: marks.length ? 20 : 8, bottom: height - 22 };
    const length = Math.max(1, at.at(-1) || 0);
    const x = ms => box.left + (box.right - box.left) * ms / length;
    const y = value => box.bottom - (box.bottom - box.top) * (value - low) / (high - low);
    this.frame = { box, length, x, y };

    pen.textBaseline = 'middle';
    pen.textAlign = 'right';
    for (const value of ticks) {
      pen.fillStyle = colour(value === 0 ? '--axis' : '--line');
      pen.fillRect(box.left, Math.round(y(value)), box.right - box.left, 1);
      pen.fillStyle = colour('--muted');
      pen.fillText(label(value), box.left - 7, y(value));
    }
    pen.textBaseline = 'alphabetic';
    const times = timeTicks(length, Math.max(2, (box.right - box.left) / 90));
    for (const ms of times) {
      pen.textAlign = ms === 0 ? 'left' : x(ms) > box.right - 20 ? 'right' : 'center';
      pen.fillStyle = colour('--muted');
      pen.fillText(clock(ms), x(ms), height - 6);
    }

    if (this.options.stacked) this.#areas(pen, x, y); else this.#lines(pen, x, y);

    if (limit && limit <= high) this.#limit(pen, box, y(limit));
    for (const mark of marks) this.#mark(pen, box, x(mark.at), mark.text);
    const chosen = this.drag ? [Math.min(...this.drag), Math.max(...this.drag)] : span;
    if (chosen) {
      pen.fillStyle = colour('--veil');
      pen.fillRect(box.left, box.top, x(chosen[0]) - box.left, box.bottom - box.top);
      pen.fillRect(x(chosen[1]), box.top, box.right - x(chosen[1]), box.bottom - box.top);
      pen.fillStyle = colour('--accent');
      for (const ms of chosen) pen.fillRect(Math.round(x(ms)) - 0.5, box.top, 1, box.bottom - box.top);
    }
    if (this.cursor !== null && at.length) {
      pen.fillStyle = colour('--ink');
      pen.fillRect(Math.round(x(at[this.cursor])) - 0.5, box.top, 1, box.bottom - box.top);
    }
    this.#tip();
  }

  #areas(pen, x, y) {
    const { at, lines } = this.series;
    const base = new Float64Array(at.length);
    for (const line of lines) {
      pen.beginPath();
      for (let i = at.length - 1; i >= 0; i--) pen.lineTo(x(at[i]), y(base[i]));
      for (let i = 0; i < at.length; i++) { base[i] += line.values[i]; pen.lineTo(x(at[i]), y(base[i])); }
      pen.closePath();
      pen.globalAlpha = line.dim ? 0.22 : 0.88;
      pen.fillStyle = colour(line.colour);
      pen.fill();
      // A hairline keeps neighbours of like colour apart.
      pen.globalAlpha = 1;
      pen.strokeStyle = colour('--surface');
      pen.lineWidth = 0.75;
      pen.stroke();
    }
  }

  #lines(pen, x, y) {
    const { at, lines } = this.series;
    for (const line of lines) {
      if (line.fill) {
        pen.beginPath();
        at.forEach((ms, i) => pen.lineTo(x(ms), y(line.values[i])));
        pen.lineTo(x(at.at(-1)), y(0));
        pen.lineTo(x(at[0]), y(0));
        pen.globalAlpha = 0.14;
        pen.fillStyle = colour(line.colour);
        pen.fill();
        pen.globalAlpha = 1;
      }
      pen.beginPath();
      at.forEach((ms, i) => pen.lineTo(x(ms), y(line.values[i])));
      pen.setLineDash(line.dash || []);
      pen.globalAlpha = line.dim ? 0.3 : 1;
      pen.lineWidth = line.wide || 1.5;
      pen.strokeStyle = colour(line.colour);
      pen.stroke();
      pen.globalAlpha = 1;
      pen.setLineDash([]);
    }
  }

  #limit(pen, box, y) {
    pen.strokeStyle = colour('--leak');
    pen.lineWidth = 1.5;
    pen.setLineDash([6, 4]);
    pen.beginPath();
    pen.moveTo(box.left, y);
    pen.lineTo(box.right, y);
    pen.stroke();
    pen.setLineDash([]);
    pen.textAlign = 'right';
    pen.fillStyle = colour('--leak');
    pen.fillText(`limit ${tick(this.series.limit)}`, box.right - 4, y + 13);
  }

  #mark(pen, box, x, text) {
    pen.strokeStyle = colour('--muted');
    pen.lineWidth = 1;
    pen.setLineDash([2, 3]);
    pen.beginPath();
    pen.moveTo(x, box.top - 4);
    pen.lineTo(x, box.bottom);
    pen.stroke();
    pen.setLineDash([]);
    pen.fillStyle = colour('--muted');
    const short = text.length > 28 ? text.slice(0, 27) + '…' : text;
    const wide = pen.measureText(short).width;
    pen.textAlign = x + wide > box.right ? 'right' : 'left';
    pen.fillText(short, x + (pen.textAlign === 'left' ? 0 : 0), box.top - 8);
  }

  #nearest(event) {
    const place = this.canvas.getBoundingClientRect();
    const { box, length } = this.frame;
    const share = (event.clientX - place.left - box.left) / (box.right - box.left);
    const ms = Math.min(1, Math.max(0, share)) * length;
    const { at } = this.series;
    let best = 0;
    for (let i = 1; i < at.length; i++) if (Math.abs(at[i] - ms) < Math.abs(at[best] - ms)) best = i;
    return best;
  }

  #point(index) {
    this.cursor = index;
    this.draw();
  }

  #listen() {
    const { canvas } = this;
    canvas.addEventListener('pointermove', event => {
      if (!this.frame || !this.series.at.length) return;
      const index = this.#nearest(event);
      if (this.drag) this.drag[1] = this.series.at[index];
      this.#point(index);
    });
    canvas.addEventListener('pointerleave', () => { if (!this.drag && document.activeElement !== canvas) this.#point(null); });
    canvas.addEventListener('blur', () => this.#point(null));
    canvas.addEventListener('keydown', event => this.#key(event));
    if (!this.options.onspan) return;
    canvas.classList.add('spans');
    canvas.addEventListener('pointerdown', event => {
      if (event.button !== 0 || !this.series.at.length) return;
      canvas.setPointerCapture(event.pointerId);
      const ms = this.series.at[this.#nearest(event)];
      this.drag = [ms, ms];
    });
    const end = () => {
      if (!this.drag) return;
      const [from, to] = [Math.min(...this.drag), Math.max(...this.drag)];
      this.drag = null;
      this.options.onspan(to > from ? [from, to] : null);
      this.draw();
    };
    canvas.addEventListener('pointerup', end);
    canvas.addEventListener('pointercancel', () => { this.drag = null; this.draw(); });
  }

  #key(event) {
    const { at, span } = this.series;
    const last = at.length - 1;
    if (last < 0) return;
    const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10 }[event.key];
    const from = this.cursor ?? last;
    let to = from;
    if (step) to = Math.max(0, Math.min(last, from + step));
    else if (event.key === 'Home') to = 0;
    else if (event.key === 'End') to = last;
    else if (event.key === 'Escape' && this.options.onspan) return this.options.onspan(null);
    else return;
    event.preventDefault();
    if (event.shiftKey && this.options.onspan) {
      // The end of the span that is not under the cursor stays.
      const anchor = span ? (span[0] === at[from] ? span[1] : span[0]) : at[from];
      const next = [Math.min(anchor, at[to]), Math.max(anchor, at[to])];
      this.options.onspan(next[0] < next[1] ? next : null);
    }
    this.#point(to);
    const words = this.#words(to).map(([name, value]) => `${name} ${value}`).join(', ');
    this.said.textContent = `${clock(at[to])}: ${words}`;
  }

  #words(index) { return this.options.describe ? this.options.describe(index) : []; }

  #tip() {
    const { at } = this.series;
    if (this.cursor === null || !at.length) { this.tip.hidden = true; return; }
    const rows = this.#words(this.cursor);
    this.tip.replaceChildren(h('b', clock(at[this.cursor])),
      ...rows.map(([name, value, swatch]) => h('div', swatch && h('i', { style: { background: `var(${swatch})` } }), h('span', name), h('data', value))));
    this.tip.hidden = false;
    const x = this.frame.x(at[this.cursor]), wide = this.tip.offsetWidth, all = this.element.clientWidth;
    this.tip.style.left = `${x + 12 + wide < all ? x + 12 : Math.max(0, x - 12 - wide)}px`;
  }
}
