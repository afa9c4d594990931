// The table of sites: ten thousand rows of which only those in view exist.

import { h } from './dom.js';
import { bytes, count, delta, duration, rate } from './units.js';
import { hue } from './model.js';

const OVERSCAN = 8;

/** Columns: key, heading, what it means, the cell, the figure to sort by; `small` ones stay on a phone. */
function columns(code, span) {
  const c = code.columns;
  const sure = site => c.low[site] !== null && (c.low[site] > 0 || c.high[site] < 0);
  const all = [
    { key: 'site', title: 'Site', left: true, small: true, about: 'the function that asked for the memory, and the Java method behind it',
      text: site => { const { name, by } = code.title(site); return [h('b', name), by && h('span.by', by)]; }, by: site => code.title(site).name },
    { key: 'domain', title: 'Domain', left: true, about: 'what kind of memory',
      text: site => [h('i.swatch', { style: { background: `var(${hue(c.domain[site])})` } }), c.domain[site]], by: site => c.domain[site] },
    span && { key: 'span', title: 'In span', about: 'live bytes at the end of the chosen span less those at its begin',
      text: site => delta(span[site]), by: site => span[site] },
    { key: 'leak', title: 'Leak', small: true, about: 'live, and older than the window’s last third', text: site => bytes(c.leak[site]), by: site => c.leak[site] },
    { key: 'live', title: 'Live', small: true, about: 'allocated and not freed', text: site => bytes(c.live[site]), by: site => c.live[site] },
    { key: 'count', title: 'Blocks', about: 'live blocks', text: site => count(c.count[site]), by: site => c.count[site] },
    { key: 'slope', title: 'Growth', small: true, about: 'growth of the live bytes; “?” where it may be none',
      text: site => c.slope[site] === null ? '–' : rate(c.slope[site]) + (sure(site) ? '' : ' ?'),
      hint: site => c.low[site] === null ? '' : `95 % between ${rate(c.low[site])} and ${rate(c.high[site])}`, by: site => c.slope[site] ?? -Infinity },
    { key: 'p50', title: 'Half older than', about: 'age of the live samples: half of them is older', text: site => c.p50[site] === null ? '–' : duration(c.p50[site]), by: site => c.p50[site] ?? -1 },
    { key: 'allocated', title: 'Allocated', about: 'in the window, freed or not', text: site => bytes(c.allocated[site]), by: site => c.allocated[site] },
  ];
  return all.filter(Boolean);
}

export class Sites {
  constructor(onchoose) {
    this.onchoose = onchoose;
    this.sort = { key: 'leak', down: true };
    this.header = h('div.row.header', { role: 'row' });
    this.body = h('div.body', { role: 'rowgroup' });
    this.scroll = h('div.rows', { tabindex: '0', 'aria-label': 'Sites; arrow keys choose one' }, this.body);
    this.element = h('div.sites', { role: 'table', 'aria-label': 'Allocation sites' }, h('div', { role: 'rowgroup' }, this.header), this.scroll);
    this.order = [];
    this.chosen = null;
    this.drawn = [-1, -1];
    this.scroll.addEventListener('scroll', () => this.#draw());
    this.scroll.addEventListener('keydown', event => this.#key(event));
    new ResizeObserver(() => this.#draw(true)).observe(this.scroll);
  }

  /** Shows the sites `rows` of `code`; `span`: what each grew by in the chosen span, if one is. */
  set(code, rows, span) {
    this.code = code;
    this.rows = rows;
    this.columns = columns(code, span);
    if (!this.columns.some(column => column.key === this.sort.key)) this.sort = { key: 'leak', down: true };
    this.element.classList.toggle('with-span', Boolean(span));
    this.#order();
  }

  #order() {
    const column = this.columns.find(column => column.key === this.sort.key);
    const keys = new Map(this.rows.map(site => [site, column.by(site)]));
    const compare = column.left ? (a, b) => keys.get(a).localeCompare(keys.get(b)) : (a, b) => keys.get(a) - keys.get(b);
    this.order = [...this.rows].sort((a, b) => (this.sort.down ? -1 : 1) * compare(a, b) || a - b);
    this.header.replaceChildren(...this.columns.map(column => {
      const now = column.key === this.sort.key;
      return h('div', { role: 'columnheader', class: `c-${column.key}${column.left ? ' left' : ''}${column.small ? '' : ' wide'}`, 'aria-sort': now ? (this.sort.down ? 'descending' : 'ascending') : null },
        h('button', { type: 'button', title: column.about, 'data-sort': column.key, onclick: () => this.sortBy(column.key) }, column.title, now ? h('span', { 'aria-hidden': 'true' }, this.sort.down ? ' ↓' : ' ↑') : null));
    }));
    this.element.setAttribute('aria-rowcount', this.order.length + 1);
    this.#draw(true);
  }

  sortBy(key) {
    const column = this.columns.find(column => column.key === key);
    this.sort = { key, down: this.sort.key === key ? !this.sort.down : !column.left };
    this.#order();
    this.scroll.scrollTop = 0;
    this.header.querySelector(`[data-sort="${key}"]`).focus();
  }

  get #height() { return matchMedia('(max-width: 640px)').matches ? 60 : 40; }

  #draw(anew) {
    const high = this.#height, seen = Math.max(this.scroll.clientHeight, 400);
    const from = Math.max(0, Math.floor(this.scroll.scrollTop / high) - OVERSCAN);
    const to = Math.min(this.order.length, Math.ceil((this.scroll.scrollTop + seen) / high) + OVERSCAN);
    if (!anew && from === this.drawn[0] && to === this.drawn[1]) return;
    this.drawn = [from, to];
    this.body.style.height = `${this.order.length * high}px`;
    this.body.replaceChildren(...this.order.slice(from, to).map((site, place) => this.#row(site, from + place, high)));
  }

  #row(site, place, high) {
    const row = h('div.row', {
      role: 'row', 'aria-rowindex': place + 2, 'data-site': site, 'aria-selected': site === this.chosen ? 'true' : 'false',
      style: { transform: `translateY(${place * high}px)` }, onclick: () => this.choose(site),
    });
    for (const column of this.columns) {
      row.append(h('div', { role: 'cell', class: `c-${column.key}${column.left ? ' left' : ''}${column.small ? '' : ' wide'}`, 'data-label': column.title, title: column.hint && column.hint(site) }, column.text(site)));
    }
    return row;
  }

  choose(site) {
    this.chosen = site;
    this.#draw(true);
    this.onchoose(site);
  }

  #key(event) {
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity }[event.key];
    if (!step || !this.order.length) return;
    event.preventDefault();
    const now = this.order.indexOf(this.chosen);
    const next = Math.max(0, Math.min(this.order.length - 1, now < 0 ? 0 : now + step));
    const high = this.#height, top = next * high;
    if (top < this.scroll.scrollTop) this.scroll.scrollTop = top;
    else if (top + high > this.scroll.scrollTop + this.scroll.clientHeight) this.scroll.scrollTop = top + high - this.scroll.clientHeight;
    this.choose(this.order[next]);
  }
}
